// The example as it stands, beside a running Keywheel: what must pass, and every call that must be refused.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { cookieFetch, freePort, keywheel } from "../../clients/web/test/support/services.mjs";
import { createAuthClient } from "../../clients/web/dist/index.js";

// The README's own, to its last line, which is of the audience; and what only these tests need.
const [, shown] = readFileSync(new URL("README.md", import.meta.url), "utf8").split("```toml\n");
const settings = `${shown.split("```")[0]}
ttl = "2s"
[[audience]]
name = "write-api"
[[audience]]
name = "legacy"
algorithm = "RS256"
[tokens]
user_claims = ["email"]`;
const WITHIN_MS = 60_000;
let service, api, ada, me;
const children = [];

async function express(environment) {
  const env = { ...process.env, PORT: "0", ...environment };
  const child = spawn(process.execPath, [new URL("server.mjs", import.meta.url).pathname], { env, stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  const [line] = await new Promise((resolve, reject) => {
    child.stdout.once("data", (text) => resolve(String(text).split("\n")));
    child.once("exit", (code) => reject(new Error(`express ended with ${code}`)));
  });
  return line.replace("express serves ", "");
}

before(async () => {
  service = await keywheel({ settings });
  api = await express({ AUTH_ISSUER: service.url, API_AUDIENCE: "api", WEB_ORIGIN: "http://localhost:3000" });
  ada = createAuthClient({ baseURL: service.url, fetch: cookieFetch(service.url) });
  me = (await ada.signUp({ name: "Ada", email: "ada@example.com", password: "correct horse" })).user.id;
});

after(async () => {
  for (const child of children) child.kill();
  await service?.stop();
});

const call = (token, path = "/orders", init = {}) =>
  fetch(api + path, { ...init, headers: { ...init.headers, ...(token !== undefined && { authorization: `Bearer ${token}` }) } });

test("a token of this audience is let in, and says who it is", async () => {
  const response = await call(await ada.getToken({ audience: "api" }));
  assert.deepEqual([response.status, await response.json()], [200, [{ owner: me, title: "rotate the keys" }]]);
});

test("without a token: 401 with a bare challenge", async () => {
  const response = await call(undefined);
  assert.deepEqual([response.status, response.headers.get("www-authenticate")], [401, "Bearer"]);
});

test("a forged, a stripped, a foreign and a nonsensical token: 401", async () => {
  const [head, claims, signature] = (await ada.getToken({ audience: "api" })).split(".");
  const none = Buffer.from('{"alg":"none"}').toString("base64url");
  const hmac = Buffer.from('{"alg":"HS256","typ":"JWT"}').toString("base64url");
  for (const bad of [
    `${head}.${claims}.${[...signature].reverse().join("")}`,
    `${head}.${claims}.`,
    `${none}.${claims}.`,
    `${hmac}.${claims}.${signature}`,
    await ada.getToken({ audience: "write-api" }),
    await ada.getToken({ audience: "legacy" }),
    "not.a.token",
    "nonsense",
  ]) {
    const response = await call(bad);
    assert.equal(response.status, 401, bad);
    assert.match(response.headers.get("www-authenticate"), /error="invalid_token", error_description="The access token is invalid"/);
  }
});

test("an expired token: 401, and it says so, for the front end acts on it", async () => {
  const token = await ada.getToken({ audience: "api" });
  const deadline = Date.now() + WITHIN_MS;
  let response;
  do {
    response = await call(token);
    if (response.status === 200) await new Promise((resolve) => setTimeout(resolve, 100));
  } while (response.status === 200 && Date.now() < deadline);
  assert.equal(response.status, 401);
  assert.match(response.headers.get("www-authenticate"), /error_description="The access token expired"/);
});

test("a scope that the token lacks, and another user's orders: 403", async () => {
  const token = await ada.getToken({ audience: "api" });
  const post = { method: "POST", body: '{"title":"x"}', headers: { "content-type": "application/json" } };
  const response = await call(token, "/orders", post);
  assert.deepEqual([response.status, response.headers.get("www-authenticate")], [403, 'Bearer error="insufficient_scope", scope="orders:write"']);
  assert.equal((await call(token, "/users/somebody-else/orders")).status, 403);
  assert.equal((await call(token, `/users/${me}/orders`)).status, 200);
});

test("the README's token for a script, with the scope: 201", async () => {
  const args = ["token", "--sub", "ada", "--aud", "api", "--scope", "orders:write", "--config", service.config];
  const token = execFileSync(process.env.WEB_KEYWHEEL, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  const post = { method: "POST", body: '{"title":"rotate the keys"}', headers: { "content-type": "application/json" } };
  const response = await call(token, "/orders", post);
  assert.deepEqual([response.status, await response.json()], [201, { owner: "ada", title: "rotate the keys" }]);
});

test("only the front end's origin is admitted by CORS", async () => {
  const preflight = (origin) =>
    call(undefined, "/orders", { method: "OPTIONS", headers: { origin, "access-control-request-method": "GET", "access-control-request-headers": "authorization" } });
  assert.equal((await preflight("http://localhost:3000")).headers.get("access-control-allow-origin"), "http://localhost:3000");
  assert.notEqual((await preflight("https://evil.test")).headers.get("access-control-allow-origin"), "https://evil.test");
});

test("with the auth service away and no keys yet: 503, not 401", async () => {
  const alone = await express({ AUTH_ISSUER: `http://localhost:${await freePort()}`, API_AUDIENCE: "api" });
  const response = await fetch(`${alone}/orders`, { headers: { authorization: `Bearer ${await ada.getToken({ audience: "api" })}` } });
  assert.deepEqual([response.status, response.headers.get("retry-after")], [503, "1"]);
});
