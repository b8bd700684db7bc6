// The same front end against both servers: Keywheel, and Better Auth's own.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { createRemoteJWKSet, jwtVerify } from "jose";

import { createAuthClient } from "../../dist/index.js";
import { betterAuth, cookieFetch, keywheel } from "../support/services.mjs";

const ADA = { name: "Ada", email: "ada@example.com", password: "correct horse" };
const SERVERS = {
  keywheel: { start: () => keywheel({ settings: '[[audience]]\nname = "orders"' }), jwks: "/.well-known/jwks.json" },
  "Better Auth": { start: betterAuth, jwks: "/api/auth/jwks" },
};

for (const [name, { start, jwks }] of Object.entries(SERVERS)) {
  describe(name, () => {
    let server, ada, fetch;
    const reasons = [];
    const made = [];
    const client = (options) => {
      const auth = createAuthClient({ baseURL: server.url, fetch: cookieFetch(server.url), ...options });
      made.push(auth);
      return auth;
    };
    before(async () => {
      server = await start();
      fetch = cookieFetch(server.url);
      ada = client({ fetch, onSignedOut: (reason) => reasons.push(reason) });
    });
    after(async () => {
      for (const auth of made) auth.close();
      await server.stop();
    });

    test("nobody is signed in: null, and no token", async () => {
      assert.equal(await ada.getSession(), null);
      await assert.rejects(ada.getToken(), { code: "UNAUTHORIZED", status: 401 });
    });

    test("signUp gives the session of the new user", async () => {
      const { session, user } = await ada.signUp(ADA);
      assert.deepEqual([user.email, user.name, session.userId], [ADA.email, ADA.name, user.id]);
      assert.deepEqual(await ada.getSession(), { session, user });
    });

    test("getToken gives a token that the published keys verify, and keeps it", async () => {
      const token = await ada.getToken();
      const keys = createRemoteJWKSet(new URL(server.url + jwks));
      const { payload } = await jwtVerify(token, keys, { issuer: server.url });
      assert.equal(payload.sub, (await ada.getSession()).user.id);
      assert.equal(await ada.getToken(), token);
    });

    test("what is wrong is told by the same codes", async () => {
      const other = client();
      await assert.rejects(other.signUp({ ...ADA, password: "another password" }), { code: "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL", status: 422 });
      await assert.rejects(other.signUp({ ...ADA, email: "b@example.com", password: "short" }), { code: "PASSWORD_TOO_SHORT" });
      await assert.rejects(other.signIn({ ...ADA, password: "wrong password" }), { code: "INVALID_EMAIL_OR_PASSWORD", status: 401 });
      const foreign = client({ fetch: cookieFetch("https://evil.test") });
      await assert.rejects(foreign.signIn(ADA), { status: 403 });
    });

    test("signOut ends the session and its tokens here; signIn begins another", async () => {
      // Two tokens of one second may be equal, so the requests are counted.
      const asked = () => fetch.asked.filter((path) => path.endsWith("/token")).length;
      await ada.getToken();
      const before = asked();
      await ada.signOut();
      assert.deepEqual(reasons, ["sign-out"]);
      assert.equal(await ada.getSession(), null);
      await assert.rejects(ada.getToken(), { code: "UNAUTHORIZED" });
      assert.equal((await ada.signIn({ email: ADA.email, password: ADA.password, rememberMe: false })).user.email, ADA.email);
      await ada.getToken();
      assert.equal(asked(), before + 2);
    });

    if (name === "keywheel") {
      test("a token is for the audience that was asked for, and for none that is unknown", async () => {
        const claims = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
        assert.equal(claims(await ada.getToken({ audience: "orders" })).aud, "orders");
        await assert.rejects(ada.getToken({ audience: "unknown" }), { code: "UNKNOWN_AUDIENCE", status: 400 });
      });

      test("the rate limit is told with its time", async () => {
        const strict = await keywheel({ attempts: 1 });
        try {
          const auth = client({ baseURL: strict.url, fetch: cookieFetch(strict.url) });
          await assert.rejects(auth.signIn(ADA), { code: "INVALID_EMAIL_OR_PASSWORD" });
          const error = await auth.signIn(ADA).catch((error) => error);
          assert.deepEqual([error.code, error.status], ["RATE_LIMITED", 429]);
          assert.ok(error.retryAfter >= 1 && error.retryAfter <= 60, String(error.retryAfter));
        } finally {
          await strict.stop();
        }
      });
    }
  });
}
