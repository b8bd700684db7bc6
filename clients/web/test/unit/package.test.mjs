import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
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
