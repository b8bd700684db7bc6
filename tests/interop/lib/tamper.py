"""Changes to a signed token, each of which a verifier must see."""

import base64
import json


def decode(segment):
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def header(token):
    return json.loads(decode(token.split(".")[0]))


def other_payload(token):
    """The same token about somebody else."""
    first, payload, signature = token.split(".")
    claims = json.loads(decode(payload)) | {"sub": "somebody-else"}
    return f"{first}.{encode(json.dumps(claims).encode())}.{signature}"


def other_signature(token):
    """One bit of the signature is another."""
    first, payload, signature = token.split(".")
    changed = bytearray(decode(signature))
    changed[len(changed) // 2] ^= 1
    return f"{first}.{payload}.{encode(changed)}"
