// The example as it stands: built, started, and walked through in a real browser, with Keywheel and the Express example behind it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, beforeEach, afterEach, test } from "node:test";

import { launch } from "../../clients/web/test/support/browser.mjs";
import { freePort, keywheel } from "../../clients/web/test/support/services.mjs";

const HERE = new URL(".", import.meta.url).pathname;
const NEXT = `${HERE}node_modules/next/dist/bin/next`;
const EXPRESS = new URL("../express/server.mjs", import.meta.url).pathname;
const WITHIN_MS = 20_000;
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

before(async () => {
  const port = await freePort();
  web = `http://localhost:${port}`;
  service = await keywheel({ origins: [web] });
  const express = start(EXPRESS, [], { PORT: "0", AUTH_ISSUER: service.url, API_AUDIENCE: "api", WEB_ORIGIN: web });
  const api = (await said(express, "\n")).trim().replace("express serves ", "");
  const settings = { AUTH_URL: service.url, NEXT_PUBLIC_API_URL: api };
  const build = start(NEXT, ["build"], settings);
  let log = "";
  build.stdout.on("data", (chunk) => (log += chunk));
  const [code] = await once(build, "exit");
  assert.equal(code, 0, log);
  await said(start(NEXT, ["start", "--port", String(port), "--hostname", "127.0.0.1"], settings), "Ready");
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
  // The cookie stays with the page's own origin and out of scripts' reach; no token is stored.
  const cookies = await context.cookies();
  assert.deepEqual(cookies.map(({ name, httpOnly }) => [name, httpOnly]), [["better-auth.session_token", true]]);
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
