// The example as it stands: built, started, and walked through in a real browser, with Keywheel and the Express example behind it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { after, before, beforeEach, afterEach, test } from "node:test";

import { launch } from "../../clients/web/test/support/browser.mjs";
import { freePort, keywheel, listen } from "../../clients/web/test/support/services.mjs";

const HERE = new URL(".", import.meta.url).pathname;
const NEXT = `${HERE}node_modules/next/dist/bin/next`;
const SERVER = `${HERE}server.mjs`;
const EXPRESS = new URL("../express/server.mjs", import.meta.url).pathname;
const WITHIN_MS = 60_000;
const ADA = { email: "ada@example.com", password: "correct horse" };
const children = [];
let web, service, browser, context, page;

function start(script, args, environment) {
  const env = { ...process.env, NEXT_TELEMETRY_DISABLED: "1", ...environment };
  const child = spawn(process.execPath, [script, ...args], { cwd: HERE, env, stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  return child;
}

// Ends once the child has said this; gives what it said.
function said(child, words) {
  return new Promise((resolve, reject) => {
    let text = "";
    child.once("exit", (code) => reject(new Error(`ended with ${code}: ${text}`)));
    child.stdout.on("data", (chunk) => (text += chunk).includes(words) && resolve(text));
  });
}

// Starts the built example as `npm start` does.
const serves = (port, settings) =>
  said(start(SERVER, [], { NODE_ENV: "production", PORT: String(port), HOST: "127.0.0.1", ...settings }), "Ready");

before(async () => {
  const port = await freePort();
  web = `http://localhost:${port}`;
  service = await keywheel({ origins: [web], proxies: ["127.0.0.1"] });
  const express = start(EXPRESS, [], { PORT: "0", AUTH_ISSUER: service.url, API_AUDIENCE: "api", WEB_ORIGIN: web });
  const api = (await said(express, "\n")).trim().replace("express serves ", "");
  const settings = { AUTH_URL: service.url, NEXT_PUBLIC_API_URL: api };
  const build = start(NEXT, ["build"], settings);
  let log = "";
  build.stdout.on("data", (chunk) => (log += chunk));
  const [code] = await once(build, "exit");
  assert.equal(code, 0, log);
  await serves(port, settings);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  for (const child of children) child.kill();
  await service?.stop();
});

beforeEach(async () => {
  context = await browser.newContext();
  page = await open("/");
});
afterEach(() => context.close());

async function open(path) {
  const page = await context.newPage();
  page.setDefaultTimeout(WITHIN_MS);
  await page.goto(web + path);
  return page;
}

async function enter(how, { email, password } = ADA) {
  await page.getByPlaceholder("Email").fill(email);
  await page.getByPlaceholder("Password").fill(password);
  await page.getByRole("button", { name: how }).click();
}

const heading = (page, text) => page.getByRole("heading", { name: text, exact: true }).waitFor();

test("nobody is signed in: the server sends the visitor to the sign-in page", async () => {
  assert.equal(page.url(), `${web}/sign-in`);
  await heading(page, "Sign in");
});

test("signed up, the page greets by name and shows what the API gave for the token", async () => {
  const asked = [];
  page.on("request", (request) => asked.push(request));
  await enter("Sign up");
  await heading(page, "Hello ada");
  await page.getByText("Mine: rotate the keys").waitFor();
  const calls = asked.filter((request) => new URL(request.url()).pathname === "/orders");
  assert.match(calls.at(-1).headers().authorization, /^Bearer ey/);
  // The cookies, of the device, of the session and of its end, stay with the page's own origin and out of scripts' reach; no token is stored.
  const cookies = await context.cookies();
  assert.deepEqual(cookies.map(({ name, httpOnly }) => [name, httpOnly]).sort(), [
    ["better-auth.known_device", true],
    ["better-auth.session_expires", true],
    ["better-auth.session_token", true],
  ]);
  assert.equal(await page.evaluate(() => document.cookie + localStorage.length + sessionStorage.length), "00");
});

test("a wrong password is told in the service's words", async () => {
  await enter("Sign in", { ...ADA, password: "wrong password" });
  await page.getByText("Invalid email or password").waitFor();
});

test("the server component knows the user by the forwarded cookie: the name is in the HTML", async () => {
  await enter("Sign in");
  await heading(page, "Hello ada");
  const html = await (await context.request.get(`${web}/`)).text();
  assert.match(html, /Hello (<!-- -->)?ada/);
  // No token is in it: not the API's, and not the session's own.
  const [{ value }] = await context.cookies();
  assert.doesNotMatch(html, /eyJ[\w-]+\.eyJ/);
  assert.ok(html.includes(ADA.email) && !html.includes(decodeURIComponent(value).split(".")[0]));
});

test("signed out in one tab, the other one leaves too, and the server knows", async () => {
  await enter("Sign in");
  await heading(page, "Hello ada");
  const other = await open("/");
  await heading(other, "Hello ada");
  await other.getByRole("button", { name: "Sign out" }).click();
  for (const tab of [other, page]) await heading(tab, "Sign in");
  await page.goto(`${web}/`);
  assert.equal(page.url(), `${web}/sign-in`);
});

// Visitors from addresses of their own: all of 127.0.0.0/8 is this machine. What each says in headers is its own affair.
function post(url, from, body, headers = {}) {
  return new Promise((resolve, reject) => {
    const { origin } = new URL(url);
    const options = { method: "POST", localAddress: from, headers: { "content-type": "application/json", origin, ...headers } };
    const sent = request(url, options, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => resolve({ status: response.statusCode, text }));
    });
    sent.on("error", reject).end(JSON.stringify(body));
  });
}

