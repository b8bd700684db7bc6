"""PyJWT, fetching keys by PyJWKClient from a running `keywheel serve`, verifies Keywheel's tokens."""

import os
import time

import jwt
from keywheel import AUDIENCES, ISSUER, Keywheel
from promise import equal, promise, raises
from tamper import other_payload, other_signature

EXPIRY_DEADLINE = 60

keywheel = Keywheel.from_environment()
keys = jwt.PyJWKClient(os.environ["INTEROP_JWKS_URL"])


def decode(token, audience, algorithm, issuer=ISSUER):
    """As in PyJWT's own manual, with every check on."""
    return jwt.decode_complete(
        token,
        keys.get_signing_key_from_jwt(token),
        algorithms=[algorithm],
        audience=audience,
        issuer=issuer,
        options={"require": ["iss", "sub", "aud", "iat", "exp", "jti"]},
    )


def main():
    for algorithm, audience in AUDIENCES.items():
        verifies(algorithm, audience)
        refuses(algorithm, audience)
    expires()


def verifies(algorithm, audience):
    with promise("python", f"PyJWT verifies our {algorithm} token by PyJWKClient"):
        token = decode(keywheel.token(algorithm, "--scope", "orders:read"), audience, algorithm)
        # RFC 9068 §2.1: the type that tells an access token from an ID token.
        equal(token["header"]["typ"], "at+jwt")
        equal(token["header"]["alg"], algorithm)
        equal(token["payload"]["iss"], ISSUER)
        equal(token["payload"]["sub"], "user-1")
        equal(token["payload"]["aud"], audience)
        equal(token["payload"]["scope"], "orders:read")


def refuses(algorithm, audience):
    token = keywheel.token(algorithm)
    [other] = AUDIENCES.keys() - {algorithm}
    with promise("python", f"PyJWT refuses our {algorithm} token with a changed payload"), raises(
        jwt.InvalidSignatureError
    ):
        decode(other_payload(token), audience, algorithm)
    with promise("python", f"PyJWT refuses our {algorithm} token with a changed signature"), raises(
        jwt.InvalidSignatureError
    ):
        decode(other_signature(token), audience, algorithm)
    with promise("python", f"PyJWT refuses our {algorithm} token at another audience"), raises(
        jwt.InvalidAudienceError
    ):
        decode(token, AUDIENCES[other], algorithm)
    with promise("python", f"PyJWT refuses our {algorithm} token where another issuer is expected"), raises(
        jwt.InvalidIssuerError
    ):
        decode(token, audience, algorithm, issuer="https://other.example.test")
    with promise("python", f"PyJWT refuses our {algorithm} token where only {other} is allowed"), raises(
        jwt.InvalidAlgorithmError
    ):
        decode(token, audience, other)


def expires():
    """PyJWT takes no time but the clock's, so this token really lives for a second."""
    with promise("python", "PyJWT verifies our token until it expires, then refuses it"):
        token = keywheel.token("EdDSA", "--ttl", "1s")
        deadline = time.monotonic() + EXPIRY_DEADLINE
        with raises(jwt.ExpiredSignatureError):
            while time.monotonic() < deadline:
                decode(token, AUDIENCES["EdDSA"], "EdDSA")
                time.sleep(0.02)


if __name__ == "__main__":
    main()
