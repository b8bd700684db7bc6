"""A service that verifies by PyJWKClient, for as long as its standard input gives tokens.

Each line of the input is {token, algorithm, audience} and is answered by {ok}. Meanwhile the earlier tokens are verified
again and again. At the end of the input comes one line with what was counted.
"""

import json
import os
import queue
import re
import sys
import threading
import urllib.request

import jwt

URL = os.environ["INTEROP_JWKS_URL"]
ISSUER = os.environ["INTEROP_ISSUER"]
# How many earlier tokens are verified between two looks at the input, and the longest such look.
BATCH = 10
LOOK_SECONDS = 0.01
END = None


class CountingClient(jwt.PyJWKClient):
    """Counts the requests."""

    fetches = 0

    def fetch_data(self):
        self.fetches += 1
        return super().fetch_data()


def main():
    # PyJWKClient does not read Cache-Control, so its user must. Its cool-down is left at 30 s: an unknown kid, met within
    # 30 s after any fetch, is refused without another.
    client = CountingClient(URL, lifespan=served_max_age())
    negligent = jwt.PyJWKClient(URL, lifespan=3600, cooldown_duration=3600)
    negligent.get_jwk_set()

    service = Service(client)
    arriving = queue.SimpleQueue()
    threading.Thread(target=read_input, args=[arriving], daemon=True).start()
    seen = []
    again = 0
    while True:
        try:
            message = arriving.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            message = {}
        if message is END:
            break
        if message:
            say({"ok": service.verify(message)})
            seen.append(message)
        for _ in range(min(BATCH, len(seen))):
            service.verify(seen[again % len(seen)])
            again += 1
    for message in seen:
        service.verify(message)
    newest = {message["algorithm"]: message for message in seen}.values()
    say(
        {
            "client": "PyJWKClient",
            "tokens": len(seen),
            "verified": service.verified,
            "refused": service.refused,
            "first_refusal": service.first_refusal,
            "fetches": client.fetches,
            "negligent_refused": all(is_unknown_to(negligent, message) for message in newest),
        }
    )


class Service:
    """Verifies and counts."""

    def __init__(self, client):
        self.client = client
        self.verified = 0
        self.refused = 0
        self.first_refusal = None

    def verify(self, message):
        try:
            decode(self.client, message)
        except jwt.PyJWTError as error:
            self.refused += 1
            self.first_refusal = self.first_refusal or f"{type(error).__name__}: {error}"
            return False
        self.verified += 1
        return True


def decode(client, message):
    key = client.get_signing_key_from_jwt(message["token"])
    jwt.decode(
        message["token"], key, algorithms=[message["algorithm"]], audience=message["audience"], issuer=ISSUER
    )


def is_unknown_to(client, message):
    try:
        decode(client, message)
    except jwt.PyJWKClientError:
        return True
    return False


def served_max_age():
    with urllib.request.urlopen(URL, timeout=60) as response:
        return int(re.search(r"max-age=(\d+)", response.headers["Cache-Control"])[1])


def read_input(arriving):
    for line in sys.stdin:
        arriving.put(json.loads(line))
    arriving.put(END)


def say(answer):
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
