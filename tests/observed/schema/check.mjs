// Writes the dashboards as TypeScript, where an unknown member of a literal is an error, and has the compiler look at them.
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { defaultDashboard } from "@grafana/schema";

const here = new URL(".", import.meta.url);
const folder = new URL("../../grafana/dashboards/", new URL("../", here));
const files = readdirSync(folder).filter((name) => name.endsWith(".json")).sort();
let text = 'import type { CheckedDashboard } from "../dashboard";\n';
for (const [n, name] of files.entries()) {
  const json = readFileSync(new URL(name, folder), "utf8");
  if (JSON.parse(json).schemaVersion !== defaultDashboard.schemaVersion) {
    console.error(`${name}: schemaVersion is not ${defaultDashboard.schemaVersion}`);
    process.exit(1);
  }
  text += `// ${name}\nexport const d${n}: CheckedDashboard = ${json.trimEnd()};\n`;
}
mkdirSync(new URL("made", here), { recursive: true });
writeFileSync(new URL("made/dashboards.ts", here), text);
const ran = spawnSync("node", ["node_modules/typescript/bin/tsc", "--project", "."], { cwd: here, encoding: "utf8" });
process.stdout.write(ran.stdout.slice(0, 4000));
console.log(`schema: ${files.length} dashboards checked`);
process.exit(files.length === 3 ? ran.status : 1);
