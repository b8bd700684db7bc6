"""Real proxies in front of a backend, asking `keywheel gate`: the examples' own configurations, on free ports."""

import base64
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ["KEYWHEEL_BIN"]
passed = failed = 0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# Real time that a slow and busy machine may take for what is waited for; only a defect takes longer.
PATIENCE = 60


def wait_for(what: str, condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise SystemExit(what)


def listens(port: int) -> bool:
    socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    return True


def up(port: int) -> None:
    wait_for(f"nothing listens on port {port}", lambda: listens(port))


def ready(port: int) -> None:
    """Bound is not ready: keys are made at the first start."""
    wait_for(f"port {port} is never ready", lambda: ask(port, "GET", "/readyz", [])[0].status == 200)


def ask(port: int, method: str, path: str, headers: list[tuple[str, str]]):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    if method in ("POST", "DELETE"):
        connection.putheader("Content-Length", "0")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def promise(name: str, kept: bool, seen: object) -> None:
    global passed, failed
    if kept:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {name}: {seen}")


def keywheel(*args: str, home: Path) -> str:
    ran = subprocess.run([BINARY, *args], capture_output=True, text=True, cwd=home, env={"PATH": os.environ["PATH"]})
    if ran.returncode != 0:
        raise SystemExit(f"keywheel {' '.join(args)}: {ran.stderr}")
    return ran.stdout.strip()


def check(proxy: str, port: int, tokens: dict[str, str]) -> None:
    bearer = lambda name: [("Authorization", f"Bearer {tokens[name]}")]
    forged = tokens["reader"][:-6] + ("AAAAAA" if not tokens["reader"].endswith("AAAAAA") else "BBBBBB")
    for method, path, headers, expected in [
        ("GET", "/orders/7", [], 401),
        ("GET", "/orders/7", [("Authorization", f"Bearer {forged}")], 401),
        ("GET", "/orders/7", bearer("plain"), 403),
        ("GET", "/orders/7", bearer("reader"), 200),
        ("POST", "/orders", bearer("reader"), 403),
        ("POST", "/orders", bearer("writer"), 200),
        ("GET", "/users/user-1/notes", bearer("plain"), 200),
        ("GET", "/users/user-2/notes", bearer("plain"), 403),
        ("GET", "/public/a.css", [], 200),
        ("GET", "/elsewhere", [], 401),
        # What a client says about its own request is not believed.
        ("GET", "/orders/7", [("X-Original-URI", "/public"), ("X-Original-Method", "GET")], 401),
        ("GET", "/orders/7", [("X-Forwarded-Uri", "/public"), ("X-Forwarded-Method", "GET")], 401),
        ("POST", "/orders", bearer("reader") + [("X-Forwarded-Method", "GET"), ("X-Original-Method", "GET")], 403),
    ]:
        answer, _ = ask(port, method, path, headers)
        promise(f"{proxy}: {method} {path}", answer.status == expected, answer.status)
    # A path that reads in two ways: whatever the proxy makes of it, nobody gets at the orders.
    for path in ["/public/../orders", "/public/..%2forders", "/public/%2e%2e/orders", "//orders", "/public/..;/orders"]:
        answer, body = ask(port, "GET", path, [])
        promise(f"{proxy}: {path}", answer.status in (400, 401, 403), (answer.status, body[:200]))
    answer, _ = ask(port, "GET", "/orders", [])
    challenge = answer.getheader("WWW-Authenticate") or ""
    promise(f"{proxy}: the challenge is passed on", challenge.startswith("Bearer"), challenge)
    slipped = [(f"X-Auth-{name}", "admin") for name in ("Subject", "Issuer", "Scope", "Roles", "Claims")]
    answer, body = ask(port, "GET", "/orders", bearer("reader") + slipped)
    identity = dict(json.loads(body)["identity"])
    claims = identity.get("x-auth-claims", "")
    claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)) or b"{}")
    promise(f"{proxy}: the identity is the token's", identity.get("x-auth-subject") == "user-1", identity)
    promise(f"{proxy}: its scopes too", identity.get("x-auth-scope") == "orders:read", identity)
    promise(f"{proxy}: its claims too", claims.get("sub") == "user-1", claims)
    promise(f"{proxy}: and once each", len(identity) == len(json.loads(body)["identity"]), body)
    answer, body = ask(port, "GET", "/public/", slipped)
    identity = {name: value for name, value in json.loads(body)["identity"] if value}
    promise(f"{proxy}: a stranger cannot name himself", identity == {}, identity)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        ports = {name: free_port() for name in ("serve", "admin", "gate", "gate-admin", "down", "backend", "nginx", "caddy")}
        issuer = f"http://localhost:{ports['serve']}"
        (home / "keywheel.toml").write_text(
            f'issuer = "{issuer}"\nlisten = "127.0.0.1:{ports["serve"]}"\nadmin_listen = "127.0.0.1:{ports["admin"]}"\n'
        )
        rules = (ROOT / "examples/gate.toml").read_text().replace("http://localhost:3001", issuer)
        (home / "gate.toml").write_text(rules.replace("[[issuer]]", '[[issuer]]\nstatus = "ignore"', 1))
        running = []

        def start(*command: str) -> None:
            log = open(home / f"{len(running)}.log", "w")
            env = {"PATH": os.environ["PATH"], "HOME": folder, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder}
            running.append(subprocess.Popen(command, cwd=home, stdout=log, stderr=log, env=env))

        try:
            start(BINARY, "serve")
            ready(ports["admin"])
            start(BINARY, "gate", "--config", "gate.toml", "--listen", f"127.0.0.1:{ports['gate']}",
                  "--admin-listen", f"127.0.0.1:{ports['gate-admin']}")
            start(sys.executable, str(ROOT / "tests/proxies/backend.py"), str(ports["backend"]))
            ready(ports["gate-admin"])
            up(ports["backend"])
            mint = lambda *scope: keywheel("token", "--sub", "user-1", "--aud", "api", *scope, home=home)
            tokens = {
                "plain": mint(),
                "reader": mint("--scope", "orders:read"),
                "writer": mint("--scope", "orders:read orders:write"),
            }
            move = lambda text: (
                text.replace("127.0.0.1:4180", f"127.0.0.1:{ports['gate']}")
                .replace("127.0.0.1:8000", f"127.0.0.1:{ports['backend']}")
                .replace("127.0.0.1:8080", f"127.0.0.1:{ports['nginx']}")
                .replace("127.0.0.1:8081", f"127.0.0.1:{ports['caddy']}")
            )
            (home / "example.conf").write_text(move((ROOT / "examples/nginx/keywheel.conf").read_text()))
            (home / "nginx.conf").write_text(
                f"daemon off; pid {home}/nginx.pid; error_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n"
                + "".join(f"{kind}_temp_path {home}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
                + f"include {home}/example.conf;\n}}\n"
            )
            start("nginx", "-e", "stderr", "-p", folder, "-c", str(home / "nginx.conf"))
            (home / "Caddyfile").write_text(move((ROOT / "examples/caddy/Caddyfile").read_text()))
            start("caddy", "run", "--adapter", "caddyfile", "--config", str(home / "Caddyfile"))
            for proxy in ("nginx", "caddy"):
                up(ports[proxy])
                check(proxy, ports[proxy], tokens)
            # The issuer goes, and a gate that starts now has no keys: 503, and when to come back.
            running[0].terminate()
            running[0].wait()
            running[1].terminate()
            running[1].wait()
            start(BINARY, "gate", "--config", "gate.toml", "--listen", f"127.0.0.1:{ports['gate']}",
                  "--admin-listen", f"127.0.0.1:{ports['gate-admin']}")
            up(ports["gate"])
            for proxy in ("nginx", "caddy"):
                answer, _ = ask(ports[proxy], "GET", "/orders", [("Authorization", f"Bearer {tokens['reader']}")])
                retry = answer.getheader("Retry-After")
                promise(f"{proxy}: without keys it is 503", answer.status == 503, answer.status)
                promise(f"{proxy}: and says when to come back", bool(retry), retry)
        finally:
            for process in reversed(running):
                process.terminate()
            for process in running:
                process.wait()
            if failed:
                for log in sorted(home.glob("*.log")):
                    print(f"--- {log.name}\n{log.read_text()[-2000:]}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


for program in ("nginx", "caddy"):
    if shutil.which(program) is None:
        raise SystemExit(f"{program} is not installed")
main()
