// The whole chain in a real browser: page, `keywheel serve`, and a backend that knows only the published keys.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { launch, pages } from "../support/browser.mjs";
import { backend, freePort, keywheel, listen } from "../support/services.mjs";

const WITHIN_MS = 60_000;
const ADA = "ada@example.com";
const BOB = "bob@example.com";
const PASSWORD = "correct horse";
// Short, so that a token's end can be waited for. Half of it is left when it is renewed.
const TTL_SECONDS = 4;

let site, service, api, browser, context, page;

before(async () => {
  site = await pages();
  const foreignSite = `http://127.0.0.1:${site.port}`;
  const settings = `[[audience]]\nname = "orders"\nttl = "${TTL_SECONDS}s"\n[[audience]]\nname = "long-lived"`;
  service = await keywheel({ origins: [site.url, foreignSite], settings });
  api = await backend({ issuer: service.url, audience: "orders", origins: [site.url] });
  site.services.auth = service.url;
  site.services.api = api.url;
  browser = await launch();
  const first = await open(await browser.newContext());
  await enter(first, "sign up");
  await shows(first, ADA);
  await posts(first, "sign-up", { name: "Bob", email: BOB, password: PASSWORD });
  await first.context().close();
});

after(async () => {
  await browser?.close();
  for (const running of [api, service, site]) await running?.stop();
});

beforeEach(async () => {
  Object.assign(api.state, { refuse: 0, answers: [], tokens: [], bodies: [] });
  site.services.auth = service.url;
  context = await browser.newContext();
  page = await open(context);
});

afterEach(() => context.close());

async function open(context, url = site.url) {
  const page = await context.newPage();
  page.setDefaultTimeout(WITHIN_MS);
  await page.goto(url);
  return page;
}

const shows = (page, heading) => page.locator("h1", { hasText: new RegExp(`^${heading}$`) }).waitFor();
const press = (page, name) => page.getByRole("button", { name, exact: true }).click();
const reasons = (page) => page.evaluate(() => window.signedOut);

async function enter(page, how = "sign in") {
  await page.locator("#email").fill(ADA);
  await page.locator("#password").fill(PASSWORD);
  await press(page, how);
}

async function signedIn(page) {
  await enter(page);
  await shows(page, ADA);
}

// Calls the backend from the page; gives what the page then shows.
async function call(page) {
  const answer = page.locator("#answer");
  const earlier = Number(await answer.getAttribute("data-done"));
  await press(page, "call");
  await page.locator(`#answer[data-done="${earlier + 1}"]`).waitFor();
  return answer.textContent();
}

// As another client does it, of which ours knows nothing; gives the status.
const posts = (page, path, body) =>
  page.evaluate(
    async ([url, body]) => {
      const headers = { "content-type": "application/json" };
      return (await fetch(url, { method: "POST", credentials: "include", headers, body })).status;
    },
    [`${service.url}/api/auth/${path}/email`, JSON.stringify(body)],
  );

// Comes back once the backend would refuse this token.
async function expired(token) {
  const deadline = Date.now() + WITHIN_MS;
  while (Date.now() < deadline) {
    try {
      await api.verify(token);
    } catch (error) {
      assert.equal(error.code, "ERR_JWT_EXPIRED");
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail("the token does not expire");
}

test("signed in, a call carries a token, and no storage of the page holds any", async () => {
  await signedIn(page);
  assert.equal(await call(page), `200 ${ADA}`);
  const stored = await page.evaluate(async () =>
    JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, await indexedDB.databases(), await caches.keys()]),
  );
  assert.equal(stored, '[{},{},"",[],[]]');
});

test("a token that expires is renewed before the backend could refuse it", async () => {
  await signedIn(page);
  assert.equal(await call(page), `200 ${ADA}`);
  await expired(api.state.tokens[0]);
  assert.equal(await call(page), `200 ${ADA}`);
  assert.deepEqual(api.state.answers, [200, 200]);
  assert.notEqual(api.state.tokens[0], api.state.tokens[1]);
  assert.deepEqual(await reasons(page), []);
});