// The example before a service that lets each address try three times a minute.
async function limited(check, settings = {}, proxies = ["127.0.0.1"]) {
  const port = await freePort();
  const web = `http://127.0.0.1:${port}`;
  const strict = await keywheel({ origins: [web], proxies, attempts: 3, accountAttempts: 1000 });
  await serves(port, { AUTH_URL: strict.url, ...settings });
  const child = children.pop();
  try {
    await check(web);
  } finally {
    child.kill();
    await strict.stop();
  }
}
const user = (n) => ({ name: `User ${n}`, email: `user-${n}@example.com`, password: "correct horse" });
const sixteen = Array.from({ length: 16 }, (_, n) => n);

test("six users at once sign up, and in: each is counted by its own address", () =>
  limited(async (web) => {
    for (const how of ["up", "in"]) {
      const answers = await Promise.all(sixteen.slice(0, 6).map((n) => post(`${web}/api/auth/sign-${how}/email`, `127.0.0.${n + 2}`, user(n))));
      assert.deepEqual(answers.map(({ status }) => status), Array(6).fill(200), answers[5].text);
    }
  }));

for (const [what, invent] of [
  ["one address", (n) => ({ "x-forwarded-for": `203.0.113.${n}` })],
  ["a list that ends with the proxy", (n) => ({ "x-forwarded-for": `203.0.113.${n}, 127.0.0.1` })],
  ["several headers", (n) => ({ "x-forwarded-for": [`203.0.113.${n}`, `203.0.113.${n + 100}`] })],
  ["capitals, and other proxies' words", (n) => ({ "X-FORWARDED-FOR": `203.0.113.${n}`, forwarded: `for=203.0.113.${n}`, "x-real-ip": `203.0.113.${n}` })],
  ["a Connection that would have it taken out", (n) => ({ "x-forwarded-for": `203.0.113.${n}`, connection: "close, X-Forwarded-For" })],
  ["an upgrade", (n) => ({ "x-forwarded-for": `203.0.113.${n}`, connection: "upgrade", upgrade: "websocket" })],
])
  test(`who guesses passwords from invented addresses is stopped after three: ${what}`, () =>
    limited(async (web) => {
      const statuses = [];
      for (const n of sixteen.slice(0, 12)) {
        const guess = { email: `user-${n}@example.com`, password: "a guess of mine" };
        const { status } = await post(`${web}/api/auth/sign-in/email`, "127.0.0.9", guess, invent(n)).catch(() => ({ status: 0 }));
        statuses.push(status);
      }
      assert.ok(statuses.filter((status) => status === 401).length <= 3, String(statuses));
      // Somebody else is not held up by it.
      assert.equal((await post(`${web}/api/auth/sign-up/email`, "127.0.0.8", user(99))).status, 200);
    }));

test("behind a proxy of one's own, its visitors are told apart by what it has appended, and by nothing before that", () =>
  limited(
    async (web) => {
      const via = (n, address) => post(`${web}/api/auth/sign-in/email`, "127.0.0.1", { email: `user-${n}@example.com`, password: "a guess of mine" }, { "x-forwarded-for": address });
      for (const n of sixteen.slice(0, 6)) assert.equal((await via(n, `198.51.100.${n}`)).status, 401);
      const guesses = [];
      for (const n of sixteen) guesses.push((await via(n, `203.0.113.${n}, 198.51.100.77`)).status);
      assert.deepEqual(guesses, [401, 401, 401, ...Array(13).fill(429)]);
    },
    { BEHIND_PROXY: "1" },
  ));

test("while the auth service is away the pages stand, and say so", async () => {
  const [port, nobody] = [await freePort(), await freePort()];
  await serves(port, { AUTH_URL: `http://127.0.0.1:${nobody}` });
  const child = children.pop();
  try {
    const at = `http://127.0.0.1:${port}`;
    const cookie = "other=1; better-auth.session_token=one.two";
    const html = async (path) => {
      const response = await fetch(at + path, { headers: { cookie } });
      return [response.status, await response.text()];
    };
    const [status, text] = await html("/");
    assert.deepEqual([status, text.includes("It cannot be found out just now who you are")], [200, true]);
    assert.equal((await html("/sign-in"))[0], 200);
    const refused = await post(`${at}/api/auth/sign-in/email`, "127.0.0.1", user(1));
    assert.deepEqual([refused.status, JSON.parse(refused.text).code], [502, "BAD_GATEWAY"]);
  } finally {
    child.kill();
  }
});

test("a page asks the auth service once who is there, and shows it the session's cookie alone", async () => {
  const asked = [];
  const auth = await listen(({ url, headers }, response) => {
    asked.push([url, headers.cookie, headers["x-forwarded-for"]]);
    response.writeHead(200, { "content-type": "application/json" }).end("null");
  });
  const port = await freePort();
  await serves(port, { AUTH_URL: `http://127.0.0.1:${auth.port}` });
  const child = children.pop();
  try {
    const headers = { cookie: "theme=dark; better-auth.session_token=one.two", "x-forwarded-for": "203.0.113.1" };
    await fetch(`http://127.0.0.1:${port}/`, { headers, redirect: "manual" });
    assert.deepEqual(asked, [["/api/auth/get-session?disableRefresh=true", "better-auth.session_token=one.two", "127.0.0.1"]]);
  } finally {
    child.kill();
    await auth.stop();
  }
});
