import assert from "node:assert/strict";
import { once } from "node:events";
import { afterEach, test } from "node:test";

import { AuthError, createAuthClient } from "../../dist/index.js";
import { SESSION, json, jwt, scripted, unauthorized } from "../support/scripted.mjs";

const BASE = "https://auth.example.com";
const PAGE = { origin: "https://app.example.com", href: "https://app.example.com/x" };
let clients = [];
const client = (options) => {
  const made = createAuthClient({ baseURL: BASE, ...options });
  clients.push(made);
  return made;
};
afterEach(() => {
  delete globalThis.location;
  for (const made of clients.splice(0)) made.close();
});

// What the client says next. The timer keeps the process, which another tab's message alone would not.
const heard = (auth) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("nothing was heard")), 60_000);
    auth.subscribe((session) => (clearTimeout(timer), resolve(session)));
  });
const ADA = { email: "ada@example.com", password: "correct horse" };
const token = () => json({ token: jwt({ exp: Date.now() / 1000 + 900, iat: Date.now() / 1000, jti: Math.random() }) });
const entered = () => json({ token: "session-token", user: SESSION.user, redirect: false });
const service = (more = {}) => ({
  "POST /api/auth/sign-up/email": entered,
  "POST /api/auth/sign-in/email": entered,
  "POST /api/auth/sign-out": () => json({ success: true }),
  "GET /api/auth/get-session": () => json(SESSION),
  "GET /api/auth/token": token,
  ...more,
});

test("signUp and signIn send what they are given and give the session", async () => {
  const fetch = scripted(service());
  const auth = client({ fetch });
  const account = { ...ADA, name: "Ada", softwareBackground: "C" };
  assert.deepEqual(await auth.signUp(account), SESSION);
  assert.deepEqual(await auth.signIn({ ...ADA, rememberMe: false }), SESSION);
  assert.deepEqual(JSON.parse(fetch.asked[0].text), account);
  assert.deepEqual(JSON.parse(fetch.asked[2].text), { ...ADA, rememberMe: false });
  for (const call of fetch.asked) assert.equal(call.credentials, "include");
  assert.equal(fetch.asked[0].headers.get("content-type"), "application/json");
});

test("a server that wants another step first gives null, not a session", async () => {
  const auth = client({ fetch: scripted(service({ "POST /api/auth/sign-up/email": () => json({ token: null, user: SESSION.user }) })) });
  assert.equal(await auth.signUp({ ...ADA, name: "Ada" }), null);
});

test("a cookie that does not come back is told as COOKIES_BLOCKED, with what to do", async () => {
  const auth = client({ fetch: scripted(service({ "GET /api/auth/get-session": () => json(null) })) });
  await assert.rejects(auth.signIn(ADA), (error) => {
    assert.ok(error instanceof AuthError && error instanceof Error);
    assert.equal(error.code, "COOKIES_BLOCKED");
    assert.match(error.message, /one site/);
    return true;
  });
});

test("errors carry the server's code, words and status", async () => {
  const refused = { message: "Invalid email or password", code: "INVALID_EMAIL_OR_PASSWORD" };
  const auth = client({ fetch: scripted(service({ "POST /api/auth/sign-in/email": () => json(refused, 401) })) });
  await assert.rejects(auth.signIn(ADA), { name: "AuthError", status: 401, ...refused });
});

test("429 is RATE_LIMITED with its time in seconds, whatever way it is written", async () => {
  const soon = new Date(Date.now() + 20_000).toUTCString();
  for (const [headers, low, high] of [
    [{ "retry-after": "7" }, 7, 7],
    [{ "x-retry-after": "9" }, 9, 9],
    [{ "retry-after": soon }, 15, 20],
    [{ "retry-after": new Date(0).toUTCString() }, 0, 0],
    [{ "retry-after": "in a while" }, undefined, undefined],
    [{}, undefined, undefined],
  ]) {
    const limited = () => json({ message: "Too many requests.", code: "TOO_MANY_REQUESTS" }, 429, headers);
    const auth = client({ fetch: scripted(service({ "POST /api/auth/sign-in/email": limited })) });
    const error = await auth.signIn(ADA).catch((error) => error);
    assert.deepEqual([error.code, error.status], ["RATE_LIMITED", 429]);
    if (low === undefined) assert.equal(error.retryAfter, undefined);
    else assert.ok(error.retryAfter >= low && error.retryAfter <= high, String(error.retryAfter));
  }
});

