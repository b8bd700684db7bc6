import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { promisify } from "node:util";

const ROOT = new URL("../..", import.meta.url).pathname;

// What the snippet for Better Auth's client takes for granted.
const PRELUDE = `import { createAuthClient } from "better-auth/client";
import { jwtClient } from "better-auth/client/plugins";
declare const name: string, email: string, password: string;
`;

test("the snippets of the project's own README compile as they stand", async () => {
  const readme = await readFile(`${ROOT}../../README.md`, "utf8");
  const blocks = (language) => [...readme.matchAll(new RegExp("```" + language + "\\n(.*?)```", "gs"))].map((match) => match[1]);
  const [client, ...others] = blocks("ts");
  const betterAuth = blocks("js").find((block) => block.includes("jwtClient"));
  assert.equal(others.length, 0, "a block that nothing checks");
  const folder = await mkdtemp(`${ROOT}test/types/project-`);
  try {
    await writeFile(`${folder}/client.ts`, client);
    await writeFile(`${folder}/better-auth.ts`, `${PRELUDE}${betterAuth}\nexport const token: string | undefined = data?.token;\n`);
    const options = { skipLibCheck: true, exactOptionalPropertyTypes: false, noUnusedLocals: false };
    await writeFile(`${folder}/tsconfig.json`, JSON.stringify({ extends: "../tsconfig.json", compilerOptions: options }));
    const compiled = promisify(execFile)(`${ROOT}node_modules/.bin/tsc`, ["-p", `${folder}/tsconfig.json`]);
    await compiled.catch((error) => assert.fail(error.stdout));
  } finally {
    await rm(folder, { recursive: true });
  }
});
