// The cookie may become another user's without this client having done it: by another client, a callback, a form.

import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";

import { createAuthClient } from "../../dist/index.js";
import { SESSION, gate, json, jwt, scripted, unauthorized } from "../support/scripted.mjs";

const API = "https://api.example.com";
const PAGE = { origin: "https://app.example.com", href: "https://app.example.com/x" };
let clients = [];
afterEach(() => {
  for (const made of clients.splice(0)) made.close();
  mock.timers.reset();
  for (const name of ["location", "document", "addEventListener", "removeEventListener"]) delete globalThis[name];
});

// A service whose cookie holds `cookie.user`, whoever put it there. `subjects` is how its tokens name users.
let serial = 0;
function service(cookie, { subjects = (id) => id, ...more } = {}) {
  const session = (id) => ({ ...SESSION, session: { ...SESSION.session, userId: id }, user: { ...SESSION.user, id } });
  const token = (id) => json({ token: jwt({ sub: subjects(id), exp: Date.now() / 1000 + 900, iat: Date.now() / 1000, jti: (serial += 1) }) });
  return scripted({
    "GET /api/auth/get-session": () => json(cookie.user && session(cookie.user)),
    "GET /api/auth/token": () => (cookie.user ? token(cookie.user) : unauthorized()),
    "POST /api/auth/sign-in/email": () => json({ token: "t", user: { id: cookie.user } }),
    "POST /api/auth/sign-out": () => ((cookie.user = null), json({ success: true })),
    "GET /orders": () => json(1),
    ...more,
  });
}
function client(fetch, options) {
  const made = createAuthClient({ baseURL: "https://auth.example.com", apiOrigins: [API], fetch, ...options });
  clients.push(made);
  return made;
}
const subjectOf = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url")).sub;
const sentAs = (fetch) => fetch.asked.filter((call) => call.path === "/orders").map((call) => subjectOf(call.bearer));
const listened = (auth) => {
  const heard = [];
  auth.subscribe((session) => heard.push(session && session.user.id));
  return heard;
};
const turns = async () => {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};
// A page that can be looked at, which Node is not.
function page() {
  const events = new EventTarget();
  globalThis.location = PAGE;
  globalThis.document = { baseURI: PAGE.href, hidden: false };
  globalThis.addEventListener = events.addEventListener.bind(events);
  globalThis.removeEventListener = events.removeEventListener.bind(events);
  return (name) => events.dispatchEvent(new Event(name));
}

test("getSession says Bob: no request goes out as Ada any more, and everybody hears of it", async () => {
  for (const known of [true, false]) {
    const cookie = { user: "ada" };
    const fetch = service(cookie);
    const auth = client(fetch, { onSignedOut: () => assert.fail("Bob is signed in") });
    if (known) await auth.getSession();
    await auth.authFetch(`${API}/orders`);
    const heard = listened(auth);
    cookie.user = "bob";
    assert.equal((await auth.getSession()).user.id, "bob");
    await auth.authFetch(`${API}/orders`);
    assert.deepEqual([sentAs(fetch), heard], [["ada", "bob"], ["bob"]]);
  }
});

test("a token that names Bob takes Ada's tokens of all audiences with it", async () => {
  const cookie = { user: "ada" };
  const fetch = service(cookie);
  const auth = client(fetch);
  await auth.getToken({ audience: "orders" });
  const heard = listened(auth);
  cookie.user = "bob";
  assert.equal(subjectOf(await auth.getToken({ audience: "stock" })), "bob");
  assert.equal(subjectOf(await auth.getToken({ audience: "orders" })), "bob");
  assert.deepEqual(heard, ["bob"]);
});

test("a request of Ada's page, whose token turns out to be Bob's, is not sent", async () => {
  const cookie = { user: "ada" };
  const fetch = service(cookie);
  const auth = client(fetch);
  const heard = listened(auth);
  await auth.getSession();
  cookie.user = "bob";
  await assert.rejects(auth.authFetch(`${API}/orders`), { code: "SESSION_CHANGED" });
  assert.deepEqual([sentAs(fetch), heard], [[], ["ada", "bob"]]);
  await auth.authFetch(`${API}/orders`);
  assert.deepEqual(sentAs(fetch), ["bob"]);
});

test("a token that was asked for as Ada and comes when Bob is known is not kept", async () => {
  const held = gate();
  const cookie = { user: "ada" };
  const late = service(cookie)("https://auth.example.com/api/auth/token");
  let first = true;
  const after = service(cookie);
  const fetch = (url, init) => (first && url.endsWith("/token") ? ((first = false), held.opened.then(() => late)) : after(url, init));
  const auth = client(fetch);
  const waiting = auth.getToken();
  cookie.user = "bob";
  await auth.getSession();
  held.open();
  assert.equal(subjectOf(await waiting), "bob");
  assert.equal(subjectOf(await auth.getToken()), "bob");
});

test("an older answer about the session is not believed after a newer one", async () => {
  const held = gate();
  const cookie = { user: "ada" };
  const late = service(cookie)("https://auth.example.com/api/auth/get-session");
  let first = true;
  const after = service(cookie);
  const auth = client((url, init) => (first ? ((first = false), held.opened.then(() => late)) : after(url, init)));
  const heard = listened(auth);
  const early = auth.getSession();
  cookie.user = "bob";
  await auth.getSession();
  held.open();
  assert.equal((await early).user.id, "bob");
  assert.deepEqual(new Set(heard), new Set(["bob"]));
});

