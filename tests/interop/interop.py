"""Runs every check against one binary and counts the promises that were kept."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import rotation
from keywheel import Keywheel, StartFailed

HERE = Path(__file__).parent
PYTHON = [sys.executable]
NODE = ["node"]
CHECKS = [
    [*PYTHON, HERE / "python/verify_ours.py"],
    [*PYTHON, HERE / "python/sign_for_us.py"],
    [*NODE, HERE / "node/verify_ours.mjs"],
    [*NODE, HERE / "node/sign_for_us.mjs"],
]
FOLLOWERS = {
    "python": [*PYTHON, HERE / "python/follow.py"],
    "node": [*NODE, HERE / "node/follow.mjs"],
}
CHECK_DEADLINE = 180


def main(binary):
    # Ends by an exception, so that whatever was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="keywheel-interop-") as folder:
        keywheel = Keywheel.configure(binary, folder)
        try:
            with keywheel.serving() as jwks_url:
                run_checks(tally, keywheel, jwks_url)
        except StartFailed as error:
            tally.add(f"FAILED keywheel serve: {error}")
    return tally.close()


def run_checks(tally, keywheel, jwks_url):
    environment = keywheel.environment(jwks_url)
    for check in CHECKS:
        run_check(tally, check, environment)
    for line in rotation.check(keywheel, FOLLOWERS, environment):
        tally.add(line)


def run_check(tally, command, environment):
    """One check script: its lines count, and so does an end that was none of its own making."""
    name = command[-1].relative_to(HERE)
    try:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, timeout=CHECK_DEADLINE
        )
    except subprocess.TimeoutExpired:
        return tally.add(f"FAILED {name}: not done after {CHECK_DEADLINE} s")
    for line in done.stdout.splitlines():
        tally.add(line)
    if done.returncode != 0:
        tally.add(f"FAILED {name}: ended with status {done.returncode}, before its last promise")
    elif not done.stdout:
        tally.add(f"FAILED {name}: said nothing")


class Tally:
    """Passes lines on and counts them."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def add(self, line):
        self.passed += line.startswith("ok ")
        self.failed += line.startswith("FAILED ")
        print(line, flush=True)

    def close(self):
        print(f"interop: {self.passed} passed, {self.failed} failed", flush=True)
        return 0 if self.passed and not self.failed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
