// Keywheel as its users run it: by the command line.

import { execFile } from "node:child_process";

const { INTEROP_BIN, INTEROP_CONFIG, INTEROP_ISSUER, INTEROP_JWKS_URL, INTEROP_AUDIENCES } = process.env;

export const issuer = INTEROP_ISSUER;
export const jwksUrl = new URL(INTEROP_JWKS_URL);
// Which algorithm signs for an audience is the issuer's configuration, never the caller's choice.
export const audiences = JSON.parse(INTEROP_AUDIENCES);

const COMMAND_DEADLINE_MS = 60_000;

// A new token for the audience that this algorithm signs for.
export async function mint(algorithm, ...options) {
  const command = ["token", "--config", INTEROP_CONFIG, "--sub", "user-1", "--aud", audiences[algorithm], ...options];
  const { exitCode, stdout, stderr } = await run(command);
  if (exitCode !== 0) throw new Error(`keywheel token ended with ${exitCode}: ${stderr}`);
  return stdout.trim();
}

// The verdict on a token whose keys are at a URL: { exitCode, ok, reason, claims }.
export async function verify(token, url, issuer, audience) {
  // By standard input: an argument can be read by every process of the machine.
  const command = ["verify", "--jwks", url, "--issuer", issuer, "--audience", audience, "--json", "-"];
  const { exitCode, stdout, stderr } = await run(command, token);
  if (exitCode !== 0 && exitCode !== 1) throw new Error(`keywheel verify ended with ${exitCode}: ${stderr}`);
  const { ok, reason, claims } = JSON.parse(stdout);
  return { exitCode, ok, reason, claims };
}

// Not the synchronous kind: the key server of `sign_for_us.mjs` answers from this very process meanwhile.
function run(command, input = "") {
  return new Promise((resolve, reject) => {
    const child = execFile(INTEROP_BIN, command, { timeout: COMMAND_DEADLINE_MS }, (error, stdout, stderr) => {
      if (error && typeof error.code !== "number") return reject(error);
      resolve({ exitCode: error ? error.code : 0, stdout, stderr });
    });
    child.stdin.end(input);
  });
}
