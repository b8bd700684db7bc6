import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { createAuthClient } from "../../dist/index.js";
import { SESSION, gate, json, jwt, scripted, unauthorized } from "../support/scripted.mjs";

const API = "https://api.example.com";
let clients = [];
const client = (options) => {
  const made = createAuthClient({ baseURL: "https://auth.example.com", apiOrigins: [API, "http://127.0.0.1:9"], ...options });
  clients.push(made);
  return made;
};
afterEach(() => {
  for (const made of clients.splice(0)) made.close();
});

let serial = 0;
const token = () => json({ token: jwt({ exp: Date.now() / 1000 + 900, iat: Date.now() / 1000, jti: (serial += 1) }) });
const auth = (more) => ({
  "GET /api/auth/token": token,
  "GET /api/auth/get-session": () => json(SESSION),
  "POST /api/auth/sign-in/email": () => json({ token: "t", user: SESSION.user }),
  "POST /api/auth/sign-out": () => json({ success: true }),
  ...more,
});
// A backend that refuses the first `times` requests.
const refusing = (times, status = 401) => () => json({ left: times }, (times -= 1) >= 0 ? status : 200);
const calls = (fetch, path) => fetch.asked.filter((call) => call.path === path);

test("the request goes out with the token and everything that it had", async () => {
  const fetch = scripted(auth({ "POST /orders": () => json({ ok: true }) }));
  const { authFetch, getToken } = client({ fetch });
  const response = await authFetch(`${API}/orders`, { method: "POST", body: "{}", headers: { "x-trace": "1" } });
  assert.deepEqual(await response.json(), { ok: true });
  const [call] = calls(fetch, "/orders");
  assert.deepEqual([call.bearer, call.text, call.headers.get("x-trace")], [`Bearer ${await getToken()}`, "{}", "1"]);
});

test("a Request and a URL do as well, and a Request's headers stay", async () => {
  const fetch = scripted(auth({ "PUT /orders": () => json(1), "GET /orders": () => json(2) }));
  const { authFetch } = client({ fetch });
  await authFetch(new Request(`${API}/orders`, { method: "PUT", body: "one", headers: { "x-trace": "2" } }));
  await authFetch(new URL(`${API}/orders`));
  const [put, get] = calls(fetch, "/orders");
  assert.deepEqual([put.text, put.headers.get("x-trace"), get.method], ["one", "2", "GET"]);
  assert.match(put.bearer, /^Bearer /);
});

test("after a 401 it tries once more, with a fresh token and the same body", async () => {
  for (const body of [undefined, "text", new Blob(["text"]), new TextEncoder().encode("text"), new URLSearchParams({ a: "b" })]) {
    const fetch = scripted(auth({ "POST /orders": refusing(1) }));
    const { authFetch } = client({ fetch, onSignedOut: () => assert.fail("still signed in") });
    const response = await authFetch(`${API}/orders`, { method: "POST", body });
    assert.equal(response.status, 200);
    const [first, second] = calls(fetch, "/orders");
    assert.notEqual(first.bearer, second.bearer);
    assert.equal(first.text, second.text);
  }
  const fetch = scripted(auth({ "POST /orders": refusing(1) }));
  const response = await client({ fetch }).authFetch(new Request(`${API}/orders`, { method: "POST", body: "text" }));
  assert.equal(response.status, 200);
  assert.deepEqual(calls(fetch, "/orders").map((call) => call.text), ["text", "text"]);
});

test("a stream is sent once; its 401 is handed through and the next call has a fresh token", async () => {
  const fetch = scripted(auth({ "POST /orders": refusing(1) }));
  const { authFetch } = client({ fetch, onSignedOut: () => assert.fail("not known") });
  const stream = () => new Blob(["text"]).stream();
  const refused = await authFetch(`${API}/orders`, { method: "POST", body: stream(), duplex: "half" });
  assert.equal(refused.status, 401);
  const accepted = await authFetch(`${API}/orders`, { method: "POST", body: stream(), duplex: "half" });
  assert.equal(accepted.status, 200);
  const [first, second, ...more] = calls(fetch, "/orders");
  assert.deepEqual([first.text, second.text, more.length], ["text", "text", 0]);
  assert.notEqual(first.bearer, second.bearer);
});

test("after the second 401 the user is out, is told once, and has the answer", async () => {
  const reasons = [];
  const fetch = scripted(auth({ "GET /orders": () => json({ error: "invalid_token" }, 401) }));
  const { authFetch } = client({ fetch, onSignedOut: (reason) => reasons.push(reason) });
  const response = await authFetch(`${API}/orders`);
  assert.equal(response.status, 401);
  assert.deepEqual(await response.json(), { error: "invalid_token" });
  assert.equal(calls(fetch, "/orders").length, 2);
  assert.deepEqual(reasons, ["refused"]);
});

