// Pages of the test's front end, and Debian's Chromium to open them in.

import { build } from "esbuild";
import { chromium } from "playwright-core";

import { LAUNCH } from "../../../../tests/browser.mjs";
import { listen } from "./services.mjs";

export const launch = () => chromium.launch(LAUNCH);

// Serves the app. What its page shall talk to is set later, since that must know the page's origin first.
export async function pages() {
  const { outputFiles } = await build({
    entryPoints: [new URL("../browser/app.jsx", import.meta.url).pathname],
    bundle: true,
    write: false,
    format: "esm",
    jsx: "automatic",
    define: { "process.env.NODE_ENV": '"development"' },
    logLevel: "silent",
  });
  const script = Buffer.from(outputFiles[0].contents);
  const services = {};
  const { port, stop } = await listen((request, response) => {
    const [type, body] = request.url === "/app.js" ? ["text/javascript", script] : ["text/html", html(services)];
    response.writeHead(200, { "content-type": `${type}; charset=utf-8` }).end(body);
  });
  return { port, url: `http://localhost:${port}`, services, stop };
}

const html = (services) =>
  `<!doctype html><title>Orders</title><link rel="icon" href="data:,"><div id="root"></div>
<script>window.SERVICES = ${JSON.stringify(services)}</script><script type="module" src="/app.js"></script>`;
