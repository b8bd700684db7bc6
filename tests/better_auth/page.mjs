// The page at `/` in a real browser: sign up, get a token, call the API, sign out, and the API refuses the token that has not
// expired. Takes a screenshot where SCREENSHOT says.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer } from "node:net";

import { chromium } from "playwright-core";

import { LAUNCH, complaintsOf } from "../browser.mjs";
import { finish, promise } from "./lib.mjs";

const WITHIN_MS = 60_000;

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const [port, apiPort] = [await freePort(), await freePort()];
const url = `http://127.0.0.1:${port}`;
const demo = spawn(
  process.env.INTEROP_BIN,
  ["demo", "--listen", `127.0.0.1:${port}`, "--api-listen", `127.0.0.1:${apiPort}`, "--admin-listen", "127.0.0.1:0"],
  { stdio: ["ignore", "pipe", "ignore"] },
);
process.on("exit", () => demo.kill());
let said = "";
await new Promise((resolve, reject) => {
  const timer = setTimeout(() => reject(new Error(said)), 60_000);
  demo.stdout.on("data", (chunk) => {
    said += chunk;
    if (!said.includes("stays up until")) return;
    clearTimeout(timer);
    resolve();
  });
});

const browser = await chromium.launch(LAUNCH);
const page = await browser.newPage({ viewport: { width: 900, height: 900 } });
const complaints = complaintsOf(page);

const lines = () => page.locator("#log li").allTextContents();
// Waits for the line of the log with this number, counted from 1.
async function line(number) {
  await page.locator("#log li").nth(number - 1).waitFor({ timeout: WITHIN_MS });
  return (await lines())[number - 1];
}

await promise("the page loads under its policy and knows that nobody is signed in", async () => {
  const response = await page.goto(url);
  const policy = response.headers()["content-security-policy"];
  assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'/);
  assert.doesNotMatch(policy, /unsafe|\*/);
  await page.getByText("Signed out").waitFor({ timeout: WITHIN_MS });
});

await promise("a wrong password is told in words", async () => {
  await page.fill("#email", "grace@example.com");
  await page.fill("#password", "wrong password");
  await page.click("#sign-in");
  assert.equal(await line(1), "sign-in: 401 Invalid email or password");
});

await promise("signing up signs in", async () => {
  await page.fill("#name", "<img src=x onerror=alert(1)>");
  await page.fill("#password", "correct horse");
  await page.click("#sign-up");
  assert.match(await line(2), /^sign-up: 200 [0-9a-f]{32}$/);
  await page.getByText("Signed in as grace@example.com").waitFor({ timeout: WITHIN_MS });
});

await promise("the session outlives a reload, the cookie is out of reach of scripts", async () => {
  await page.reload();
  await page.getByText("Signed in as grace@example.com").waitFor({ timeout: WITHIN_MS });
  assert.equal(await page.evaluate(() => document.cookie), "");
  const [cookie] = await page.context().cookies(url);
  assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite], ["better-auth.session_token", true, "Lax"]);
});

await promise("a call to the API on another origin, with a fresh token, is answered", async () => {
  await page.click("#call");
  assert.equal(await line(1), "token: 200 ");
  assert.match(await line(2), /^API: 200 key rotation, chosen for [0-9a-f]{32}$/);
  const claims = JSON.parse(await page.locator("#claims").textContent());
  assert.deepEqual([claims.aud, claims.email], ["demo-api", "grace@example.com"]);
});

await promise("the token is in no storage", async () => {
  const stored = await page.evaluate(async () => ({
    local: localStorage.length,
    session: sessionStorage.length,
    databases: (await indexedDB.databases()).length,
    address: location.href,
  }));
  assert.deepEqual(stored, { local: 0, session: 0, databases: 0, address: `${url}/` });
});

await promise("after signing out the API refuses the token within a second", async () => {
  await page.click("#sign-out");
  assert.equal(await line(3), "sign-out: 200");
  const started = Date.now();
  let last = "";
  for (let n = 4; Date.now() - started < 1000 && !last.includes("401"); n += 1) {
    await page.click("#call-again");
    last = await line(n);
  }
  assert.equal(last, "API: 401 The access token is invalid");
  await page.getByText("Signed out").waitFor({ timeout: WITHIN_MS });
});

if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT, fullPage: true });

await promise("the browser had nothing to complain of but the refusals", async () => {
  const others = complaints.filter((text) => !/status of 401/.test(text));
  assert.deepEqual(others, []);
});

await browser.close();
demo.kill("SIGINT");
await new Promise((resolve) => demo.once("exit", resolve));
finish("page");