test("the same user with a new session keeps the tokens", async () => {
  const cookie = { user: "ada" };
  const fetch = service(cookie);
  const auth = client(fetch);
  await auth.getSession();
  const token = await auth.getToken();
  await auth.getSession();
  assert.equal(await auth.getToken(), token);
});

test("a session that getSession finds gone tells once that there is none", async () => {
  const cookie = { user: "ada" };
  const reasons = [];
  const auth = client(service(cookie), { onSignedOut: (reason) => reasons.push(reason) });
  await auth.getSession();
  await auth.getToken();
  cookie.user = null;
  assert.equal(await auth.getSession(), null);
  assert.equal(await auth.getSession(), null);
  assert.deepEqual(reasons, ["no-session"]);
  await assert.rejects(auth.getToken(), { code: "UNAUTHORIZED" });
});

test("a service whose tokens name users in a way of its own loses none, asks little, and its users are told apart all the same", async () => {
  const cookie = { user: "ada" };
  const fetch = service(cookie, { subjects: (id) => `${id}@example.com` });
  const auth = client(fetch);
  await auth.getSession();
  const token = await auth.getToken();
  for (let call = 0; call < 5; call += 1) await auth.getToken({ audience: `a${call}` });
  await auth.getSession();
  assert.equal(await auth.getToken(), token);
  assert.deepEqual([fetch.count("/api/auth/token"), fetch.count("/api/auth/get-session")], [6, 3]);
  cookie.user = "bob";
  assert.equal(subjectOf(await auth.getToken({ audience: "new" })), "bob@example.com");
  assert.equal(subjectOf(await auth.getToken()), "bob@example.com");
});

test("what one tab finds out, the others hear", async () => {
  globalThis.location = PAGE;
  const cookie = { user: "ada" };
  const [here, there] = [client(service(cookie)), client(service(cookie))];
  await here.getSession();
  await there.getToken();
  const told = new Promise((resolve) => there.subscribe(resolve));
  cookie.user = "bob";
  const timer = setTimeout(() => assert.fail("nothing was heard"), 10_000);
  await here.getSession();
  assert.equal(await told, undefined);
  clearTimeout(timer);
  assert.equal(subjectOf(await there.getToken()), "bob");
});

for (const event of ["focus", "visibilitychange"])
  test(`whoever comes back to the page (${event}) sends nothing as the last user`, async () => {
    const happens = page();
    const cookie = { user: "ada" };
    const fetch = service(cookie);
    const auth = client(fetch);
    await auth.authFetch(`${API}/orders`);
    cookie.user = "bob";
    happens(event);
    await assert.rejects(auth.authFetch(`${API}/orders`), { code: "SESSION_CHANGED" });
    await auth.authFetch(`${API}/orders`);
    assert.deepEqual(sentAs(fetch), ["ada", "bob"]);
    // Who listens hears of it without any call.
    const heard = listened(auth);
    cookie.user = "eve";
    happens(event);
    await turns();
    assert.deepEqual(heard, ["eve"]);
    // Leaving the page asks nobody, and a closed client nothing at all.
    const before = fetch.asked.length;
    globalThis.document.hidden = true;
    happens(event);
    globalThis.document.hidden = false;
    auth.close();
    happens(event);
    await turns();
    assert.equal(fetch.asked.length, before);
  });

test("a page that nobody comes back to still asks once a minute who is signed in, however many calls it makes", async () => {
  page();
  mock.timers.enable({ apis: ["Date", "setTimeout"], now: 1_900_000_000_000 });
  const cookie = { user: "ada" };
  const fetch = service(cookie);
  const auth = client(fetch);
  const call = () => auth.authFetch(`${API}/orders`);
  await call();
  mock.timers.tick(60_000);
  await call();
  assert.equal(fetch.count("/api/auth/get-session"), 0);
  mock.timers.tick(1);
  await Promise.all([call(), call(), call()]);
  assert.equal(fetch.count("/api/auth/get-session"), 1);
  cookie.user = "bob";
  mock.timers.tick(60_001);
  for (const { reason } of await Promise.allSettled([call(), call()])) assert.equal(reason.code, "SESSION_CHANGED");
  await call();
  assert.deepEqual(sentAs(fetch), ["ada", "ada", "ada", "ada", "ada", "bob"]);
});

test("an auth service that is away, or hangs, holds up no call for long", async () => {
  const happens = page();
  mock.timers.enable({ apis: ["Date", "setTimeout"], now: 1_900_000_000_000 });
  for (const away of [() => Promise.reject(new TypeError("fetch failed")), () => new Promise(() => {})]) {
    const fetch = service({ user: "ada" }, { "GET /api/auth/get-session": away });
    const auth = client(fetch);
    await auth.authFetch(`${API}/orders`);
    happens("focus");
    const waiting = auth.authFetch(`${API}/orders`);
    await turns();
    mock.timers.tick(2000);
    assert.equal((await waiting).status, 200);
    assert.equal((await auth.authFetch(`${API}/orders`)).status, 200);
    assert.deepEqual(sentAs(fetch), ["ada", "ada", "ada"]);
    auth.close();
  }
});