test("a 403 is handed through: no retry, nobody signed out", async () => {
  const fetch = scripted(auth({ "GET /orders": () => json({ error: "insufficient_scope" }, 403) }));
  const { authFetch } = client({ fetch, onSignedOut: () => assert.fail("still signed in") });
  const response = await authFetch(`${API}/orders`);
  assert.deepEqual([response.status, (await response.json()).error], [403, "insufficient_scope"]);
  assert.deepEqual(fetch.asked.length, 2);
});

test("ten calls that are refused at once share one fresh token", async () => {
  const fetch = scripted(auth({ "GET /orders": refusing(10) }));
  const { authFetch } = client({ fetch });
  const responses = await Promise.all(Array.from({ length: 10 }, () => authFetch(`${API}/orders`)));
  assert.deepEqual(new Set(responses.map((response) => response.status)), new Set([200]));
  assert.equal(fetch.count("/api/auth/token"), 2);
});

test("ten calls without a session tell once that there is none", async () => {
  const reasons = [];
  const fetch = scripted(auth({ "GET /api/auth/token": unauthorized }));
  const { authFetch } = client({ fetch, onSignedOut: (reason) => reasons.push(reason) });
  const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => authFetch(`${API}/orders`)));
  for (const { reason } of outcomes) assert.equal(reason.code, "UNAUTHORIZED");
  assert.deepEqual(reasons, ["no-session"]);
  assert.equal(calls(fetch, "/orders").length, 0);
});

test("an auth service that is away signs nobody out", async () => {
  const fetch = scripted(auth({ "GET /api/auth/token": () => json({ message: "busy", code: "SERVICE_UNAVAILABLE" }, 503) }));
  const { authFetch } = client({ fetch, onSignedOut: () => assert.fail("not known") });
  await assert.rejects(authFetch(`${API}/orders`), { code: "SERVICE_UNAVAILABLE", status: 503 });
});

test("a request of one user never goes out with another's token", async () => {
  const held = gate();
  let first = true;
  const fetch = scripted(
    auth({
      "GET /api/auth/token": async () => {
        if (!first) return token();
        first = false;
        await held.opened;
        return token();
      },
      "POST /orders": () => json({ ok: true }),
    }),
  );
  const made = client({ fetch });
  const waiting = made.authFetch(`${API}/orders`, { method: "POST", body: "Ada's order" });
  await made.signIn({ email: "bob@example.com", password: "correct horse" });
  held.open();
  await assert.rejects(waiting, { code: "SESSION_CHANGED" });
  assert.equal(calls(fetch, "/orders").length, 0);
});

test("a request that was refused after somebody else signed in is not tried again", async () => {
  const held = gate();
  const fetch = scripted(auth({ "POST /orders": () => held.opened.then(() => json({}, 401)) }));
  const made = client({ fetch, onSignedOut: () => assert.fail("Bob is signed in") });
  await made.getToken();
  const waiting = made.authFetch(`${API}/orders`, { method: "POST", body: "Ada's order" });
  await made.signIn({ email: "bob@example.com", password: "correct horse" });
  held.open();
  assert.equal((await waiting).status, 401);
  assert.equal(calls(fetch, "/orders").length, 1);
});

test("only the named origins get tokens, where any are named", async () => {
  const fetch = scripted(auth({ "GET /orders": () => json(1) }));
  const { authFetch } = client({ fetch, apiOrigins: [API] });
  assert.equal((await authFetch(`${API}/orders`)).status, 200);
  for (const url of ["https://evil.test/orders", "http://api.example.com/orders", "https://api.example.com.evil.test/orders", "https://api.example.com@evil.test/orders"]) {
    await assert.rejects(authFetch(url), { code: "FOREIGN_ORIGIN" }, url);
  }
  assert.equal(fetch.asked.length, 2);
});

test("what the caller aborts ends as fetch ends it", async () => {
  const fetch = (input, init) => (String(input).includes("/token") ? Promise.resolve(token()) : globalThis.fetch(input, init));
  const { authFetch } = client({ fetch });
  await assert.rejects(authFetch("http://127.0.0.1:9/", { signal: AbortSignal.abort() }), { name: "AbortError" });
  await assert.rejects(authFetch("http://127.0.0.1:9/", { signal: AbortSignal.abort(new RangeError("mine")) }), { message: "mine" });
});

test("a backend that cannot be reached is told as NETWORK_ERROR", async () => {
  const fetch = scripted(auth());
  await assert.rejects(client({ fetch }).authFetch(`${API}/orders`), { code: "NETWORK_ERROR" });
});

test("each call may name its audience, which fetch does not see", async () => {
  const fetch = scripted(auth({ "GET /orders": () => json(1) }));
  await client({ fetch, audience: "a" }).authFetch(`${API}/orders`, { audience: "b" });
  assert.equal(fetch.asked[0].path, "/api/auth/token?audience=b");
});
