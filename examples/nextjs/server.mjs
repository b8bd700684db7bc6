// Next's own server, and the way to the auth service: /api/auth is passed through the page's origin, so that the session cookie is
// first-party and server components see it. All visitors' sign-ins then come to the auth service from here, and it counts attempts by
// address: so each is passed on with its visitor's, taken from the connection. Next's `rewrites` would pass on what the visitor wrote.

import { createServer, request as overHttp } from "node:http";
import { request as overHttps } from "node:https";
import next from "next";

const AUTH = new URL(process.env.AUTH_URL ?? "http://localhost:3001");
const port = Number(process.env.PORT ?? 3000);
const app = next({ dev: process.argv.includes("--dev"), port });
const pages = app.getRequestHandler();

// RFC 9110 §7.6.1: these are about one connection alone, as is whatever `Connection` names.
const HOP = ["connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"];

/** Who asks. Behind a proxy of one's own (`BEHIND_PROXY=1`), which has appended its visitor's address: that list, and the proxy's own. */
function visitor({ headers, socket }) {
  const { remoteAddress } = socket;
  const earlier = process.env.BEHIND_PROXY === "1" ? headers["x-forwarded-for"] : undefined;
  return remoteAddress && earlier ? `${earlier}, ${remoteAddress}` : remoteAddress;
}

function passable(headers) {
  const named = String(headers.connection ?? "").toLowerCase().split(/\s*,\s*/);
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP.includes(name) && !named.includes(name)));
}

function toAuth(request, response) {
  const address = request.headers["x-forwarded-for"];
  const headers = { ...passable(request.headers), host: AUTH.host, "x-forwarded-for": address };
  const send = AUTH.protocol === "https:" ? overHttps : overHttp;
  const onward = send(AUTH, { method: request.method, path: request.url, headers }, (answer) => {
    response.writeHead(answer.statusCode, passable(answer.headers));
    answer.pipe(response);
    answer.on("error", () => response.destroy());
  });
  onward.on("error", () => {
    if (response.headersSent) return response.destroy();
    response.writeHead(502, { "content-type": "application/json" });
    response.end(JSON.stringify({ code: "BAD_GATEWAY", message: "The auth service cannot be reached" }));
  });
  response.on("close", () => onward.destroy());
  request.pipe(onward);
}

await app.prepare();
const server = createServer((request, response) => {
  // Server components, too, read the address here and nowhere else.
  const address = visitor(request);
  // Gone before it was read.
  if (!address) return request.destroy();
  request.headers["x-forwarded-for"] = address;
  if (/^\/api\/auth\//.test(request.url)) toAuth(request, response);
  else pages(request, response);
});
server.listen(port, process.env.HOST, () => console.log(`Ready on http://localhost:${server.address().port}`));