test("answers that are no auth service's are told as that", async () => {
  const page = () => new Response("<!doctype html>", { headers: { "content-type": "text/html" } });
  for (const answer of [page, () => json("hello"), () => json({}), () => json({ user: {} })]) {
    const auth = client({ fetch: scripted(service({ "GET /api/auth/get-session": answer })) });
    await assert.rejects(auth.getSession(), { code: "INVALID_RESPONSE" });
  }
  const auth = client({ fetch: scripted(service({ "GET /api/auth/token": () => json({ jwt: 1 }) })) });
  await assert.rejects(auth.getToken(), { code: "INVALID_RESPONSE" });
  const proxy = client({ fetch: scripted(service({ "GET /api/auth/token": () => new Response("Bad Gateway", { status: 502 }) })) });
  await assert.rejects(proxy.getToken(), { code: "HTTP_502", status: 502 });
});

test("a network that fails is told as NETWORK_ERROR, with its cause", async () => {
  const cause = new TypeError("Failed to fetch");
  const auth = client({ fetch: () => Promise.reject(cause) });
  await assert.rejects(auth.getSession(), { code: "NETWORK_ERROR", status: 0, cause });
});

test("an answer that breaks off is told as NETWORK_ERROR", async () => {
  const body = new ReadableStream({ start: (controller) => controller.error(new Error("reset")) });
  const auth = client({ fetch: async () => new Response(body) });
  await assert.rejects(auth.getSession(), { code: "NETWORK_ERROR" });
});

test("on a page, a server that is there but refuses the page is told as CORS_BLOCKED", async () => {
  globalThis.location = PAGE;
  const asked = [];
  const fetch = async (input, init) => {
    asked.push([String(input), init.mode, init.credentials]);
    if (init.mode === "no-cors") return new Response(null, { status: 204 });
    throw new TypeError("Failed to fetch");
  };
  await assert.rejects(client({ fetch }).getSession(), (error) => {
    assert.equal(error.code, "CORS_BLOCKED");
    assert.match(error.message, /https:\/\/auth\.example\.com .*https:\/\/app\.example\.com/);
    return true;
  });
  assert.deepEqual(asked[1], [BASE, "no-cors", "omit"]);
  const gone = () => Promise.reject(new TypeError("Failed to fetch"));
  await assert.rejects(client({ fetch: gone }).getSession(), { code: "NETWORK_ERROR" });
  // The page's own origin needs no permission.
  await assert.rejects(client({ fetch: gone, baseURL: "" }).getSession(), { code: "NETWORK_ERROR" });
});

test("getSession gives null for nobody, and its tokens are gone", async () => {
  let over = false;
  const fetch = scripted(service({ "GET /api/auth/get-session": () => json(over ? null : SESSION) }));
  const auth = client({ fetch });
  const first = await auth.getToken();
  over = true;
  assert.equal(await auth.getSession(), null);
  assert.notEqual(await auth.getToken(), first);
});

test("a server that asks for a browser does not prolong what it cannot hand on", async () => {
  const fetch = scripted(service());
  assert.deepEqual(await client({ fetch }).getSession({ disableRefresh: true }), SESSION);
  assert.equal(fetch.asked[0].path, "/api/auth/get-session?disableRefresh=true");
});

