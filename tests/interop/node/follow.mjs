// A service that verifies by createRemoteJWKSet, for as long as its standard input gives tokens.
//
// Each line of the input is {token, algorithm, audience} and is answered by {ok}. Meanwhile the earlier tokens are verified
// again and again. At the end of the input comes one line with what was counted.

import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { createRemoteJWKSet, customFetch, errors, jwtVerify } from "jose";
import { issuer, jwksUrl } from "./keywheel.mjs";

// How many earlier tokens are verified in a row, and the pause in which the input is heard.
const BATCH = 10;
const PAUSE_MS = 10;

let fetches = 0;
const countingFetch = (...request) => {
  fetches += 1;
  return fetch(...request);
};
// jose does not read Cache-Control, so its user must. Its cool-down is left at 30 s: an unknown kid, met within 30 s after
// any fetch, is refused without another.
const keys = createRemoteJWKSet(jwksUrl, { cacheMaxAge: (await servedMaxAge()) * 1000, [customFetch]: countingFetch });
const negligent = createRemoteJWKSet(jwksUrl, { cacheMaxAge: Infinity, cooldownDuration: Infinity });
await negligent.reload();

const seen = [];
const counted = { verified: 0, refused: 0, first_refusal: null };
let ended = false;
const background = verifyEarlierTokens();
for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  say({ ok: await verify(message) });
  seen.push(message);
}
ended = true;
await background;
for (const message of seen) await verify(message);
const newest = Object.values(Object.fromEntries(seen.map((message) => [message.algorithm, message])));
const unknown = await Promise.all(newest.map((message) => isUnknownTo(negligent, message)));
say({
  client: "createRemoteJWKSet",
  tokens: seen.length,
  ...counted,
  fetches,
  negligent_refused: unknown.length > 0 && unknown.every(Boolean),
});

async function verifyEarlierTokens() {
  for (let next = 0; !ended; await pause(PAUSE_MS)) {
    for (let count = 0; count < BATCH && count < seen.length; count++, next++) await verify(seen[next % seen.length]);
  }
}

function decode(keys, { token, algorithm, audience }) {
  return jwtVerify(token, keys, { algorithms: [algorithm], audience, issuer, typ: "at+jwt" });
}

async function verify(message) {
  try {
    await decode(keys, message);
    counted.verified += 1;
    return true;
  } catch (error) {
    counted.refused += 1;
    counted.first_refusal ??= String(error);
    return false;
  }
}

async function isUnknownTo(keys, message) {
  try {
    await decode(keys, message);
    return false;
  } catch (error) {
    return error instanceof errors.JWKSNoMatchingKey;
  }
}

async function servedMaxAge() {
  const response = await fetch(jwksUrl);
  return Number(response.headers.get("cache-control").match(/max-age=(\d+)/)[1]);
}

function say(answer) {
  console.log(JSON.stringify(answer));
}
