"""Keywheel as its users run it: by the command line."""

import contextlib
import json
import os
import re
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ISSUER = "https://auth.example.test"
# Which algorithm signs for an audience is the issuer's configuration, never the caller's choice.
AUDIENCES = {"EdDSA": "orders-api", "RS256": "legacy-api"}

# The shortest times that are allowed: an announced key may sign about two seconds after it was first published.
CONFIG = f"""
issuer = "{ISSUER}"
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[keys]
store = "{{store}}"
algorithms = ["EdDSA", "RS256"]
jwks_max_age = "1s"
clock_skew = "1s"

[database]
url = "sqlite://{{database}}"

[[audience]]
name = "{AUDIENCES["EdDSA"]}"
scopes = ["orders:read"]

[[audience]]
name = "{AUDIENCES["RS256"]}"
algorithm = "RS256"
"""

START_DEADLINE = 60
STOP_DEADLINE = 30
COMMAND_DEADLINE = 60


@dataclass(frozen=True)
class Verdict:
    """What `keywheel verify --json` said."""

    exit_code: int
    ok: bool
    reason: str | None
    claims: dict | None


@dataclass(frozen=True)
class Keywheel:
    """A binary and the configuration that it is run with."""

    binary: str
    config: str

    @classmethod
    def configure(cls, binary, folder):
        config = Path(folder, "keywheel.toml")
        config.write_text(CONFIG.format(store=Path(folder, "keys"), database=Path(folder, "keywheel.db")))
        return cls(str(binary), str(config))

    @classmethod
    def from_environment(cls):
        """For the check scripts: what `environment` has put there."""
        return cls(os.environ["INTEROP_BIN"], os.environ["INTEROP_CONFIG"])

    def environment(self, jwks_url):
        return os.environ | {
            "INTEROP_BIN": self.binary,
            "INTEROP_CONFIG": self.config,
            "INTEROP_ISSUER": ISSUER,
            "INTEROP_JWKS_URL": jwks_url,
            "INTEROP_AUDIENCES": json.dumps(AUDIENCES),
        }

    def token(self, algorithm, *options):
        """A new token for the audience that this algorithm signs for."""
        command = ["token", "--config", self.config, "--sub", "user-1", "--aud", AUDIENCES[algorithm], *options]
        done = self._run(*command)
        if done.returncode != 0:
            raise MintFailed(f"keywheel token ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def verify(self, token, jwks_url, issuer, audience, *options):
        """The verdict on a token whose keys are at a URL."""
        # By standard input: an argument can be read by every process of the machine.
        command = ["verify", "--jwks", jwks_url, "--issuer", issuer, "--audience", audience, "--json", *options, "-"]
        done = self._run(*command, input=token)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"keywheel verify ended with {done.returncode}: {done.stderr.strip()}")
        answer = json.loads(done.stdout)
        return Verdict(done.returncode, answer["ok"], answer["reason"], answer["claims"])

    def start_rotation(self):
        """`keywheel keys rotate`, unforced; the caller waits for it."""
        command = [self.binary, "keys", "rotate", "--config", self.config]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    @contextlib.contextmanager
    def serving(self):
        """Runs `keywheel serve`; gives the URL of its key set."""
        log = Path(self.config).with_name("serve.log")
        with log.open("w") as stderr:
            server = subprocess.Popen([self.binary, "serve", "--config", self.config], stderr=stderr)
        try:
            yield _jwks_url(server, log)
        finally:
            server.terminate()
            try:
                server.wait(STOP_DEADLINE)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    def _run(self, *arguments, input=None):
        command = [self.binary, *arguments]
        return subprocess.run(command, input=input, capture_output=True, text=True, timeout=COMMAND_DEADLINE)


class StartFailed(Exception):
    """`keywheel serve` did not come up."""


class MintFailed(Exception):
    """`keywheel token` gave no token."""


def _jwks_url(server, log):
    """Waits until the key set is served. The port is the system's choice, so the address is read from what `serve` says."""
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline and server.poll() is None:
        address = re.search(r"^keywheel serves \S+ on (http://127\.0\.0\.1:\d+),", log.read_text(), re.MULTILINE)
        if address:
            url = f"{address[1]}/.well-known/jwks.json"
            with urllib.request.urlopen(url, timeout=START_DEADLINE):
                return url
        time.sleep(0.02)
    raise StartFailed(f"it did not come up; it said: {' '.join(log.read_text().split())}")
