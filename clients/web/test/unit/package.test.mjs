import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

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
