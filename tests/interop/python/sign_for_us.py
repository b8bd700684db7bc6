"""`keywheel verify` judges tokens that PyJWT signed, by keys that a Python web server publishes."""

import json
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from keywheel import Keywheel
from promise import equal, promise
from tamper import other_payload, other_signature

ISSUER = "https://python.example.test"
AUDIENCE = "python-api"
# The algorithm, PyJWT's writer of its JWK, a new private key.
KINDS = {
    "EdDSA": (OKPAlgorithm, ed25519.Ed25519PrivateKey.generate),
    "RS256": (RSAAlgorithm, lambda: rsa.generate_private_key(65537, 2048)),
    "ES256": (ECAlgorithm, lambda: ec.generate_private_key(ec.SECP256R1())),
    "PS256": (RSAAlgorithm, lambda: rsa.generate_private_key(65537, 2048)),
    "ES384": (ECAlgorithm, lambda: ec.generate_private_key(ec.SECP384R1())),
    "ES512": (ECAlgorithm, lambda: ec.generate_private_key(ec.SECP521R1())),
}

keywheel = Keywheel.from_environment()
private_keys = {algorithm: generate() for algorithm, (_, generate) in KINDS.items()}


def main():
    with served(key_set()) as url:
        for algorithm in KINDS:
            judges(url, algorithm)
        judges_claims(url)
        judges_keys(url)


def kid(algorithm):
    return f"python-{algorithm}"


def key_set():
    """What PyJWT writes, `key_ops` included, and the members that tell keys apart."""
    keys = []
    for algorithm, (writer, _) in KINDS.items():
        jwk = writer.to_jwk(private_keys[algorithm].public_key(), as_dict=True)
        keys.append(jwk | {"kid": kid(algorithm), "alg": algorithm, "use": "sig"})
    return {"keys": keys}


@contextmanager
def served(document):
    """The key set by the web server of Python's standard library, on a port of the system's choice."""
    body = json.dumps(document).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/jwk-set+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with KeyServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/jwks.json"
        finally:
            server.shutdown()


class KeyServer(ThreadingHTTPServer):
    def handle_error(self, *request):
        # A verdict that needs no key is given without waiting for the set, and its connection is gone.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*request)


def sign(algorithm, signing_key=None, key_id=None, **claims):
    """A token by PyJWT; a claim that is given as None is left out."""
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "user-1", "aud": AUDIENCE, "iat": now, "exp": now + 300} | claims
    claims = {name: value for name, value in claims.items() if value is not None}
    key = signing_key or private_keys[algorithm]
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": key_id or kid(algorithm)})


def accepts(url, token):
    verdict = keywheel.verify(token, url, ISSUER, AUDIENCE)
    equal((verdict.exit_code, verdict.ok, verdict.reason), (0, True, None))
    equal(verdict.claims, jwt.decode(token, options={"verify_signature": False}))


def refuses(url, token, reason, audience=AUDIENCE):
    verdict = keywheel.verify(token, url, ISSUER, audience)
    equal((verdict.exit_code, verdict.ok, verdict.reason, verdict.claims), (1, False, reason, None))


def judges(url, algorithm):
    token = sign(algorithm)
    with promise("python", f"we accept PyJWT's {algorithm} token"):
        accepts(url, token)
    with promise("python", f"we refuse PyJWT's {algorithm} token, tampered with: bad_signature"):
        refuses(url, other_payload(token), "bad_signature")
        refuses(url, other_signature(token), "bad_signature")
    with promise("python", f"we refuse PyJWT's {algorithm} token, expired: expired"):
        refuses(url, sign(algorithm, exp=int(time.time()) - 1), "expired")


def judges_claims(url):
    with promise("python", "we accept PyJWT's list of audiences with ours in it"):
        accepts(url, sign("EdDSA", aud=["another-api", AUDIENCE]))
    with promise("python", "we refuse PyJWT's token at another audience: wrong_audience"):
        refuses(url, sign("EdDSA"), "wrong_audience", audience="another-api")
    with promise("python", "we refuse PyJWT's token of another issuer: unknown_issuer"):
        refuses(url, sign("EdDSA", iss="https://other.example.test"), "unknown_issuer")
    with promise("python", "we refuse PyJWT's token before its time: not_yet_valid"):
        refuses(url, sign("EdDSA", nbf=int(time.time()) + 60), "not_yet_valid")
    with promise("python", "we refuse PyJWT's token without exp: missing_claim"):
        refuses(url, sign("EdDSA", exp=None), "missing_claim")


def judges_keys(url):
    with promise("python", "we refuse PyJWT's token of an unpublished key: unknown_key"):
        stranger = ed25519.Ed25519PrivateKey.generate()
        refuses(url, sign("EdDSA", stranger, key_id="nobody"), "unknown_key")
    with promise("python", "we refuse PyJWT's RS256 signature by a key published for PS256: key_mismatch"):
        refuses(url, sign("RS256", private_keys["PS256"], key_id=kid("PS256")), "key_mismatch")
    with promise("python", "we refuse PyJWT's HS256 token: alg_not_allowed"):
        refuses(url, sign("HS256", b"a secret that nobody should share!", key_id=kid("EdDSA")), "alg_not_allowed")
    with promise("python", "we refuse PyJWT's unsigned token: alg_not_allowed"):
        unsigned = jwt.encode({"iss": ISSUER, "aud": AUDIENCE}, None, algorithm="none")
        refuses(url, unsigned, "alg_not_allowed")


if __name__ == "__main__":
    main()