for (const [what, hours] of [["two hours slow", -2], ["two hours fast", 2]]) {
  test(`the same on a computer whose clock is ${what}`, async () => {
    const other = await context.newPage();
    other.setDefaultTimeout(WITHIN_MS);
    await other.clock.install({ time: Date.now() + hours * 3_600_000 });
    await other.goto(site.url);
    await signedIn(other);
    assert.equal(await call(other), `200 ${ADA}`);
    // Kept for no longer than it is good…
    await expired(api.state.tokens[0]);
    assert.equal(await call(other), `200 ${ADA}`);
    assert.deepEqual(api.state.answers, [200, 200]);
    // … and for as long as it is.
    const same = () => other.evaluate(() => window.client.getToken({ audience: "long-lived" }));
    assert.equal(await same(), await same());
  });
}

test("a token that the backend refuses is replaced without a word", async () => {
  await signedIn(page);
  assert.equal(await call(page), `200 ${ADA}`);
  api.state.refuse = 1;
  assert.equal(await call(page), `200 ${ADA}`);
  assert.deepEqual(api.state.answers, [200, 401, 200]);
  assert.equal(new Set(api.state.tokens).size, 2);
});

test("a backend that refuses a fresh token too signs the page out, once", async () => {
  await signedIn(page);
  api.state.refuse = 2;
  await press(page, "call");
  await shows(page, "nobody");
  assert.deepEqual(api.state.answers, [401, 401]);
  assert.deepEqual(await reasons(page), ["refused"]);
});

test("a 403 is the page's to show: no retry, still signed in", async () => {
  await signedIn(page);
  await press(page, "admin");
  assert.equal(await call(page), "HTTP 403");
  assert.deepEqual(api.state.answers, [403]);
  await shows(page, ADA);
});

test("signed out in one tab is signed out in the other, whose token is gone", async () => {
  await signedIn(page);
  assert.equal(await call(page), `200 ${ADA}`);
  const other = await open(context);
  await shows(other, ADA);
  await press(other, "sign out");
  await shows(other, "nobody");
  await shows(page, "nobody");
  assert.deepEqual([await reasons(other), await reasons(page)], [["sign-out"], ["other-tab"]]);
  const code = await page.evaluate(() => window.client.getToken().catch((error) => error.code));
  assert.equal(code, "UNAUTHORIZED");
});

test("signed in in one tab is signed in in the other", async () => {
  const other = await open(context);
  await shows(other, "nobody");
  await signedIn(page);
  await shows(other, ADA);
  assert.equal(await call(other), `200 ${ADA}`);
});

for (const [how, notices] of [
  ["comes back to", (page) => page.evaluate(() => window.dispatchEvent(new Event("focus")))],
  ["asks in", (page) => page.evaluate(() => window.client.getSession())],
])
  test(`another client signs in as Bob: whoever ${how} Ada's page sees Bob, and no call is Ada's any more`, async () => {
    await signedIn(page);
    assert.equal(await call(page), `200 ${ADA}`);
    const third = await open(context);
    await shows(third, ADA);
    const other = await open(context);
    assert.equal(await posts(other, "sign-in", { email: BOB, password: PASSWORD }), 200);
    await notices(page);
    await shows(page, BOB);
    assert.equal(await call(page), `200 ${BOB}`);
    // Of what one tab has noticed the others hear.
    await shows(third, BOB);
    assert.equal(await call(third), `200 ${BOB}`);
    assert.deepEqual(await reasons(page), []);
  });

test("a page that a server made for Ada, in a browser where Bob is signed in by now, shows Bob and calls as Bob", async () => {
  await signedIn(page);
  site.services.initialSession = await page.evaluate(() => window.client.getSession());
  try {
    await posts(page, "sign-in", { email: BOB, password: PASSWORD });
    const made = await open(context);
    await shows(made, BOB);
    assert.equal(await call(made), `200 ${BOB}`);
  } finally {
    delete site.services.initialSession;
  }
});

