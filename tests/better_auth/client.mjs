// Better Auth's own client, as a front end uses it, against `keywheel serve`. Nothing in it knows that this is not its own server.

import assert from "node:assert/strict";
import { request } from "node:http";

import { createAuthClient } from "better-auth/client";
import { jwtClient } from "better-auth/client/plugins";

import { browser, finish, promise, serve } from "./lib.mjs";

const ADA = { name: "Ada", email: "ada@example.com", password: "correct horse", softwareBackground: "C" };
const NEW_PASSWORD = "battery staple";

const settings = `
[accounts]
rate_limit = { window = "10s", attempts = 100 }
[accounts.fields.softwareBackground]
type = "string"
default = "none"
`;
const keywheel = await serve(settings);

// Beside the client, not on it: every name on it is a path of the API.
const browsers = new Map();

function client(from = browser(keywheel.url)) {
  const auth = createAuthClient({
    baseURL: keywheel.url,
    plugins: [jwtClient()],
    fetchOptions: { customFetchImpl: from.fetch },
  });
  browsers.set(auth, from);
  return auth;
}

const claims = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
const ada = client();
const phone = client();
let userId;

await promise("signUp.email gives the user and a session", async () => {
  const { data, error } = await ada.signUp.email(ADA);
  assert.equal(error, null);
  assert.equal(data.user.email, ADA.email);
  assert.equal(data.user.softwareBackground, "C");
  assert.equal(data.user.emailVerified, false);
  // The client makes dates of what looks like one.
  assert.ok(data.user.createdAt instanceof Date);
  assert.ok(data.token.length >= 32);
  userId = data.user.id;
  assert.ok(browsers.get(ada).jar.has("better-auth.session_token"));
});

await promise("a duplicate is told by its code", async () => {
  const { data, error } = await client().signUp.email({ ...ADA, password: "another password" });
  assert.equal(data, null);
  assert.equal(error.status, 422);
  assert.equal(error.code, "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL");
});

await promise("a wrong password, an unknown address and a short password are told by their codes", async () => {
  const wrong = await client().signIn.email({ email: ADA.email, password: "wrong password" });
  assert.deepEqual([wrong.error.status, wrong.error.code], [401, "INVALID_EMAIL_OR_PASSWORD"]);
  const unknown = await client().signIn.email({ email: "nobody@example.com", password: ADA.password });
  assert.deepEqual(unknown.error, wrong.error);
  const short = await client().signUp.email({ ...ADA, email: "b@example.com", password: "short" });
  assert.deepEqual([short.error.status, short.error.code], [400, "PASSWORD_TOO_SHORT"]);
});

await promise("signIn.email on another device", async () => {
  const { data, error } = await phone.signIn.email({ email: ADA.email, password: ADA.password, rememberMe: false });
  assert.equal(error, null);
  assert.equal(data.redirect, false);
  assert.equal(data.user.id, userId);
});

await promise("getSession gives the session, the user and a JWT in the header", async () => {
  let jwt;
  const { data } = await ada.getSession({ fetchOptions: { onSuccess: (ctx) => { jwt = ctx.response.headers.get("set-auth-jwt"); } } });
  assert.equal(data.user.id, userId);
  assert.equal(data.session.userId, userId);
  assert.ok(data.session.expiresAt instanceof Date);
  assert.equal(claims(jwt).sub, userId);
  const nobody = await client().getSession();
  assert.deepEqual([nobody.data, nobody.error], [null, null]);
});

await promise("token gives a JWT whose key the client finds in jwks", async () => {
  const { data, error } = await ada.token();
  assert.equal(error, null);
  const { iss, sub, aud, exp, iat, sid } = claims(data.token);
  assert.deepEqual([iss, sub, aud, exp - iat], [keywheel.url, userId, "api", 900]);
  assert.equal(typeof sid, "string");
  const { kid } = JSON.parse(Buffer.from(data.token.split(".")[0], "base64url"));
  const jwks = await ada.jwks();
  assert.ok(jwks.data.keys.some((key) => key.kid === kid));
  const nobody = await client().token();
  assert.deepEqual([nobody.error.status, nobody.error.code], [401, "UNAUTHORIZED"]);
});

await promise("listSessions shows both devices and marks one's own", async () => {
  const { data } = await ada.listSessions();
  assert.equal(data.length, 2);
  const { data: own } = await ada.getSession();
  assert.equal(data.filter((session) => session.token === own.session.token).length, 1);
});

await promise("revokeSession ends the other device by what listSessions gave", async () => {
  const { data: own } = await ada.getSession();
  const { data: sessions } = await ada.listSessions();
  const other = sessions.find((session) => session.token !== own.session.token);
  const { data } = await ada.revokeSession({ token: other.token });
  assert.deepEqual(data, { status: true });
  assert.equal((await phone.getSession()).data, null);
  assert.equal((await ada.getSession()).data.user.id, userId);
});

