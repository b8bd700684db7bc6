// A Better Auth server as its users run it, for Keywheel's verifier. `POST /rotate` lets its signing key be past its time, so that
// it makes another and keeps publishing the old one; `POST /forget` makes it lose its keys; `GET /row` is the row of its newest key.

import http from "node:http";

import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { toNodeHandler } from "better-auth/node";
import { bearer, jwt } from "better-auth/plugins";

const secret = "only for this test, and long enough";
const db = { user: [], session: [], account: [], verification: [], jwks: [] };
const server = http.createServer();
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const baseURL = `http://127.0.0.1:${server.address().port}`;

const auth = betterAuth({
  baseURL,
  secret,
  database: memoryAdapter(db),
  emailAndPassword: { enabled: true },
  rateLimit: { enabled: false },
  plugins: [jwt({ jwks: { rotationInterval: 3600, gracePeriod: 3600 } }), bearer()],
});
const handle = toNodeHandler(auth);

server.on("request", (request, response) => {
  if (request.method === "POST" && request.url === "/rotate") {
    for (const key of db.jwks) key.expiresAt = new Date(Date.now() - 1000);
    return response.end();
  }
  if (request.method === "GET" && request.url === "/row") {
    // What an operator reads from the database and the configuration.
    const { id, privateKey } = db.jwks.at(-1);
    return response.end(JSON.stringify({ id, privateKey, secret }));
  }
  if (request.method === "POST" && request.url === "/forget") {
    db.jwks.length = 0;
    return response.end();
  }
  return handle(request, response);
});
console.error(`better auth serves ${baseURL}`);
