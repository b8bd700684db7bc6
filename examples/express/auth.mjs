// Whoever calls, verified by the published keys: no secret is shared with the auth service.

import { createRemoteJWKSet, errors, jwtVerify } from "jose";

const issuer = process.env.AUTH_ISSUER ?? "http://localhost:3001";
const audience = process.env.API_AUDIENCE ?? "api";
// Keeps the key set, and asks again for a key that it does not know, at most once in 30 s.
const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`));
// Algorithms are named here, and never taken from a token.
const checks = { issuer, audience, algorithms: ["EdDSA", "RS256"], requiredClaims: ["sub", "exp", "iat"], clockTolerance: 5 };

/** Puts the token's claims at `request.user`, or answers 401. */
export async function authenticated(request, response, next) {
  const [, token] = /^Bearer +(\S+)$/i.exec(request.get("authorization") ?? "") ?? [];
  if (!token) return refuse(response, "Bearer", "The access token is missing");
  try {
    request.user = (await jwtVerify(token, keys, checks)).payload;
  } catch (error) {
    if (!isAboutTheToken(error)) return response.status(503).set("Retry-After", "1").json({ error: "temporarily_unavailable" });
    const words = error instanceof errors.JWTExpired ? "The access token expired" : "The access token is invalid";
    return refuse(response, `Bearer error="invalid_token", error_description="${words}"`, words);
  }
  next();
}

/** Lets through whose token has this scope. */
export const scope = (wanted) => (request, response, next) =>
  String(request.user.scope ?? "").split(" ").includes(wanted)
    ? next()
    : response.status(403).set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="${wanted}"`).json({ error: "insufficient_scope" });

function refuse(response, challenge, words) {
  response.status(401).set("WWW-Authenticate", challenge).json({ error: "invalid_token", error_description: words });
}

// The rest is a key set that cannot be had, which is nobody's fault who calls.
const isAboutTheToken = (error) =>
  [errors.JWTExpired, errors.JWTClaimValidationFailed, errors.JWTInvalid, errors.JWSInvalid, errors.JWSSignatureVerificationFailed,
    errors.JOSEAlgNotAllowed, errors.JOSENotSupported, errors.JWKSNoMatchingKey, errors.JWKSMultipleMatchingKeys].some((kind) => error instanceof kind);
