// A page, `keywheel serve` and the FastAPI example, as it stands: no secret is shared, and the page handles no token itself.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";

import { launch, pages } from "../support/browser.mjs";
import { freePort, keywheel } from "../support/services.mjs";

const EXAMPLE = new URL("../../../../examples/fastapi/", import.meta.url).pathname;
const WITHIN_MS = 60_000;
let site, service, api, python, browser, page, me;

async function eventually(what, check) {
  const deadline = Date.now() + WITHIN_MS;
  while (Date.now() < deadline) {
    if (await check().catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail(what);
}

before(async () => {
  site = await pages();
  service = await keywheel({ origins: [site.url], settings: '[[audience]]\nname = "api"\nttl = "2s"' });
  const port = await freePort();
  api = `http://localhost:${port}`;
  const env = { ...process.env, AUTH_ISSUER: service.url, API_AUDIENCE: "api", TASKS_DB: ":memory:", WEB_ORIGIN: site.url };
  const args = ["-m", "uvicorn", "main:app", "--port", String(port), "--log-level", "warning"];
  python = spawn(`${EXAMPLE}.venv/bin/python`, args, { cwd: EXAMPLE, env, stdio: "inherit" });
  await eventually("FastAPI is not up", async () => (await fetch(`${api}/docs`)).ok);
  Object.assign(site.services, { auth: service.url, api });
  browser = await launch();
  page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(WITHIN_MS);
  await page.goto(site.url);
});

after(async () => {
  await browser?.close();
  python?.kill();
  for (const running of [service, site]) await running?.stop();
});

// What the page's own client makes of a call: status and body, or the code of its error.
const call = (path, body) =>
  page.evaluate(
    async ([url, body]) => {
      const init = body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
      try {
        const response = await window.client.authFetch(url, { ...init, audience: "api" });
        return [response.status, await response.json()];
      } catch (error) {
        return [error.code];
      }
    },
    [api + path, body],
  );

test("signed up, the page's call reaches FastAPI, which knows who it is", async () => {
  await page.locator("#email").fill("ada@example.com");
  await page.locator("#password").fill("correct horse");
  await page.getByRole("button", { name: "sign up" }).click();
  await page.locator("h1", { hasText: "ada@example.com" }).waitFor();
  me = await page.evaluate(async () => (await window.client.getSession()).user.id);
  const [status, answer] = await call("/api/personalize", { topic: "keys" });
  assert.deepEqual([status, answer.user], [200, me]);
});

test("one's own tasks are given, somebody else's are a 403, and the user stays signed in", async () => {
  assert.equal((await call(`/api/${me}/tasks`))[0], 200);
  assert.equal((await call("/api/somebody-else/tasks"))[0], 403);
  assert.deepEqual(await page.evaluate(() => window.signedOut), []);
});

test("after FastAPI has begun to refuse the first token as expired, the page's calls still pass", async () => {
  const token = await page.evaluate(() => window.client.getToken({ audience: "api" }));
  const headers = { authorization: `Bearer ${token}` };
  await eventually("the token does not expire", async () => (await fetch(`${api}/api/${me}/tasks`, { headers })).status === 401);
  const statuses = [];
  page.on("response", (response) => response.url().startsWith(api) && statuses.push(response.status()));
  assert.equal((await call(`/api/${me}/tasks`))[0], 200);
  assert.ok(!statuses.includes(401), "renewed before, not after, a refusal");
});

test("signed out, there is no token to call with", async () => {
  await page.getByRole("button", { name: "sign out" }).click();
  await page.locator("h1", { hasText: "nobody" }).waitFor();
  assert.deepEqual(await call(`/api/${me}/tasks`), ["UNAUTHORIZED"]);
});
