// What a front end talks to, for real: `keywheel serve`, a backend that verifies by its key set, a Better Auth server, and pages.

import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { createRemoteJWKSet, jwtVerify } from "jose";

const START_DEADLINE_MS = 60_000;

export function listen(handle) {
  return new Promise((resolve) => {
    const server = createServer(handle);
    server.listen(0, "127.0.0.1", () => {
      const stop = () => (server.closeAllConnections(), new Promise((done) => server.close(done)));
      resolve({ server, port: server.address().port, stop });
    });
  });
}

export async function freePort() {
  const { port, stop } = await listen();
  await stop();
  return port;
}

// A running `keywheel serve` in a folder of its own, for pages of these origins.
export async function keywheel({ origins = [], proxies = [], settings = "", attempts = 1000, accountAttempts = attempts } = {}) {
  const folder = await mkdtemp(join(tmpdir(), "keywheel-web-"));
  const port = await freePort();
  const url = `http://localhost:${port}`;
  const config = join(folder, "keywheel.toml");
  await writeFile(
    config,
    `issuer = "${url}"
listen = "127.0.0.1:${port}"
admin_listen = "127.0.0.1:0"
trusted_origins = ${JSON.stringify(origins)}
trusted_proxies = ${JSON.stringify(proxies)}
[keys]
store = "${join(folder, "keys")}"
[database]
url = "sqlite://${join(folder, "keywheel.db")}"
[accounts]
rate_limit = { window = "60s", attempts = ${attempts} }
account_rate_limit = { window = "60s", attempts = ${accountAttempts} }
${settings}`,
  );
  const child = spawn(process.env.WEB_KEYWHEEL, ["serve", "--config", config], { stdio: ["ignore", "ignore", "pipe"] });
  await new Promise((resolve, reject) => {
    let said = "";
    const timer = setTimeout(() => reject(new Error(`keywheel was not up in time: ${said}`)), START_DEADLINE_MS);
    child.once("exit", (code) => reject(new Error(`keywheel ended with ${code}: ${said}`)));
    child.stderr.on("data", (chunk) => {
      said += chunk;
      if (!/^keywheel serves /m.test(said)) return;
      clearTimeout(timer);
      resolve();
    });
  });
  const stop = async () => {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await ended;
    await rm(folder, { recursive: true });
  };
  return { url, config, stop };
}

// A backend as its users write it, with jose. `refuse` is how many of the next requests it refuses whatever they bring.
export async function backend({ issuer, audience, origins }) {
  const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`));
  const state = { refuse: 0, answers: [], tokens: [], bodies: [] };
  const verify = (token) => jwtVerify(token, keys, { issuer, audience, algorithms: ["EdDSA"], clockTolerance: 0 });
  const { port, stop } = await listen(async (request, response) => {
    const { origin, authorization = "" } = request.headers;
    if (origins.includes(origin)) {
      response.setHeader("access-control-allow-origin", origin);
      response.setHeader("access-control-allow-headers", "authorization, content-type");
    }
    if (request.method === "OPTIONS") return response.writeHead(204).end();
    let text = "";
    for await (const chunk of request) text += chunk;
    state.bodies.push(text);
    const answer = (status, body) => {
      state.answers.push(status);
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    };
    try {
      if ((state.refuse -= 1) >= 0) throw new Error("told to");
      const token = authorization.replace(/^Bearer /, "");
      const { payload } = await verify(token);
      state.tokens.push(token);
      if (request.url === "/admin") return answer(403, { error: "insufficient_scope" });
      return answer(200, { sub: payload.sub, email: payload.email });
    } catch (error) {
      return answer(401, { error: "invalid_token", error_description: error.message });
    }
  });
  return { url: `http://localhost:${port}`, state, verify, stop };
}

// A Better Auth server with its own accounts, in memory.
export async function betterAuth() {
  const { betterAuth } = await import("better-auth");
  const { memoryAdapter } = await import("better-auth/adapters/memory");
  const { toNodeHandler } = await import("better-auth/node");
  const { bearer, jwt } = await import("better-auth/plugins");
  let handle;
  const { port, stop } = await listen((request, response) => handle(request, response));
  const url = `http://localhost:${port}`;
  const auth = betterAuth({
    baseURL: url,
    secret: "only for this test, and long enough",
    database: memoryAdapter({ user: [], session: [], account: [], verification: [], jwks: [] }),
    emailAndPassword: { enabled: true },
    rateLimit: { enabled: false },
    telemetry: { enabled: false },
    plugins: [jwt(), bearer()],
  });
  handle = toNodeHandler(auth);
  return { url, stop };
}

// `fetch` as a browser on a page of `origin` does it: it keeps cookies and says where it comes from. The paths are in `.asked`.
export function cookieFetch(origin) {
  const jar = new Map();
  const asked = [];
  async function browserFetch(input, init = {}) {
    asked.push(new URL(input).pathname);
    const headers = new Headers(init.headers);
    headers.set("origin", origin);
    if (init.credentials === "include" && jar.size)
      headers.set("cookie", [...jar].map(([name, value]) => `${name}=${value}`).join("; "));
    const response = await fetch(input, { ...init, headers });
    for (const cookie of response.headers.getSetCookie()) {
      const [pair, ...attributes] = cookie.split("; ");
      const [name, ...value] = pair.split("=");
      if (attributes.includes("Max-Age=0")) jar.delete(name);
      else jar.set(name, value.join("="));
    }
    return response;
  }
  return Object.assign(browserFetch, { asked });
}