test("baseURL may have a path, a slash at its end, or be a path; anything else is refused at once", async () => {
  for (const [baseURL, asked] of [
    ["https://auth.example.com/", "https://auth.example.com/api/auth/get-session"],
    ["https://example.com/auth/v1/", "https://example.com/auth/v1/get-session"],
    ["http://localhost:3001", "http://localhost:3001/api/auth/get-session"],
    ["/accounts", "/accounts/get-session"],
    ["", "/api/auth/get-session"],
  ]) {
    const urls = [];
    const auth = client({ baseURL, fetch: async (url) => (urls.push(url), json(null)) });
    await auth.getSession();
    assert.deepEqual(urls, [asked]);
  }
  for (const baseURL of ["localhost:3001", "auth.example.com", "ftp://x", "javascript:alert(1)", "//auth.example.com"]) {
    assert.throws(() => createAuthClient({ baseURL }), { name: "TypeError" }, baseURL);
  }
});

test("signOut drops the tokens, tells once, and the failing one says so and leaves the session", async () => {
  const reasons = [];
  let away = true;
  const fetch = scripted(
    service({ "POST /api/auth/sign-out": () => (away ? json({}, 503, { "retry-after": "1" }) : json({ success: true })) }),
  );
  const auth = client({ fetch, onSignedOut: (reason) => reasons.push(reason) });
  const first = await auth.getToken();
  await assert.rejects(auth.signOut(), { status: 503, retryAfter: 1 });
  assert.deepEqual(reasons, []);
  away = false;
  await auth.signOut();
  assert.deepEqual(reasons, ["sign-out"]);
  assert.notEqual(await auth.getToken(), first);
});

test("a sign-out in one tab is one in all: tokens dropped, everybody told", async () => {
  globalThis.location = PAGE;
  const here = client({ fetch: scripted(service()) });
  const reasons = [];
  const fetch = scripted(service());
  const there = client({ fetch, onSignedOut: (reason) => reasons.push(reason) });
  const elsewhere = client({ baseURL: "https://other.example.com", fetch: scripted(service()), onSignedOut: () => reasons.push("other service") });
  assert.ok(elsewhere);
  const first = await there.getToken();
  const told = heard(there);
  await here.signOut();
  assert.equal(await told, null);
  assert.deepEqual(reasons, ["other-tab"]);
  assert.notEqual(await there.getToken(), first);
});

test("a sign-in in one tab makes the others ask again, and no token of the last user is used", async () => {
  globalThis.location = PAGE;
  const here = client({ fetch: scripted(service()) });
  const there = client({ fetch: scripted(service()) });
  const first = await there.getToken();
  const told = heard(there);
  await here.signIn(ADA);
  assert.equal(await told, undefined);
  assert.notEqual(await there.getToken(), first);
});

test("an answer about the last user that comes after a sign-in is not believed", async () => {
  let release;
  const late = new Promise((resolve) => (release = resolve));
  let count = 0;
  const fetch = scripted(
    service({ "GET /api/auth/get-session": () => ((count += 1) === 1 ? late.then(() => json(null)) : json(SESSION)) }),
  );
  const auth = client({ fetch });
  const early = auth.getSession();
  await auth.signIn(ADA);
  release();
  assert.deepEqual(await early, SESSION);
});

test("on a server, one client's sign-out is no other's, and nothing keeps the process", async () => {
  const { spawn } = await import("node:child_process");
  const child = spawn(process.execPath, ["--input-type=module", "-e", `
    import { createAuthClient } from ${JSON.stringify(new URL("../../dist/index.js", import.meta.url).href)};
    const fetch = async () => new Response("{}");
    const [one, other] = [1, 2].map(() => createAuthClient({ baseURL: "http://x.test", fetch, onSignedOut: () => (out += 1) }));
    let out = 0;
    await one.signOut();
    await new Promise((resolve) => setImmediate(resolve));
    process.exitCode = other && out === 1 ? 0 : 1;`], { timeout: 60_000 });
  const [code] = await once(child, "exit");
  assert.equal(code, 0);
});

test("a server that says 401 to signed-out callers is told as UNAUTHORIZED", async () => {
  const auth = client({ fetch: scripted(service({ "GET /api/auth/token": unauthorized })) });
  await assert.rejects(auth.getToken(), { code: "UNAUTHORIZED", status: 401 });
});
