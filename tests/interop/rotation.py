"""Ten rotations under the eyes of two running clients, neither of which may refuse a token.

The clients keep the key set for as long as its `Cache-Control` allows and fetch nothing on behalf of an unknown kid, so
what carries them over a rotation is only that the next key was announced ahead. A third and a fourth client keep the set
for too long on purpose: their refusals show that a broken rotation would be seen here.
"""

import json
import queue
import subprocess
import threading
import time

from keywheel import AUDIENCES, MintFailed
from tamper import header

ROTATIONS = 10
MIN_TOKENS = 100
# An announced key may sign after about two seconds; the rest is for slow machines.
ROTATION_DEADLINE = 90
ANSWER_DEADLINE = 60
MINT_TRIES = 3
TOO_EARLY = ("so recently that a verifier may still hold a set without it", "has not been published yet")


def check(keywheel, commands, environment):
    """Gives one line a promise, and what was counted."""
    clients = {who: Client(command, environment) for who, command in commands.items()}
    try:
        run = Run(keywheel, list(clients.values()))
        # The keys that sign are seen at work before they are replaced.
        run.verify_new_tokens()
        for _ in range(ROTATIONS):
            run.rotate()
            run.verify_new_tokens()
        summaries = {who: client.close() for who, client in clients.items()}
    except Exception as error:
        yield f"FAILED rotation: {type(error).__name__}: {' '.join(str(error).split())}"
        return
    finally:
        for client in clients.values():
            client.kill()

    yield (
        f"rotation: {ROTATIONS} rotations, {run.too_early} more refused as too early; "
        f"{run.tokens} tokens by {len(run.kids)} keys"
    )
    # Every key that ever signed has signed a token here: one for each algorithm, and one more each rotation.
    expected = len(AUDIENCES) * (ROTATIONS + 1)
    yield line(len(run.kids) == expected, "rotation", f"each rotation changed the signing keys ({expected} in all)")
    yield line(run.too_early > 0, "rotation", "a key that was announced just now is not let sign")
    yield line(
        run.mints_failed == 0,
        "rotation",
        f"a token can be minted at every moment of it ({run.mints_failed} of {run.tokens} could not)",
        run.mint_failure,
    )
    for who, summary in summaries.items():
        verified, refused = summary["verified"], summary["refused"]
        # Each token is verified at least twice: when it is new, and at the end when its key has long been retired.
        good = refused == 0 and summary["tokens"] == run.tokens > MIN_TOKENS and verified >= 2 * run.tokens
        yield line(
            good,
            who,
            f"{summary['client']} lives through {ROTATIONS} rotations: {summary['tokens']} tokens, "
            f"verified {verified} times, refused {refused} times, key set fetched {summary['fetches']} times",
            summary["first_refusal"],
        )
        yield line(
            summary["negligent_refused"],
            who,
            f"control: {summary['client']} that keeps the set past its max-age refuses the newest keys",
        )


def line(good, who, text, why=None):
    return f"ok {who}: {text}" if good else f"FAILED {who}: {text}" + (f": {why}" if why else "")


class Run:
    """Mints and has verified without a pause, whatever `keywheel keys rotate` is doing at the time."""

    def __init__(self, keywheel, clients):
        self.keywheel = keywheel
        self.clients = clients
        self.tokens = 0
        self.mints_failed = 0
        self.mint_failure = None
        self.too_early = 0
        self.kids = set()

    def rotate(self):
        """Asks for a rotation until it is granted."""
        deadline = time.monotonic() + ROTATION_DEADLINE
        while not self._try_to_rotate():
            if time.monotonic() > deadline:
                raise TimeoutError(f"no rotation was granted within {ROTATION_DEADLINE} s")

    def _try_to_rotate(self):
        process = self.keywheel.start_rotation()
        try:
            while True:
                self.verify_new_tokens()
                if process.poll() is not None:
                    break
            said = process.stderr.read()
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
        if process.returncode == 0:
            return True
        if process.returncode == 2 and any(words in said for words in TOO_EARLY):
            self.too_early += 1
            return False
        raise RuntimeError(f"keywheel keys rotate ended with {process.returncode}: {said}")

    def verify_new_tokens(self):
        """One token of each algorithm, at once before every client."""
        for algorithm, audience in AUDIENCES.items():
            token = self._mint(algorithm)
            self.tokens += 1
            self.kids.add(header(token)["kid"])
            for client in self.clients:
                client.send({"token": token, "algorithm": algorithm, "audience": audience})
            for client in self.clients:
                client.answer()

    def _mint(self, algorithm):
        """A mint that fails is noted and breaks a promise of its own; the verifiers get their token all the same."""
        for _ in range(MINT_TRIES - 1):
            try:
                return self.keywheel.token(algorithm)
            except MintFailed as error:
                self.mints_failed += 1
                self.mint_failure = error
        return self.keywheel.token(algorithm)


class Client:
    """A verifying process: reads a token a line, answers each, goes on verifying the old ones, sums up at the end."""

    def __init__(self, command, environment):
        self._name = command[-1].name
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines = queue.Queue()
        # By a thread: a pipe cannot be read with a deadline.
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, message):
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def answer(self):
        try:
            text = self._lines.get(timeout=ANSWER_DEADLINE)
        except queue.Empty:
            raise TimeoutError(f"{self._name} did not answer within {ANSWER_DEADLINE} s") from None
        if text is None:
            raise RuntimeError(f"{self._name} ended with {self._process.wait()}")
        return json.loads(text)

    def close(self):
        """No more tokens; what it counted."""
        self._process.stdin.close()
        return self.answer()

    def kill(self):
        self._process.kill()
        self._process.wait()

    def _read(self):
        for text in self._process.stdout:
            self._lines.put(text)
        self._lines.put(None)