test("what is asked again and is the same renders nothing anew", async () => {
  await signedIn(page);
  const same = await page.evaluate(async () => {
    let changes = 0;
    const watcher = new MutationObserver((found) => (changes += found.length));
    watcher.observe(document.getElementById("root"), { subtree: true, childList: true, characterData: true, attributes: true });
    await window.client.getSession();
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    return changes;
  });
  assert.equal(same, 0);
});

test("a page whose <base> is somebody else's sends them no token and no password", async () => {
  const asked = [];
  const other = await listen((request, response) => {
    asked.push(request.url);
    response.writeHead(204, { "access-control-allow-origin": "*", "access-control-allow-headers": "*" }).end();
  });
  try {
    await signedIn(page);
    const outcome = await page.evaluate(
      async ([url, auth]) => {
        document.head.append(Object.assign(document.createElement("base"), { href: url }));
        const named = window.createAuthClient({ baseURL: auth, apiOrigins: [location.origin] });
        const byItself = window.createAuthClient({ baseURL: auth });
        const own = window.createAuthClient();
        const code = (error) => error.code;
        return [
          await named.authFetch("/orders").catch(code),
          await byItself.authFetch("orders").catch(code),
          // The page's own server is no auth service here.
          await own.signIn({ email: "ada@example.com", password: "correct horse" }).catch(code),
          (await named.authFetch(`${location.origin}/orders`)).status,
        ];
      },
      [`http://localhost:${other.port}/`, service.url],
    );
    assert.deepEqual(outcome, ["FOREIGN_ORIGIN", "FOREIGN_ORIGIN", "INVALID_RESPONSE", 200]);
    assert.deepEqual(asked, []);
  } finally {
    await other.stop();
  }
});

test("a Request with a body is sent once more after a 401, whole", async () => {
  await signedIn(page);
  api.state.refuse = 1;
  const status = await page.evaluate(async (api) => {
    const request = new Request(`${api}/orders`, { method: "POST", body: "rotate the keys" });
    return (await window.client.authFetch(request)).status;
  }, api.url);
  assert.equal(status, 200);
  assert.deepEqual([api.state.answers, api.state.bodies], [[401, 200], ["rotate the keys", "rotate the keys"]]);
});

test("a session that is over shows at the next call: nobody is signed in", async () => {
  await signedIn(page);
  assert.equal(await call(page), `200 ${ADA}`);
  await context.clearCookies();
  await expired(api.state.tokens[0]);
  await press(page, "call");
  await shows(page, "nobody");
  assert.deepEqual(await reasons(page), ["no-session"]);
});

test("a wrong password is told by its code", async () => {
  await page.locator("#email").fill(ADA);
  await page.locator("#password").fill("wrong password");
  await press(page, "sign in");
  await page.getByRole("alert").getByText("INVALID_EMAIL_OR_PASSWORD: ").waitFor();
});

test("a page of another site, whose cookies the browser holds back, is told COOKIES_BLOCKED", async () => {
  const elsewhere = await open(context, `http://127.0.0.1:${site.port}`);
  await shows(elsewhere, "nobody");
  await enter(elsewhere);
  await elsewhere.getByRole("alert").getByText("COOKIES_BLOCKED: ").waitFor();
});

test("a page that the service does not trust is told CORS_BLOCKED, and that nothing is there NETWORK_ERROR", async () => {
  const strict = await keywheel();
  try {
    site.services.auth = strict.url;
    const refused = await open(context);
    await shows(refused, "CORS_BLOCKED");
    await enter(refused);
    await refused.getByRole("alert").getByText(`CORS_BLOCKED: ${strict.url} can be reached`).waitFor();
  } finally {
    await strict.stop();
  }
  site.services.auth = `http://localhost:${await freePort()}`;
  await shows(await open(context), "NETWORK_ERROR");
});

test("a backend that does not admit the page is told CORS_BLOCKED", async () => {
  const closed = await backend({ issuer: service.url, audience: "orders", origins: [] });
  try {
    site.services.api = closed.url;
    const other = await open(context);
    await signedIn(other);
    assert.equal(await call(other), "CORS_BLOCKED");
  } finally {
    site.services.api = api.url;
    await closed.stop();
  }
});
