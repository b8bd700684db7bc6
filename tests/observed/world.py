"""The cast: a service, a neglected second one, a gate, a backend, a Prometheus, and the people and forgers who call them."""

import base64
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from promise import wait_for

PASSWORD = "correct horse battery"


def free_ports(count: int) -> list[int]:
    """Held open together, so that no two are the same."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Client:
    """A connection for each thread, kept open as a proxy keeps them, and opened anew when the other side has gone."""

    def __init__(self, port: int):
        self.port = port
        self.local = threading.local()

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: object = None):
        """Status, body and headers; status 0 if nobody answers."""
        data = None if body is None else json.dumps(body)
        headers = dict(headers or {})
        if method == "POST":
            headers["content-type"] = "application/json"
        for attempt in (1, 2):
            connection = getattr(self.local, "connection", None)
            if connection is None:
                connection = self.local.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                connection.request(method, path, data, headers)
                answer = connection.getresponse()
                return answer.status, answer.read(), answer.headers
            except (OSError, http.client.HTTPException):
                connection.close()
                self.local.connection = None
                if attempt == 2:
                    return 0, b"", {}

    def close(self) -> None:
        if connection := getattr(self.local, "connection", None):
            connection.close()
            self.local.connection = None


class World:
    """Starts what it is told to, and ends all of it."""

    def __init__(self, home: Path, keywheel: str, backend: str):
        self.home, self.keywheel, self.backend = home, keywheel, backend
        self.running: dict[str, subprocess.Popen] = {}
        self.stopping = threading.Event()
        self.threads: list[threading.Thread] = []

    def start(self, name: str, *command: str, env: dict[str, str] | None = None, log: str | None = None) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "NO_PROXY": "*", **(env or {})}
        (self.home / name).mkdir(exist_ok=True)
        with open(log or self.home / f"{name}.log", "ab") as out:
            self.running[name] = subprocess.Popen(command, cwd=self.home / name, stdout=out, stderr=out, env=environment)

    def stop(self, name: str) -> None:
        process = self.running.pop(name)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def run(self, name: str, *args: str) -> str:
        """A command of Keywheel in the folder of a service."""
        ran = subprocess.run([self.keywheel, *args], capture_output=True, text=True, cwd=self.home / name, env={"PATH": os.environ["PATH"]}, timeout=60)
        if ran.returncode != 0:
            raise RuntimeError(f"keywheel {' '.join(args)}: {ran.stderr}")
        return ran.stdout.strip()

    def hup(self, name: str) -> None:
        self.running[name].send_signal(signal.SIGHUP)

    def often(self, every: float, what) -> threading.Event:
        """Calls `what` again and again until the event is set or the story ends."""
        end = threading.Event()

        def loop() -> None:
            while not (end.is_set() or self.stopping.is_set()):
                what()
                end.wait(every)

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        self.threads.append(thread)
        return end

    def end(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(25)
        for name in reversed(list(self.running)):
            self.stop(name)


def serve_config(port: int, admin: int, rotate_every: str) -> str:
    """The defaults, a minute made a second, where that makes a difference to what is seen; one password at a time, so that a
    queue forms on any machine."""
    return f"""
issuer = "http://127.0.0.1:{port}"
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:{admin}"
[keys]
rotate_every = "{rotate_every}"
jwks_max_age = "10s"
clock_skew = "1s"
[tokens]
ttl = "15s"
max_ttl = "15s"
[[audience]]
name = "api"
scopes = ["orders:read"]
[[audience]]
name = "reports"
algorithm = "RS256"
[accounts]
hashes_at_once = 1
hashes_waiting = 8
rate_limit = {{ window = "1s", attempts = 0 }}
account_rate_limit = {{ window = "1s", attempts = 0 }}
[database]
url = "sqlite://keywheel.db"
"""


class Person:
    """Signs up, in and out, and takes tokens, as a front end does."""

    def __init__(self, port: int, name: str):
        self.client = Client(port)
        self.origin = f"http://127.0.0.1:{port}"
        self.email = f"{name}@example.com"
        self.cookie = ""

    def enter(self, how: str, password: str = PASSWORD) -> int:
        body = {"name": self.email, "email": self.email, "password": password}
        status, _, headers = self.client.ask("POST", f"/api/auth/{how}/email", body=body)
        if status == 200 and headers.get("set-cookie"):
            self.cookie = headers["set-cookie"].split(";")[0]
        return status

    def token(self, audience: str = "api") -> str | None:
        status, body, _ = self.client.ask("GET", f"/api/auth/token?audience={audience}", {"cookie": self.cookie})
        return json.loads(body)["token"] if status == 200 else None

    def leave(self) -> int:
        return self.client.ask("POST", "/api/auth/sign-out", {"cookie": self.cookie, "origin": self.origin})[0]


def forged(token: str) -> str:
    """A real header and payload, and a signature that is not the key's: another each time, so that no cache helps."""
    head, payload, _ = token.split(".")
    return f"{head}.{payload}.{encode(secrets.token_bytes(64))}"


def invented_kid(token: str) -> str:
    head, payload, signature = token.split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    header["kid"] = secrets.token_hex(16)
    return f"{encode(json.dumps(header).encode())}.{payload}.{signature}"


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Laggard:
    """A verifier that watches the key set, is given the next one, and never comes back with it."""

    def __init__(self, port: int):
        self.client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.ask({"prefer": "wait=0"})
        answer = self.client.getresponse()
        answer.read()
        self.ask({"prefer": "wait=50", "if-none-match": answer.headers["etag"]})
        self.thread = threading.Thread(target=self.wait, daemon=True)
        self.told = False
        self.thread.start()

    def ask(self, headers: dict[str, str]) -> None:
        self.client.request("GET", "/.well-known/jwks.json", headers=headers)

    def wait(self) -> None:
        try:
            self.told = self.client.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            pass

    def end(self) -> None:
        self.thread.join(5)
        self.client.close()


def ready(port: int) -> bool:
    client = Client(port)
    try:
        return client.ask("GET", "/readyz")[0] == 200
    finally:
        client.close()


def answers(port: int, path: str) -> bool:
    client = Client(port)
    try:
        return client.ask("GET", path)[0] != 0
    finally:
        client.close()


def up(name: str, port: int) -> None:
    wait_for(f"{name} is ready", lambda: ready(port))


def pause_until(moment: float) -> None:
    """The story's own clock: a scene takes its time whatever was seen in it."""
    time.sleep(max(0.0, moment - time.monotonic()))
