"""The example against a running Keywheel: sign up, take a token, call; and every call that must be refused.

    python check.py PATH-OF-KEYWHEEL
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
START_DEADLINE = 60
kept, broken = 0, 0


def promise(text, actual, expected):
    global kept, broken
    if actual == expected:
        kept += 1
        print(f"ok {text}", flush=True)
    else:
        broken += 1
        print(f"FAILED {text}: {actual!r} instead of {expected!r}", flush=True)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(method, url, body=None, **headers):
    """(status, JSON or None, headers)"""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["content-type"] = "application/json"
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        text = response.read()
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        return response.status, answer, response.headers


def up(url):
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline:
        try:
            return ask("GET", url)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise SystemExit(f"{url} did not come up")


def main(binary, folder):
    port, api_port = free_port(), free_port()
    auth, api = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{api_port}"
    config = Path(folder, "keywheel.toml")
    # The README's own, to its last line, which is of the audience; and what only these checks need.
    shown = HERE.joinpath("README.md").read_text().split("```toml\n")[1].split("```")[0]
    config.write_text(f"""{shown}
ttl = "2s"
[[audience]]
name = "legacy"
algorithm = "RS256"
[[audience]]
name = "other-api"
""")
    settings = {
        "KEYWHEEL_ISSUER": auth,
        "KEYWHEEL_LISTEN": f"127.0.0.1:{port}",
        "KEYWHEEL_ADMIN_LISTEN": "127.0.0.1:0",
        "KEYWHEEL_KEYS__STORE": f"{folder}/keys",
        "KEYWHEEL_KEYS__ALGORITHMS": '["EdDSA", "RS256"]',
        "KEYWHEEL_DATABASE__URL": f"sqlite://{folder}/keywheel.db",
    }
    environment = os.environ | {"AUTH_ISSUER": auth, "API_AUDIENCE": "api", "TASKS_DB": f"{folder}/tasks.db"}
    service = subprocess.Popen(
        [binary, "serve", "--config", str(config)], env=os.environ | settings, stderr=subprocess.DEVNULL
    )
    backend = [sys.executable, "-m", "uvicorn", "main:app", "--port", str(api_port), "--log-level", "warning"]
    backend = subprocess.Popen(backend, cwd=HERE, env=environment)
    try:
        up(f"{auth}/api/auth/ok")
        up(f"{api}/docs")
        check(auth, api, lambda *scopes: subprocess.run(
            [binary, "users", "scopes", "ada@example.com", *scopes, "--config", str(config)],
            env=os.environ | settings, check=True, capture_output=True))
    finally:
        backend.terminate()
        service.terminate()
        backend.wait()
        service.wait()


def check(auth, api, grant_ada):
    users = []
    for name in ("ada", "bob"):
        body = {"name": name, "email": f"{name}@example.com", "password": "correct horse", "softwareBackground": "C"}
        status, answer, headers = ask("POST", f"{auth}/api/auth/sign-up/email", body)
        promise(f"{name} signs up", status, 200)
        cookie = headers["set-cookie"].split(";")[0]
        users.append((answer["user"]["id"], cookie))
    (ada, cookie), (bob, _) = users

    def token(audience="api"):
        _, answer, _ = ask("GET", f"{auth}/api/auth/jwt?audience={audience}", cookie=cookie)
        return answer["token"]

    def personalize(**headers):
        return ask("POST", f"{api}/api/personalize", {"topic": "keys"}, **headers)

    good = token()
    status, answer, _ = personalize(authorization=f"Bearer {good}")
    promise("POST /api/personalize with a token: 200", status, 200)
    promise("it knows who asks, and their background", answer, {"user": ada, "content": "keys, for somebody with the background C"})
    status, _, headers = personalize()
    promise("without a token: 401", (status, headers["www-authenticate"]), (401, "Bearer"))
    head, claims, signature = good.split(".")
    for what, bad in [
        ("another signature", f"{head}.{claims}.{signature[::-1]}"),
        ("no signature", f"{head}.{claims}."),
        ("nonsense", "not.a.token"),
        ("a token for another API", token("other-api")),
        ("a token for another API, by RS256", token("legacy")),
    ]:
        status, _, headers = personalize(authorization=f"Bearer {bad}")
        promise(f"with {what}: 401", (status, "invalid_token" in (headers["www-authenticate"] or "")), (401, True))
    promise("without `Bearer `: 401", personalize(authorization=good)[0], 401)
    def own(method, body=None):
        return ask(method, f"{api}/api/{ada}/tasks", body, authorization=f"Bearer {token()}")

    promise("one's own tasks, none yet: 200", own("GET")[:2], (200, []))
    status, _, headers = own("POST", {"title": "rotate the keys"})
    promise("a task without the scope for it: 403", (status, 'scope="tasks:write"' in headers["www-authenticate"]), (403, True))
    grant_ada("tasks:read", "tasks:write")
    titles = ["rotate the keys", "'); drop table tasks; --"]
    promise("with it: 201", [own("POST", {"title": title})[0] for title in titles], [201, 201])
    promise("and they are kept", own("GET")[1], [{"owner": ada, "title": title} for title in titles])
    status, _, _ = ask("POST", f"{api}/api/{bob}/tasks", {"title": "mine"}, authorization=f"Bearer {token()}")
    promise("a task for somebody else: 403", status, 403)
    status, _, _ = ask("GET", f"{api}/api/{bob}/tasks", authorization=f"Bearer {token()}")
    promise("somebody else's tasks: 403", status, 403)
    status, _, _ = ask("GET", f"{api}/api/{bob}/tasks")
    promise("somebody else's tasks without a token: 401", status, 401)

    # Two seconds of life and five of leeway.
    expired = threading.Event()
    expired.wait(8)
    status, _, headers = personalize(authorization=f"Bearer {good}")
    promise("with an expired token: 401", (status, "expired" in headers["www-authenticate"]), (401, True))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(sys.argv[1], folder)
    print(f"fastapi: {kept} passed, {broken} failed")
    sys.exit(1 if broken or not kept else 0)
