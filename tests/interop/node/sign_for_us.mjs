// `keywheel verify` judges tokens that jose signed, by keys that a Node web server publishes.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { calculateJwkThumbprint, decodeJwt, exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from "jose";
import { verify } from "./keywheel.mjs";
import { promise } from "./promise.mjs";
import { otherPayload, otherSignature } from "./tamper.mjs";

const ISSUER = "https://node.example.test";
const AUDIENCE = "node-api";
// `Ed25519` is the fully-specified name of `EdDSA` (RFC 9864 §2.2).
const ALGORITHMS = ["EdDSA", "RS256", "ES256", "PS256", "ES384", "ES512", "Ed25519"];

const pairs = Object.fromEntries(await Promise.all(ALGORITHMS.map(async (alg) => [alg, await newPair(alg)])));
const { url, close } = await serve({ keys: Object.values(pairs).map(({ jwk }) => jwk) });
try {
  for (const algorithm of ALGORITHMS) await judges(algorithm);
  await judgesClaims();
  await judgesKeys();
} finally {
  close();
}

async function newPair(alg) {
  const { publicKey, privateKey } = await generateKeyPair(alg);
  const jwk = await exportJWK(publicKey);
  return { privateKey, jwk: { ...jwk, alg, use: "sig", kid: await calculateJwkThumbprint(jwk) } };
}

// On a port of the system's choice.
async function serve(document) {
  const server = createServer((_, response) => {
    response.writeHead(200, { "Content-Type": "application/jwk-set+json", "Cache-Control": "public, max-age=60" });
    response.end(JSON.stringify(document));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${server.address().port}/jwks.json`, close };
}

function inSeconds(seconds) {
  return Math.floor(Date.now() / 1000) + seconds;
}

// A claim that is given as undefined is left out, as JSON.stringify does.
function sign(alg, claims = {}, { privateKey, jwk } = pairs[alg]) {
  const all = { iss: ISSUER, sub: "user-1", aud: AUDIENCE, iat: inSeconds(0), exp: inSeconds(300), ...claims };
  return new SignJWT(all).setProtectedHeader({ alg, kid: jwk.kid, typ: "at+jwt" }).sign(privateKey);
}

async function accepts(token) {
  const verdict = await verify(token, url, ISSUER, AUDIENCE);
  assert.deepEqual(verdict, { exitCode: 0, ok: true, reason: null, claims: decodeJwt(token) });
}

async function refuses(token, reason, audience = AUDIENCE) {
  const verdict = await verify(token, url, ISSUER, audience);
  assert.deepEqual(verdict, { exitCode: 1, ok: false, reason, claims: null });
}

async function judges(algorithm) {
  await promise(`we accept jose's ${algorithm} token`, async () => accepts(await sign(algorithm)));
  await promise(`we refuse jose's ${algorithm} token, tampered with: bad_signature`, async () => {
    const token = await sign(algorithm);
    await refuses(otherPayload(token), "bad_signature");
    await refuses(otherSignature(token), "bad_signature");
  });
  await promise(`we refuse jose's ${algorithm} token, expired: expired`, async () =>
    refuses(await sign(algorithm, { exp: inSeconds(-1) }), "expired"));
}

async function judgesClaims() {
  await promise("we accept jose's list of audiences with ours in it", async () =>
    accepts(await sign("EdDSA", { aud: ["another-api", AUDIENCE] })));
  await promise("we refuse jose's token at another audience: wrong_audience", async () =>
    refuses(await sign("EdDSA"), "wrong_audience", "another-api"));
  await promise("we refuse jose's token of another issuer: unknown_issuer", async () =>
    refuses(await sign("EdDSA", { iss: "https://other.example.test" }), "unknown_issuer"));
  await promise("we refuse jose's token before its time: not_yet_valid", async () =>
    refuses(await sign("EdDSA", { nbf: inSeconds(60) }), "not_yet_valid"));
  await promise("we refuse jose's token without exp: missing_claim", async () =>
    refuses(await sign("EdDSA", { exp: undefined }), "missing_claim"));
}

async function judgesKeys() {
  await promise("we refuse jose's token of an unpublished key: unknown_key", async () =>
    refuses(await sign("EdDSA", {}, await newPair("EdDSA")), "unknown_key"));
  await promise("we refuse jose's ES256 signature under the kid of an ES384 key: key_mismatch", async () =>
    refuses(await sign("ES256", {}, { ...pairs.ES256, jwk: pairs.ES384.jwk }), "key_mismatch"));
  await promise("we refuse jose's HS256 token: alg_not_allowed", async () => {
    const privateKey = new TextEncoder().encode("a secret that nobody should share!");
    return refuses(await sign("HS256", {}, { ...pairs.EdDSA, privateKey }), "alg_not_allowed");
  });
  await promise("we refuse jose's unsecured token: alg_not_allowed", () =>
    refuses(new UnsecuredJWT({ iss: ISSUER, aud: AUDIENCE }).encode(), "alg_not_allowed"));
}
