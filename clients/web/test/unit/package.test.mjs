import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

import { SESSION, json, jwt, scripted } from "../support/scripted.mjs";

const ROOT = new URL("../..", import.meta.url).pathname;
const LIMIT = 3000;

async function size(entry) {
  const { outputFiles } = await build({
    entryPoints: [`${ROOT}dist/${entry}.js`],
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: "es2022",
    external: ["react"],
    logLevel: "silent",
  });
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

test("each entry is smaller than 3 kB, minified and compressed", async (t) => {
  for (const entry of ["index", "react"]) {
    const bytes = await size(entry);
    t.diagnostic(`${entry}: ${bytes} bytes`);
    assert.ok(bytes < LIMIT, `${entry} has ${bytes} bytes`);
  }
});

test("the READMEs say how large it is", async () => {
  const kilobytes = (bytes) => `${(Math.ceil(bytes / 100) / 10).toFixed(1)} kB`;
  const [index, react] = [kilobytes(await size("index")), kilobytes((await size("react")))];
  const own = await readFile(`${ROOT}README.md`, "utf8");
  assert.ok(own.includes(`runtime dependency, ${index} (${react} more with React's hooks)`), `${index}, ${react}`);
  assert.ok((await readFile(`${ROOT}../../README.md`, "utf8")).includes(`(TypeScript, ${index}, no dependency`), index);
});

test("the package needs nothing at run time, is a module, and its entries exist with their types", async () => {
  const manifest = JSON.parse(await readFile(`${ROOT}package.json`, "utf8"));
  assert.equal(manifest.dependencies, undefined);
  assert.equal(manifest.type, "module");
  assert.equal(manifest.peerDependenciesMeta.react.optional, true);
  for (const entry of Object.values(manifest.exports)) {
    for (const file of Object.values(entry)) await readFile(ROOT + file);
  }
  assert.doesNotMatch(await readFile(`${ROOT}dist/index.js`, "utf8"), /from "(?!\.\/)/);
  // Next.js must know that the hooks belong to the browser.
  assert.match(await readFile(`${ROOT}dist/react.js`, "utf8"), /^"use client";/);
});

test("the README's table has every code of the client's own, and says how long TIMEOUT takes", async () => {
  const [readme, errors, client] = await Promise.all(["README.md", "src/errors.ts", "src/client.ts"].map((file) => readFile(ROOT + file, "utf8")));
  const [own] = errors.split('"UNAUTHORIZED"');
  const codes = [...own.matchAll(/\| "([A-Z_]+)"/g)].map(([, code]) => code);
  assert.ok(codes.length >= 8 && codes.includes("SESSION_CHANGED"), String(codes));
  const rows = readme.split("\n").filter((line) => line.startsWith("| `"));
  for (const code of codes) assert.ok(rows.some((row) => row.split(" | ")[0].includes(`\`${code}\``)), code);
  const [, seconds] = /ANSWER_MS = (\d+)_000/.exec(client);
  assert.match(rows.find((row) => row.startsWith("| `TIMEOUT`")), new RegExp(`within ${seconds} s`));
});

// What the second snippet takes for granted.
const PRELUDE = `import { auth } from "./auth";
declare const email: string, password: string;
declare function show(words: string): void;
`;

test("the README's snippets compile as they stand", async () => {
  const readme = await readFile(`${ROOT}README.md`, "utf8");
  const [start, errors, react] = [...readme.matchAll(/```tsx?\n(.*?)```/gs)].map((match) => match[1]);
  // Inside the package, so that its own name and its development dependencies are found.
  const folder = await mkdtemp(`${ROOT}test/types/readme-`);
  try {
    await writeFile(`${folder}/auth.ts`, start);
    await writeFile(`${folder}/errors.ts`, PRELUDE + errors);
    await writeFile(`${folder}/react.tsx`, react);
    await writeFile(`${folder}/tsconfig.json`, JSON.stringify({ extends: "../tsconfig.json" }));
    const compiled = promisify(execFile)(`${ROOT}node_modules/.bin/tsc`, ["-p", `${folder}/tsconfig.json`]);
    await compiled.catch((error) => assert.fail(error.stdout));
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("packed and installed as the READMEs say, it is there, and npm is asked for nothing", async () => {
  const { name, version } = JSON.parse(await readFile(`${ROOT}package.json`, "utf8"));
  const file = `${name.replace("@", "").replace("/", "-")}-${version}.tgz`;
  for (const readme of ["README.md", "../../README.md"]) {
    const text = await readFile(ROOT + readme, "utf8");
    assert.match(text, /\(cd \.\.\/keywheel\/clients\/web && npm ci && npm run build && npm pack\)/, readme);
    assert.ok(text.includes(`npm install ../keywheel/clients/web/${file}\n`), readme);
  }
  const folder = await mkdtemp(join(tmpdir(), "keywheel-installed-"));
  try {
    const run = (command, ...args) => promisify(execFile)(command, args, { cwd: folder });
    await run("npm", "pack", ROOT, "--silent", "--pack-destination", folder);
    await writeFile(`${folder}/package.json`, "{}");
    await run("npm", "install", "--silent", "--offline", "--no-audit", "--no-fund", `./${file}`);
    const { stdout } = await run(process.execPath, "-e", 'import("@keywheel/client").then(({ createAuthClient }) => console.log(typeof createAuthClient))');
    assert.equal(stdout, "function\n");
    await readFile(`${folder}/node_modules/@keywheel/client/dist/index.d.ts`);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("the main README's snippet does what it says", async () => {
  const readme = await readFile(`${ROOT}../../README.md`, "utf8");
  const [, snippet] = /```ts\n(.*?)```/s.exec(readme);
  const fetch = scripted({
    "POST /api/auth/sign-in/email": () => json({ token: "t", user: SESSION.user }),
    "GET /api/auth/get-session": () => json(SESSION),
    "GET /api/auth/token": () => json({ token: jwt({ sub: SESSION.user.id, exp: Date.now() / 1000 + 900 }) }),
    "GET /orders": () => json([]),
  });
  const file = `${ROOT}test/unit/readme-snippet.mjs`;
  const real = globalThis.fetch;
  globalThis.fetch = fetch;
  try {
    await writeFile(file, snippet.replace("@keywheel/client", "../../dist/index.js"));
    await import(file);
    assert.match(fetch.asked.at(-1).url, /^http:\/\/localhost:8000\/orders$/);
    assert.match(fetch.asked.at(-1).bearer, /^Bearer ey/);
  } finally {
    globalThis.fetch = real;
    await rm(file);
  }
});
