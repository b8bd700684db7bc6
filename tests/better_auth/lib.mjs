// Keywheel as its users run it, a browser's cookie jar, and one line for each promise.

import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BINARY = process.env.INTEROP_BIN;
const START_DEADLINE_MS = 60_000;

let kept = 0;
let broken = 0;

// The promise is kept if `check` ends without an exception.
export async function promise(text, check) {
  try {
    await check();
    kept += 1;
    console.log(`ok ${text}`);
  } catch (error) {
    broken += 1;
    console.log(`FAILED ${text}: ${String(error?.stack ?? error).split("\n").slice(0, 3).join(" ")}`);
  }
}

export function finish(name) {
  console.log(`${name}: ${kept} passed, ${broken} failed`);
  process.exitCode = broken === 0 && kept > 0 ? 0 : 1;
}

// A running `keywheel serve` in a folder of its own: { url, admin, stop }.
export async function serve(settings = "") {
  const folder = await mkdtemp(join(tmpdir(), "keywheel-better-auth-"));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const config = join(folder, "keywheel.toml");
  const text = `issuer = "${url}"\nlisten = "127.0.0.1:${port}"\nadmin_listen = "127.0.0.1:0"\n${settings}\n` +
    `[keys]\nstore = "${join(folder, "keys")}"\n[database]\nurl = "sqlite://${join(folder, "data/keywheel.db")}"\n`;
  await writeFile(config, text);
  const child = spawn(BINARY, ["serve", "--config", config], { stdio: ["ignore", "ignore", "pipe"] });
  process.on("exit", () => child.kill());
  await announced(child, "keywheel serves ");
  const stop = async () => {
    child.kill("SIGTERM");
    await new Promise((resolve) => child.once("exit", resolve));
    await rm(folder, { recursive: true });
  };
  return { url, config, stop };
}

// Ends once a line of the child's stderr begins like this; gives the line.
export function announced(child, beginning) {
  return new Promise((resolve, reject) => {
    let text = "";
    const timer = setTimeout(() => reject(new Error(`not up in time: ${text}`)), START_DEADLINE_MS);
    child.stderr.on("data", (chunk) => {
      text += chunk;
      // What comes after the last newline may be half a line.
      const line = text.split("\n").slice(0, -1).find((line) => line.startsWith(beginning));
      if (line === undefined) return;
      clearTimeout(timer);
      resolve(line);
    });
    child.once("exit", (code) => reject(new Error(`ended with ${code}: ${text}`)));
  });
}

async function freePort() {
  const { createServer } = await import("node:net");
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

// `fetch` as a browser on a page of `origin` does it: it keeps cookies and says where it comes from.
export function browser(origin) {
  const jar = new Map();
  const seen = [];
  async function browserFetch(input, init = {}) {
    const request = new Request(input, init);
    const headers = new Headers(request.headers);
    if (jar.size > 0) headers.set("cookie", [...jar].map(([name, value]) => `${name}=${value}`).join("; "));
    headers.set("origin", origin);
    const body = request.method === "GET" ? undefined : await request.text();
    const response = await fetch(request.url, { method: request.method, headers, body });
    for (const cookie of response.headers.getSetCookie()) {
      const [pair, ...attributes] = cookie.split("; ");
      const [name, ...value] = pair.split("=");
      if (attributes.includes("Max-Age=0")) jar.delete(name);
      else jar.set(name, value.join("="));
    }
    seen.push({ path: new URL(request.url).pathname, status: response.status, headers: response.headers });
    return response;
  }
  return { fetch: browserFetch, jar, seen };
}
