"""A bad hour in a minute: scraped by a real Prometheus under the production rules, and then every panel is asked.

`keywheel serve`, `keywheel gate` and a backend are called by people and by forgers; keys are rotated by force and revoked, a
verifier lags, forgers come in two waves, passwords are guessed, the issuer goes away and comes back; a second service loses its
store, and then its wrapping key. Times are a sixtieth, see scaled.py.
"""

import base64
import json
import secrets
import shutil
import subprocess
import time
from pathlib import Path

import scaled
from promise import promise, wait_for
from prometheus import Prometheus, dashboards, panels
from world import (
    Client, Laggard, Person, World, answers, forged, free_ports, invented_kid, pause_until, serve_config, up,
)

PORTS = (
    "serve", "serve-admin", "neglected", "neglected-admin", "gate", "gate-admin", "late", "late-admin", "backend",
    "backend-admin", "prometheus",
)
# Half of it is gone ten seconds into the outage, and all of it before the outage ends.
MAX_STALE_SECONDS = 14
CALM_SECONDS = 14


class Story:
    def __init__(self, root: Path, home: Path, keywheel: str, backend: str):
        self.root, self.home = root, home
        self.world = World(home, keywheel, backend)
        self.port = dict(zip(PORTS, free_ports(len(PORTS))))
        self.prometheus = Prometheus(self.port["prometheus"])
        self.gate, self.backend, self.late = (Client(self.port[name]) for name in ("gate", "backend", "late"))
        self.moments: dict[str, float] = {}
        self.token = ""
        self.expired = ""
        self.left: str | None = None
        self.reports: str | None = None
        self.statuses: set[tuple[str, int]] = set()

    def instance(self, name: str) -> str:
        return f"127.0.0.1:{self.port[name + '-admin']}"

    def mark(self, moment: str) -> None:
        self.moments[moment] = time.time()

    # --- setting up

    def configure_prometheus(self, gates: list[str]) -> None:
        """The production files, times scaled and addresses changed."""
        grafana = self.root / "grafana"
        targets = {"9301": ["serve", "neglected"], "9302": gates, "9303": ["backend"]}
        text = scaled.config((grafana / "prometheus.yml").read_text())
        for port, names in targets.items():
            listed = ", ".join(self.instance(name) for name in names)
            text = text.replace(f"[127.0.0.1:{port}]", f"[{listed}]")
        folder = self.home / "prometheus"
        (folder / "alerts").mkdir(parents=True, exist_ok=True)
        (folder / "alerts/keywheel.rules.yml").write_text(scaled.rules((grafana / "alerts/keywheel.rules.yml").read_text()))
        # Whole or not at all: it may be read at any time.
        (folder / "new.yml").write_text(text)
        (folder / "new.yml").replace(folder / "prometheus.yml")

    def start_serve(self) -> None:
        self.world.start("serve", self.world.keywheel, "serve")
        up("the service", self.port["serve-admin"])

    def start_gate(self, name: str, log: str | None = None) -> None:
        """It leaves status lists to the backend: it asks for those that never stop changing ever more rarely, as it should, and that
        is no sixtieth of anything."""
        (self.home / name).mkdir()
        (self.home / name / "gate.toml").write_text(
            f'listen = "127.0.0.1:{self.port[name]}"\nadmin_listen = "{self.instance(name)}"\n'
            f'[[issuer]]\nname = "{self.issuer}"\naudience = ["api", "reports"]\nstatus = "ignore"\n'
            # So that a flood is summed on a slow machine too.
            "[log]\naudit_rate = 20\n"
        )
        self.world.start(name, self.world.keywheel, "gate", "--config", "gate.toml", log=log)

    def start_neglected(self) -> None:
        """Each time with another wrapping key."""
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        self.world.start("neglected", self.world.keywheel, "serve", env={"KEYWHEEL_WRAPPING_KEYS": key})

    def set_up(self) -> None:
        for name, rotate_every in (("serve", "40s"), ("neglected", "12s")):
            (self.home / name).mkdir()
            config = serve_config(self.port[name], self.port[f"{name}-admin"], rotate_every)
            (self.home / name / "keywheel.toml").write_text(config)
        self.issuer = f"http://127.0.0.1:{self.port['serve']}"
        self.start_serve()
        self.start_gate("gate")
        self.world.start("backend", self.world.backend, env={
            "ISSUER": self.issuer,
            "LISTEN": f"127.0.0.1:{self.port['backend']}",
            "ADMIN_LISTEN": self.instance("backend"),
            "MAX_STALE": str(MAX_STALE_SECONDS),
        })
        self.start_neglected()
        for name in ("gate", "backend", "neglected"):
            up(name, self.port[f"{name}-admin"])
        self.ada = Person(self.port["serve"], "ada")
        self.bob = Person(self.port["serve"], "bob")
        self.eve = Person(self.port["neglected"], "eve")
        for person in (self.ada, self.bob, self.eve):
            status = person.enter("sign-up")
            promise(f"{person.email} signs up", status == 200, status)
        self.token = self.ada.token() or ""
        promise("a token", self.token)
        self.let_expire()
        # Signing in may be busy at times, and yet sessions have to end all the time.
        self.sessions = [Person(self.port["serve"], "bob") for _ in range(24)]
        promise("sessions in store", all(one.enter("sign-in") == 200 for one in self.sessions))
        self.configure_prometheus(["gate"])
        self.world.start(
            "prometheus", "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn",
            f"--web.listen-address=127.0.0.1:{self.port['prometheus']}",
        )
        wait_for("Prometheus is ready", self.prometheus.ready)
        wait_for("every target is up", lambda: set(self.prometheus.targets().values()) == {"up"})

    # --- who calls

    def call(self, token: str | None) -> None:
        """A request to the backend, and one that the gate is asked about."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        for name, client, path in (("backend", self.backend, "/orders"), ("gate", self.gate, "/verify")):
            self.statuses.add((name, client.ask("GET", path, headers)[0]))

    def everyday(self) -> None:
        """Nine of ten are good."""
        for _ in range(16):
            self.call(self.token)
        self.call(self.expired)
        self.call(None)
        self.call(self.reports or self.token)

    def renew(self) -> None:
        self.token = self.ada.token() or self.token
        self.reports = self.ada.token("reports")

    def let_expire(self) -> None:
        """Of a key that is still published, or the reason would be another."""
        self.expired = self.world.run("serve", "token", "--sub", "ada", "--aud", "api", "--ttl", "1s")

    def come_and_go(self) -> None:
        """A session from its beginning to its end, and its token after that."""
        person = self.bob
        if person.enter("sign-in") != 200 and self.sessions:
            person = self.sessions.pop()
        if self.left:
            self.call(self.left)
        if token := person.token():
            self.call(token)
            person.leave()
            self.left = token

    def mistype(self) -> None:
        Person(self.port["serve"], "ada").enter("sign-in", "wrong")

    # --- what happens

    def play(self) -> None:
        world = self.world
        began = time.monotonic()
        self.mark("start")
        for every, what in (
            (0.25, self.everyday), (2, self.renew), (0.8, self.come_and_go), (7, self.mistype), (0.5, self.eve.token),
            (4, self.let_expire),
        ):
            world.often(every, what)
        pause_until(began + CALM_SECONDS)

        self.mark("trouble")
        store = self.home / "neglected/keys"
        store.rename(self.home / "neglected/moved")
        laggard = Laggard(self.port["serve"])
        wait_for("the laggard is seen", lambda: self.watchers() >= 3)
        self.mark("rotated")
        world.run("serve", "keys", "rotate")
        laggard.end()
        promise("the laggard was told of the rotation", laggard.told)
        self.renew()
        pause_until(began + CALM_SECONDS + 9)

        self.mark("revoked")
        stolen, signer = self.token, self.signer()
        world.run("serve", "keys", "revoke", signer, "--reason", "stolen, in the story")
        self.renew()
        self.let_expire()
        self.call(stolen)

        self.mark("forged")
        floods = [world.often(0.02, lambda: self.call(forged(self.token))) for _ in range(2)]
        pause_until(began + CALM_SECONDS + 16)
        [flood.set() for flood in floods]
        self.mark("invented")
        floods = [world.often(0.02, lambda: self.call(invented_kid(self.token))) for _ in range(2)]
        pause_until(began + CALM_SECONDS + 22)
        [flood.set() for flood in floods]

        self.mark("guessed")
        guessers = [world.often(0.01, self.guess) for _ in range(11)]
        pause_until(began + CALM_SECONDS + 32)
        [guesser.set() for guesser in guessers]

        self.mark("outage")
        world.stop("serve")
        # A gate that starts now finds no keys; and its log is on a full disk.
        self.start_gate("late", log="/dev/full")
        wait_for("the late gate is there", lambda: answers(self.port["late-admin"], "/healthz"))
        self.configure_prometheus(["gate", "late"])
        world.hup("prometheus")
        world.often(0.1, lambda: self.late.ask("GET", "/verify", {"authorization": f"Bearer {self.token}"}))
        # Meanwhile somebody puts the neglected service's store back.
        pause_until(began + CALM_SECONDS + 42)
        (self.home / "neglected/moved").rename(store)
        self.mark("store back")
        pause_until(began + CALM_SECONDS + 50)
        self.start_serve()
        self.mark("back")
        # And then the neglected service is started with another wrapping key: it can open none of its keys, and its next ones
        # sign when every verifier may have them.
        world.stop("neglected")
        self.mark("unsigned")
        self.start_neglected()
        # By the runbook: the key set is as it was, and only tokens cannot be had for a while.
        try:
            serves = wait_for("", lambda: self.eve.client.ask("GET", "/.well-known/jwks.json")[0] == 200)
        except TimeoutError:
            serves = False
        said = (self.home / "neglected.log").read_text().splitlines()[-1]
        promise("a service that has lost its wrapping key starts, and publishes its keys", serves, said)
        wait_for("the late gate has keys", lambda: answers(self.port["late-admin"], "/readyz") and self.late.ask("GET", "/verify")[0] == 401)
        wait_for("nobody is without keys", lambda: not self.now("keywheel_jwks_keys == 0"))
        pause_until(began + CALM_SECONDS + 58)
        self.mark("end")

    def guess(self) -> None:
        person = Person(self.port["serve"], "ada")
        if person.enter("sign-in", "a guess, and a wrong one") == 503:
            self.world.stopping.wait(0.4)
        person.client.close()

    def watchers(self) -> float:
        found = self.now(f'sum(keywheel_jwks_watchers{{instance="{self.instance("serve")}"}})')
        return float(found[0]["value"][1]) if found else 0

    def now(self, expr: str) -> list[dict]:
        return self.prometheus.get("/api/v1/query", query=expr)["result"]

    def signer(self) -> str:
        keys = json.loads(self.world.run("serve", "keys", "list", "--json"))["keys"]
        return next(key["kid"] for key in keys if key["stage"] == "signing" and key["alg"] == "EdDSA")

    # --- what was seen

    def check_alerts(self) -> None:
        """Each fires after its cause and before the next scene's end, where it should and nowhere else."""
        at, end = self.moments, self.moments["end"]
        on = self.instance
        everyone = {on(name) for name in ("serve", "neglected", "gate", "late", "backend")} | {
            "keywheel-serve", "keywheel-gate", "keywheel-backend",
        }
        # Alert: who must raise it, who may, from when, until when at the latest it has begun.
        expected = {
            "KeywheelStoreDown": ({on("neglected")}, set(), "trouble", "forged"),
            "KeywheelRotationOverdue": ({on("neglected")}, set(), "trouble", "outage"),
            "KeywheelKeyOlderThanPolicy": ({on("neglected")}, set(), "trouble", "store back"),
            "KeywheelVerifiersBehind": ({on("serve")}, set(), "rotated", "invented"),
            "KeywheelBadSignatures": ({"keywheel-gate", "keywheel-backend"}, set(), "forged", "guessed"),
            # From the revocation on, for the tokens of the stolen key; the flood goes on from there.
            "KeywheelUnknownKeys": ({"keywheel-gate", "keywheel-backend"}, set(), "revoked", "guessed"),
            "KeywheelRefusedShareUp": ({"keywheel-gate", "keywheel-backend"}, set(), "forged", "outage"),
            "KeywheelSignInFailures": ({"keywheel-serve"}, set(), "guessed", "outage"),
            "KeywheelSignInsBusy": ({on("serve")}, set(), "guessed", "outage"),
            "KeywheelTargetDown": ({on("serve")}, {on("neglected")}, "outage", "back"),
            "KeywheelKeySetEmpty": ({on("late")}, {on("backend")}, "outage", "back"),
            "KeywheelJwksStale": ({on("backend")}, set(), "outage", "back"),
            "KeywheelStatusListStale": ({on("backend")}, set(), "outage", "back"),
            "KeywheelVerificationUnavailable": ({on("late")}, {on("gate"), on("backend")}, "outage", "back"),
            "KeywheelServerErrors": ({on("late")}, {on("serve"), on("gate"), on("neglected")}, "guessed", "back"),
            "KeywheelAuditLinesLost": ({on("late")}, set(), "outage", "end"),
            "KeywheelNoSigner": ({on("neglected")}, set(), "unsigned", "end"),
        }
        seen = self.prometheus.firing(at["start"], end)
        calm = {name: found for name, found in seen.items() if any(first < at["trouble"] for _, first, _ in found)}
        promise("no alert in quiet times", not calm, calm)
        fired = 0
        for name, (must, may, since, until) in expected.items():
            found = seen.get(name, [])
            missing = must - {whose for whose, first, _ in found if at[since] <= first <= at[until]}
            ok = promise(f"{name} fires for its cause", not missing, f"missing for {missing}, seen {self.relative(found)}")
            wrong = [one for one in found if one[0] not in must | may or one[1] < at[since]]
            ok &= promise(f"{name} fires for nothing else", not wrong, self.relative(wrong))
            fired += ok
        names = {one.split("\n")[0].strip() for one in (self.root / "grafana/alerts/keywheel.rules.yml").read_text().split("alert:")[1:]}
        promise("the story has every alert", names == expected.keys(), names ^ expected.keys())
        promise("no alert of anybody else", all(whose in everyone for found in seen.values() for whose, _, _ in found), seen)
        print(f"alerts: {len(expected)} expected, {fired} fired", flush=True)

    def relative(self, found: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
        start = self.moments["start"]
        return [(whose, round(first - start, 1), round(last - start, 1)) for whose, first, last in found]

    def check_panels(self) -> None:
        start, end = self.moments["start"], self.moments["end"]
        span = max(1, int(end - start))
        count = with_data = expressions = 0
        for file, board in dashboards(self.root).items():
            for panel in panels(board):
                count += 1
                empty = []
                for target in panel["targets"]:
                    expressions += 1
                    expr = scaled.panel(target["expr"], span)
                    if not self.prometheus.series(expr, start, end, 1):
                        empty.append(expr)
                with_data += promise(f"{file}: {panel['title']} has data", not empty, empty)
            for note in board["annotations"]["list"]:
                expr = scaled.panel(note["expr"], span)
                promise(f"{file}: annotation {note['name']} has data", self.prometheus.series(expr, start, end, 0.5), expr)
            for variable in board["templating"]["list"]:
                if variable["type"] == "query":
                    selector, label = variable["query"]["query"].removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
                    values = self.prometheus.get(
                        f"/api/v1/label/{label}/values", **{"match[]": scaled.panel(selector, span), "start": start, "end": end})
                    promise(f"{file}: variable {variable['name']} has values", values, selector)
        print(f"panels: {count} checked, {with_data} with data ({expressions} expressions)", flush=True)

    def check_sight(self) -> None:
        """That the story was what it claims to be, as Prometheus has seen it."""
        start, end = self.moments["start"], self.moments["end"]
        seen = lambda metric, label: {
            labels[label] for labels, points in self.prometheus.series(metric, start, end, 1) if any(value > 0 for _, value in points)
        }
        outcomes = seen("sum by (outcome) (keywheel_verifications_total)", "outcome")
        wanted = {"accepted", "expired", "missing_token", "wrong_audience", "bad_signature", "unknown_key", "revoked", "keys_unavailable"}
        promise("tokens met these verdicts", wanted <= outcomes, wanted - outcomes)
        causes = seen("sum by (cause) (keywheel_transitions_total)", "cause")
        wanted = {"first_start", "operator", "revocation", "schedule"}
        promise("keys changed for these causes", wanted <= causes, wanted - causes)
        sign_ins = seen("sum by (outcome) (keywheel_sign_ins_total)", "outcome")
        wanted = {"signed_in", "invalid_credentials", "busy"}
        promise("sign-ins ended like this", wanted <= sign_ins, wanted - sign_ins)
        results = seen("sum by (result) (keywheel_jwks_fetches_total)", "result")
        promise("key sets were pushed, and could not be had", {"pushed", "transport"} <= results, results)
        lines = seen("sum by (result) (keywheel_audit_lines_total)", "result")
        promise("audit lines were written, summed and lost", {"written", "suppressed", "lost"} <= lines, lines)
        promise("the backend answered with these", {("backend", 200), ("backend", 401), ("backend", 403)} <= self.statuses, self.statuses)
        promise("the gate answered with these", {("gate", 200), ("gate", 401)} <= self.statuses, self.statuses)

    def check_metrics(self) -> None:
        for name in ("serve", "gate", "backend"):
            client = Client(self.port[f"{name}-admin"])
            text = client.ask("GET", "/metrics")[1].decode()
            client.close()
            ran = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
            promise(f"promtool check metrics of the {name}", ran.returncode == 0 and "keywheel_" in text, ran.stdout + ran.stderr)


def tell(root: Path, home: Path, keywheel: str, backend: str, then=None) -> None:
    story = Story(root, home, keywheel, backend)
    try:
        story.set_up()
        story.play()
        story.check_metrics()
        story.check_sight()
        story.check_panels()
        story.check_alerts()
        if then:
            then(story)
    except Exception:
        for log in sorted(home.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-800:]}")
        raise
    finally:
        story.world.end()
        shutil.rmtree(home / "prometheus/data", ignore_errors=True)
