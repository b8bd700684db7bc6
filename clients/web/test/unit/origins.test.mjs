// Whom tokens are sent to: the origins that are named, else the page's own; and what is looked at is what is sent.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { createAuthClient } from "../../dist/index.js";
import { json, jwt } from "../support/scripted.mjs";

const AUTH = "https://auth.example.com";
const API = "https://api.example.com";
const PAGE = { origin: "https://app.example.com", href: "https://app.example.com/deep/page" };
let clients = [];
afterEach(() => {
  for (const made of clients.splice(0)) made.close();
  for (const name of ["location", "document"]) delete globalThis[name];
});

// A client, and where its tokens went. Its fetch resolves as a browser's does.
function client(options) {
  const sent = [];
  const fetch = async (input, init) => {
    const url = new URL(input.url ?? input, globalThis.document?.baseURI ?? globalThis.location?.href);
    if (url.pathname.endsWith("/token")) return json({ token: jwt({ sub: "ada", exp: Date.now() / 1000 + 900 }) });
    if (url.pathname.endsWith("/get-session")) return json((sent.push(url.href), null));
    const headers = new Headers(init?.headers ?? input.headers);
    assert.match(headers.get("authorization"), /^Bearer /);
    sent.push(url.href);
    return json(sent.length);
  };
  const made = createAuthClient({ baseURL: AUTH, fetch, ...options });
  clients.push(made);
  return { ...made, sent };
}

const refused = (call, what) => assert.rejects(call, { name: "AuthError", code: "FOREIGN_ORIGIN", status: 0 }, what);

test("without apiOrigins a page's tokens go to its own origin alone, and the error names the line to write", async () => {
  globalThis.location = PAGE;
  const { authFetch, sent } = client();
  await authFetch("/orders");
  await authFetch(`${PAGE.origin}:443/orders`);
  for (const foreign of ["http://localhost:8000/orders", AUTH, "//api.example.com/x", "https://app.example.com:8443/", "http://app.example.com/"])
    await refused(authFetch(foreign), foreign);
  await assert.rejects(authFetch("http://localhost:8000/orders"), { message: /apiOrigins: \["http:\/\/localhost:8000"\]/ });
  assert.deepEqual(sent, [`${PAGE.origin}/orders`, `${PAGE.origin}/orders`]);
});

test("without apiOrigins a server's tokens go to the auth service's origin alone, and where there is none, nowhere", async () => {
  const { authFetch, sent } = client();
  await authFetch(`${AUTH}/me`);
  await refused(authFetch(`${API}/orders`));
  await refused(client({ baseURL: "" }).authFetch(`${AUTH}/me`));
  assert.deepEqual(sent, [`${AUTH}/me`]);
});

test("a page without an origin of its own sends none by itself", async () => {
  for (const page of [{ origin: "null", href: "file:///home/ada/index.html" }]) {
    globalThis.location = page;
    const { authFetch, sent } = client();
    for (const url of ["other.html", "data:text/plain,x", API]) await refused(authFetch(url), url);
    assert.deepEqual(sent, []);
    await client({ apiOrigins: [API] }).authFetch(`${API}/orders`);
  }
});

test("apiOrigins may be written with capitals, the usual port and a slash", async () => {
  for (const origin of ["https://API.example.com", "HTTPS://api.example.com/", "https://api.example.com:443", "https://api.example.com"]) {
    const { authFetch } = client({ apiOrigins: [origin] });
    assert.equal((await authFetch(`${API}/orders`)).status, 200, origin);
    assert.equal((await authFetch("https://Api.Example.com:443/orders")).status, 200, origin);
    await refused(authFetch("https://api.example.com:444/orders"), origin);
  }
});

test("what is no origin is refused at once, by its name", () => {
  for (const origin of ["*", "https://*.example.com", "https://*", "null", "", "/", "api.example.com", "localhost:8000", "//api.example.com", `${API}/v1`, `${API}/?x`, `${API}#x`, "https://ada@api.example.com", "data:text/plain,x"])
    assert.throws(() => client({ apiOrigins: [origin] }), (error) => error instanceof TypeError && error.message.includes(`"${origin}"`), origin);
});

test("a URL that looks like an allowed one gets no token", async () => {
  globalThis.location = PAGE;
  const { authFetch, sent } = client({ apiOrigins: [API, PAGE.origin] });
  for (const url of [
    "//evil.test/x",
    "\\\\evil.test\\x",
    "/\\evil.test/x",
    "https:/\\evil.test",
    "http://api.example.com/x",
    "https://api.example.com.evil.test/x",
    "https://api.example.com@evil.test/x",
    "https://ada:secret@api.example.com/x",
    "https://ada@api.example.com/x",
    `blob:${PAGE.origin}/6c6f`,
    "data:text/plain,x",
    "javascript:1",
    "file:///etc/hosts",
    "\t//evil.test",
  ])
    await refused(authFetch(url), url);
  assert.deepEqual(sent, []);
  await assert.rejects(authFetch("https://ada:secret@api.example.com/x"), (error) => !error.message.includes("secret"));
});

test("a page's <base> moves what it asks for, and the token does not follow to where it may not go", async () => {
  globalThis.location = PAGE;
  globalThis.document = { baseURI: "http://other/" };
  const { authFetch, sent } = client({ apiOrigins: [PAGE.origin] });
  await refused(authFetch("/orders"));
  await refused(client().authFetch("orders"));
  assert.deepEqual(sent, []);
  globalThis.document = { baseURI: `${API}/v1/` };
  const allowed = client({ apiOrigins: [API] });
  await allowed.authFetch("orders");
  assert.deepEqual(allowed.sent, [`${API}/v1/orders`]);
});

test("passwords and the session go to the page's own origin, whatever its <base> says", async () => {
  globalThis.location = PAGE;
  globalThis.document = { baseURI: "http://other/" };
  for (const baseURL of ["", "/accounts"]) {
    const { getSession, sent } = client({ baseURL });
    await getSession();
    assert.deepEqual(sent, [`${PAGE.origin}${baseURL || "/api/auth"}/get-session`]);
  }
});

test("what is looked at is what is sent: no input can say one URL first and another later", async () => {
  const told = [`${API}/orders`, "https://evil.test/orders"];
  let turn = 0;
  const fickle = { toString: () => told[turn++ % 2] };
  const { authFetch, sent } = client({ apiOrigins: [API] });
  await authFetch(fickle);
  class Lying extends Request {
    get url() {
      return `${API}/orders`;
    }
  }
  await refused(authFetch(new Lying("https://evil.test/orders")));
  await refused(authFetch(Object.defineProperty(new Request("https://evil.test/orders"), "url", { value: `${API}/orders` })));
  await refused(authFetch({ url: `${API}/orders`, toString: () => "https://evil.test/orders" }));
  const url = new URL(`${API}/orders`);
  const waiting = authFetch(url);
  url.host = "evil.test";
  await waiting;
  const request = new Request(`${API}/orders`);
  const asked = authFetch(request);
  Object.defineProperty(request, "url", { value: "https://evil.test/orders" });
  await asked;
  assert.deepEqual(sent, Array(3).fill(`${API}/orders`));
});
