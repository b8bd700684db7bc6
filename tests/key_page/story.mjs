// A service with a past: keys that have rotated, one that was revoked, verifiers that watch, sign-ins that failed, and a gate that
// was asked about good, bad and hostile tokens.

import { spawn, execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { announced, browser } from "../better_auth/lib.mjs";

const BINARY = process.env.INTEROP_BIN;
const DAY = 24 * 3600;
export const HOSTILE = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>`;

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function start(args, beginning) {
  const child = spawn(BINARY, args, { stdio: ["ignore", "ignore", "pipe"] });
  process.on("exit", () => child.kill());
  const line = await announced(child, beginning);
  const addresses = [...line.matchAll(/http:\/\/[0-9.:]+/g)].map(([address]) => address);
  const stop = async () => {
    child.kill("SIGTERM");
    await new Promise((resolve) => child.once("exit", resolve));
  };
  return { admin: addresses.at(-1), public: addresses.at(-2), stop };
}

// Moves what has happened to the keys back in time, as if months had passed between one rotation and the next.
async function age(ring) {
  const file = join(ring, "ring.json");
  const stored = JSON.parse(await readFile(file, "utf8"));
  const now = Math.floor(Date.now() / 1000);
  const set = (key, times) => {
    for (const [name, days] of Object.entries(times)) {
      if (key[name] !== undefined) key[name] = now + Math.round(days * DAY);
    }
  };
  for (const alg of ["EdDSA", "RS256"]) {
    const keys = stored.keys.filter((key) => key.alg === alg);
    // Each signs for thirty days; the second of EdDSA was stolen on its eleventh.
    const starts = alg === "EdDSA" ? [-70, -40, -29, -29 + 30] : [-60.3, -30.3, -0.3, 29.7];
    keys.forEach((key, index) => {
      const [began, ends] = [starts[index], starts[index + 1] ?? 90];
      const made = index === 0 ? began - 0.1 : starts[index - 1];
      set(key, {
        created_at: made, first_published: made, unknown_until: made + 0.01, signing_since: began,
        retired_at: ends, tokens_until: ends + 0.9, gone_at: ends + 1, revoked_at: ends,
      });
      if (key.stage === "retired" && ends < -2) {
        Object.assign(key, { stage: "gone", gone_at: now + Math.round((ends + 1) * DAY), causes: { ...key.causes, gone: "drained" } });
      }
      if (key.stage === "signing") set(key, { tokens_until: 0.05 });
    });
  }
  await writeFile(file, JSON.stringify(stored));
}

// Looks again until it is so: only a defect takes a minute.
async function until(what, isSo) {
  for (const deadline = Date.now() + 60_000; !isSo();) {
    if (Date.now() > deadline) throw new Error(`never came true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function story() {
  const folder = await mkdtemp(join(tmpdir(), "keywheel-key-page-"));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const config = join(folder, "keywheel.toml");
  await writeFile(config, `issuer = "${url}"\nlisten = "127.0.0.1:${port}"\nadmin_listen = "127.0.0.1:0"\n` +
    `[keys]\nstore = "${join(folder, "keys")}"\n[database]\nurl = "sqlite://${join(folder, "data/keywheel.db")}"\n`);
  const keywheel = (...args) => execFileSync(BINARY, [...args, "--config", config], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const serve = () => start(["serve", "--config", config], "keywheel serves ");

  const first = await serve();
  const fresh = JSON.parse(keywheel("keys", "list", "--json")).keys;
  for (let n = 0; n < 2; n += 1) {
    keywheel("keys", "rotate", "--force", "--reason", "drill");
    // A key that no server has published does not even sign by force.
    await until("the announced keys are published", () => JSON.parse(keywheel("keys", "list", "--json")).keys
      .every((key) => key.stage !== "announced" || typeof key.first_published === "number"));
  }
  const stolen = JSON.parse(keywheel("keys", "list", "--all", "--json")).keys
    .filter((key) => key.alg === "EdDSA" && key.stage === "retired").at(-1);
  keywheel("keys", "revoke", stolen.kid, "--reason", "stolen with a laptop <b>&</b>");
  await first.stop();
  await age(join(folder, "keys"));
  const service = await serve();
  const gate = await start(
    ["gate", "--issuer", url, "--audience", "api", "--jwks-url", `${url}/.well-known/jwks.json`,
      "--algorithms", "EdDSA,RS256", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
    "keywheel gate serves ",
  );
  await traffic(url, gate.public, { stolen: stolen.kid });
  const stop = async () => {
    await gate.stop();
    await service.stop();
    await rm(folder, { recursive: true, force: true });
  };
  return { service, gate, kids: { fresh: fresh.map((key) => key.kid), stolen: stolen.kid }, keywheel, stop };
}

async function traffic(url, gate, { stolen }) {
  const { fetch: ask } = browser(url);
  const post = (path, body) => ask(`${url}/api/auth/${path}`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  });
  const person = { name: "Grace", email: "grace@example.com", password: "correct horse battery" };
  await post("sign-up/email", person);
  for (let n = 0; n < 4; n += 1) await post("sign-in/email", { ...person, password: `wrong number ${n}` });
  const { token } = await (await ask(`${url}/api/auth/token`)).json();
  const present = async (bearer) => (await fetch(`${gate}/verify`, { headers: { authorization: `Bearer ${bearer}` } })).status;
  const accepted = await present(token);
  if (accepted !== 200) throw new Error(`the gate refused a good token: ${accepted}`);
  const [head, body, signature] = token.split(".");
  const base64url = (value) => Buffer.from(value).toString("base64url");
  const withKid = (kid) => `${base64url(JSON.stringify({ ...JSON.parse(Buffer.from(head, "base64url")), kid }))}.${body}.${signature}`;
  for (let n = 0; n < 40; n += 1) await present(`${head}.${body}.${"A".repeat(signature.length)}`);
  for (let n = 0; n < 6; n += 1) await present(withKid(stolen));
  await present(withKid(HOSTILE));
  await present(HOSTILE);
  await fetch(`${gate}/verify`);
  await present(withKid(HOSTILE));
}
