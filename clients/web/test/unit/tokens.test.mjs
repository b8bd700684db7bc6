import assert from "node:assert/strict";
import { beforeEach, afterEach, mock, test } from "node:test";

import { createAuthClient } from "../../dist/index.js";
import { gate, json, jwt, scripted, unauthorized } from "../support/scripted.mjs";

const START = Date.parse("2026-11-22T12:00:00Z");
const MINUTE = 60_000;
const seconds = (ms) => Math.floor(ms / 1000);

let clients = [];
const client = (options) => {
  const made = createAuthClient({ baseURL: "https://auth.example.com", ...options });
  clients.push(made);
  return made;
};

beforeEach(() => mock.timers.enable({ apis: ["Date"], now: START }));
afterEach(() => {
  mock.timers.reset();
  for (const made of clients.splice(0)) made.close();
});

// Tokens of 15 minutes by a server whose clock differs from this machine's by `ahead`.
let serial = 0;
const minting = ({ ttl = 900, ahead = 0, date = false, iat = true } = {}) => ({
  "GET /api/auth/token": () => {
    const now = Date.now() + ahead;
    const claims = { exp: seconds(now) + ttl, jti: (serial += 1), ...(iat && { iat: seconds(now) }) };
    return json({ token: jwt(claims) }, 200, date ? { date: new Date(now).toUTCString() } : {});
  },
});

test("a token is asked for once and then kept until 30 s before its end", async () => {
  const fetch = scripted(minting());
  const auth = client({ fetch });
  const first = await auth.getToken();
  assert.equal(await auth.getToken(), first);
  mock.timers.tick(15 * MINUTE - 30_000 - 1);
  assert.equal(await auth.getToken(), first);
  assert.equal(fetch.asked.length, 1);
  mock.timers.tick(1);
  assert.notEqual(await auth.getToken(), first);
  assert.equal(fetch.asked.length, 2);
  assert.deepEqual([fetch.asked[0].path, fetch.asked[0].credentials], ["/api/auth/token", "include"]);
});

for (const [what, ahead] of [["slow by two hours", 120 * MINUTE], ["fast by two hours", -120 * MINUTE]]) {
  for (const date of [true, false]) {
    test(`a browser's clock that is ${what} changes nothing, by ${date ? "the server's Date" : "the token's iat"}`, async () => {
      const fetch = scripted(minting({ ahead, date, iat: !date }));
      const auth = client({ fetch });
      await auth.getToken();
      mock.timers.tick(14 * MINUTE);
      await auth.getToken();
      assert.equal(fetch.asked.length, 1);
      mock.timers.tick(31_000);
      await auth.getToken();
      assert.equal(fetch.asked.length, 2);
    });
  }
}

test("a token that lives shorter than a minute is renewed in the second half of its life", async () => {
  const fetch = scripted(minting({ ttl: 10 }));
  const auth = client({ fetch });
  await auth.getToken();
  mock.timers.tick(4900);
  await auth.getToken();
  assert.equal(fetch.asked.length, 1);
  mock.timers.tick(200);
  await auth.getToken();
  assert.equal(fetch.asked.length, 2);
});

test("a token whose end cannot be read is given but not kept", async () => {
  for (const token of ["opaque", "a.b.c", jwt({ sub: "ada" }), jwt({ exp: "soon" })]) {
    const fetch = scripted({ "GET /api/auth/token": () => json({ token }) });
    const auth = client({ fetch });
    assert.equal(await auth.getToken(), token);
    assert.equal(await auth.getToken(), token);
    assert.equal(fetch.asked.length, 2);
  }
});

test("ten callers share one request for each audience, and audiences do not share tokens", async () => {
  const fetch = scripted(minting());
  const auth = client({ fetch });
  const audiences = ["orders", "stock & more"];
  const given = await Promise.all(
    audiences.flatMap((audience) => Array.from({ length: 10 }, () => auth.getToken({ audience }))),
  );
  assert.equal(new Set(given).size, 2);
  assert.deepEqual(
    fetch.asked.map((call) => call.path),
    ["/api/auth/token?audience=orders", "/api/auth/token?audience=stock%20%26%20more"],
  );
});

test("the client's own audience stands in where a call names none", async () => {
  const fetch = scripted(minting());
  const auth = client({ fetch, audience: "orders" });
  await auth.getToken();
  await auth.getToken({ audience: "orders" });
  assert.deepEqual(fetch.asked.map((call) => call.path), ["/api/auth/token?audience=orders"]);
});

test("a request that failed is not remembered", async () => {
  let broken = true;
  const good = minting()["GET /api/auth/token"];
  const auth = client({ fetch: scripted({ "GET /api/auth/token": () => (broken ? json({}, 500) : good()) }) });
  const [a, b] = await Promise.allSettled([auth.getToken(), auth.getToken()]);
  assert.deepEqual([a.reason.code, b.reason.code], ["HTTP_500", "HTTP_500"]);
  broken = false;
  assert.ok(await auth.getToken());
});

test("in its last 30 s a token still serves while the auth service is away, and no longer after its end", async () => {
  let away = false;
  const good = minting()["GET /api/auth/token"];
  const fetch = scripted({
    "GET /api/auth/token": () => {
      if (away) throw new TypeError("fetch failed");
      return good();
    },
  });
  const auth = client({ fetch });
  const first = await auth.getToken();
  away = true;
  mock.timers.tick(15 * MINUTE - 10_000);
  assert.equal(await auth.getToken(), first);
  assert.equal(fetch.asked.length, 2);
  mock.timers.tick(10_000);
  await assert.rejects(auth.getToken(), { code: "NETWORK_ERROR" });
});

test("an ended session takes the tokens of all audiences with it", async () => {
  let over = false;
  const good = minting()["GET /api/auth/token"];
  const fetch = scripted({ "GET /api/auth/token": () => (over ? unauthorized() : good()) });
  const auth = client({ fetch });
  await auth.getToken({ audience: "a" });
  over = true;
  await assert.rejects(auth.getToken({ audience: "b" }), { code: "UNAUTHORIZED", status: 401 });
  await assert.rejects(auth.getToken({ audience: "a" }), { code: "UNAUTHORIZED" });
});

test("a token that was on its way when its user signed out is given to nobody", async () => {
  const held = gate();
  let out = false;
  const good = minting()["GET /api/auth/token"];
  const fetch = scripted({
    "GET /api/auth/token": async () => {
      if (out) return unauthorized();
      const answer = good();
      await held.opened;
      return answer;
    },
    "POST /api/auth/sign-out": () => json({ success: true }),
  });
  const auth = client({ fetch });
  const waiting = auth.getToken();
  out = true;
  await auth.signOut();
  held.open();
  await assert.rejects(waiting, { code: "UNAUTHORIZED" });
});

test("tokens are written nowhere: no storage is touched", async () => {
  const touched = [];
  const trap = (name) => new Proxy({}, { get: (_, key) => touched.push(`${name}.${String(key)}`) });
  Object.assign(globalThis, { localStorage: trap("local"), sessionStorage: trap("session"), indexedDB: trap("indexed") });
  try {
    await client({ fetch: scripted(minting()) }).getToken();
    assert.deepEqual(touched, []);
  } finally {
    for (const name of ["localStorage", "sessionStorage", "indexedDB"]) delete globalThis[name];
  }
});