await promise("revokeOtherSessions leaves one's own", async () => {
  await phone.signIn.email({ email: ADA.email, password: ADA.password });
  const { data } = await ada.revokeOtherSessions();
  assert.deepEqual(data, { status: true });
  assert.equal((await phone.getSession()).data, null);
  assert.equal((await ada.getSession()).data.user.id, userId);
});

await promise("changePassword goes on here and ends elsewhere", async () => {
  await phone.signIn.email({ email: ADA.email, password: ADA.password });
  const wrong = await ada.changePassword({ currentPassword: "wrong password", newPassword: NEW_PASSWORD });
  assert.deepEqual([wrong.error.status, wrong.error.code], [400, "INVALID_PASSWORD"]);
  const { data, error } = await ada.changePassword({
    currentPassword: ADA.password,
    newPassword: NEW_PASSWORD,
    revokeOtherSessions: true,
  });
  assert.equal(error, null);
  assert.equal(data.user.id, userId);
  assert.equal((await ada.getSession()).data.user.id, userId);
  assert.equal((await phone.getSession()).data, null);
  const old = await client().signIn.email({ email: ADA.email, password: ADA.password });
  assert.equal(old.error.status, 401);
});

// A client with a bearer and without a cookie, as an app has it.
const bare = (url, token) =>
  createAuthClient({ baseURL: url, plugins: [jwtClient()], fetchOptions: { auth: { type: "Bearer", token } } });

await promise("a page is given no session token, an app is", async () => {
  await phone.signIn.email({ email: ADA.email, password: NEW_PASSWORD });
  assert.equal(browsers.get(phone).seen.at(-1).headers.get("set-auth-token"), null);
  // Node's own `fetch` says `Sec-Fetch-Mode`, as a page's does; an app's client says nothing of the kind.
  const signed = await new Promise((resolve, reject) => {
    const options = { method: "POST", headers: { "content-type": "application/json" } };
    const asked = request(`${keywheel.url}/api/auth/sign-in/email`, options, (answer) => {
      answer.resume();
      resolve(answer.headers["set-auth-token"]);
    });
    asked.on("error", reject);
    asked.end(JSON.stringify({ email: ADA.email, password: NEW_PASSWORD }));
  });
  assert.equal((await bare(keywheel.url, signed).getSession()).data.user.id, userId);
  assert.ok((await bare(keywheel.url, signed).token()).data.token);
  assert.equal((await bare(keywheel.url, signed.split(".")[0]).getSession()).data, null);
});

await promise("revokeSessions ends all", async () => {
  const { data } = await phone.revokeSessions();
  assert.deepEqual(data, { status: true });
  for (const device of [ada, phone]) assert.equal((await device.getSession()).data, null);
});

await promise("signOut ends the session and takes the cookie", async () => {
  await ada.signIn.email({ email: ADA.email, password: NEW_PASSWORD });
  const { data: session } = await ada.getSession();
  const { data } = await ada.signOut();
  assert.deepEqual(data, { success: true });
  // What makes the device known for its people proves no session, and stays.
  assert.deepEqual([...browsers.get(ada).jar.keys()], ["better-auth.known_device"]);
  assert.equal((await bare(keywheel.url, session.session.token).getSession()).data, null);
});

await promise("a page of another origin is refused by its code", async () => {
  const foreign = client(browser("http://evil.test"));
  const { error } = await foreign.signIn.email({ email: ADA.email, password: NEW_PASSWORD });
  assert.deepEqual([error.status, error.code], [403, "INVALID_ORIGIN"]);
});

await keywheel.stop();

// The defaults: three attempts in ten seconds.
const strict = await serve();
await promise("the rate limit is told with its time", async () => {
  const from = browser(strict.url);
  const auth = createAuthClient({ baseURL: strict.url, fetchOptions: { customFetchImpl: from.fetch } });
  const attempt = () => auth.signIn.email({ email: ADA.email, password: "wrong password" });
  for (let n = 0; n < 3; n += 1) assert.equal((await attempt()).error.status, 401);
  const { error } = await attempt();
  assert.equal(error.status, 429);
  const { headers } = from.seen.at(-1);
  assert.ok(Number(headers.get("x-retry-after")) > 0);
  assert.equal(headers.get("retry-after"), headers.get("x-retry-after"));
});
await strict.stop();

// Better Auth's bearer plugin, for a front end on another site, whose cookies browsers would not send.
const lenient = await serve("[sessions]\nbearer = true\n");
await promise("with sessions.bearer a page keeps its session token", async () => {
  const from = browser(lenient.url);
  const auth = createAuthClient({ baseURL: lenient.url, fetchOptions: { customFetchImpl: from.fetch } });
  const { data } = await auth.signUp.email({ ...ADA, softwareBackground: undefined });
  for (const token of [data.token, from.seen.at(-1).headers.get("set-auth-token")]) {
    assert.equal((await bare(lenient.url, token).getSession()).data.user.id, data.user.id);
  }
});
await lenient.stop();

finish("client");
