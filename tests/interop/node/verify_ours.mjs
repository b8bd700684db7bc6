// jose, fetching keys by createRemoteJWKSet from a running `keywheel serve`, verifies Keywheel's tokens.

import assert from "node:assert/strict";
import { calculateJwkThumbprint, createRemoteJWKSet, errors, importJWK, jwtVerify } from "jose";
import { audiences, issuer, jwksUrl, mint } from "./keywheel.mjs";
import { promise } from "./promise.mjs";
import { otherPayload, otherSignature } from "./tamper.mjs";

const keys = createRemoteJWKSet(jwksUrl);

// With every check on; `typ` by RFC 9068 §2.1.
function decode(token, algorithm, options) {
  return jwtVerify(token, keys, {
    algorithms: [algorithm],
    audience: audiences[algorithm],
    issuer,
    typ: "at+jwt",
    requiredClaims: ["iss", "sub", "aud", "iat", "exp", "jti"],
    ...options,
  });
}

for (const [algorithm, audience] of Object.entries(audiences)) {
  await verifies(algorithm, audience);
  await refuses(algorithm);
}
await readsEveryKey();

async function verifies(algorithm, audience) {
  await promise(`jose verifies our ${algorithm} token by createRemoteJWKSet`, async () => {
    const { payload, protectedHeader } = await decode(await mint(algorithm, "--scope", "orders:read"), algorithm);
    assert.equal(protectedHeader.alg, algorithm);
    assert.equal(payload.iss, issuer);
    assert.equal(payload.sub, "user-1");
    assert.equal(payload.aud, audience);
    assert.equal(payload.scope, "orders:read");
  });
}

async function refuses(algorithm) {
  const token = await mint(algorithm);
  const other = Object.keys(audiences).find((name) => name !== algorithm);
  await promise(`jose refuses our ${algorithm} token with a changed payload`, () =>
    assert.rejects(decode(otherPayload(token), algorithm), errors.JWSSignatureVerificationFailed));
  await promise(`jose refuses our ${algorithm} token with a changed signature`, () =>
    assert.rejects(decode(otherSignature(token), algorithm), errors.JWSSignatureVerificationFailed));
  await promise(`jose refuses our ${algorithm} token at another audience`, () =>
    assert.rejects(decode(token, algorithm, { audience: audiences[other] }), claimRefused("aud")));
  await promise(`jose refuses our ${algorithm} token where another issuer is expected`, () =>
    assert.rejects(decode(token, algorithm, { issuer: "https://other.example.test" }), claimRefused("iss")));
  await promise(`jose refuses our ${algorithm} token where only ${other} is allowed`, () =>
    assert.rejects(decode(token, algorithm, { algorithms: [other] }), errors.JOSEAlgNotAllowed));
  await promise(`jose refuses our ${algorithm} token once it has expired`, () => {
    // The default life of a token is a quarter of an hour.
    const currentDate = new Date(Date.now() + 16 * 60 * 1000);
    return assert.rejects(decode(token, algorithm, { currentDate }), errors.JWTExpired);
  });
}

function claimRefused(claim) {
  return (error) => error instanceof errors.JWTClaimValidationFailed && error.claim === claim;
}

async function readsEveryKey() {
  const { keys: published } = await (await fetch(jwksUrl)).json();
  await promise(`jose imports every key of our set, as a public one (${published.length} keys)`, async () => {
    assert.ok(published.length >= 4, "for each algorithm one key that signs and one that is announced");
    for (const jwk of published) assert.equal((await importJWK(jwk)).type, "public");
  });
  await promise("jose computes the kid of each as its RFC 7638 thumbprint", async () => {
    for (const jwk of published) assert.equal(await calculateJwkThumbprint(jwk, "sha256"), jwk.kid);
  });
}
