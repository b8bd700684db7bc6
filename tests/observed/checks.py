"""What can be checked without running anything: dashboards, alerts, their tests and their runbook against each other."""

import re
import subprocess
import sys
from pathlib import Path

from promise import promise
from prometheus import dashboards, panels

# Of Prometheus itself, or of its text format.
OTHER_LABELS = {"job", "instance", "le", "alertname", "alertstate", "severity"}
OTHER_METRICS = {"up", "ALERTS"}
HISTOGRAM_PARTS = ("_bucket", "_count", "_sum")
PANEL_TYPES = {"timeseries", "stat", "state-timeline"}
BUILT_IN = {"__rate_interval", "__range"}


def documented(root: Path) -> dict[str, set[str]]:
    """Labels by metric, by the page of metrics."""
    found = {}
    for line in (root / "docs/metrics.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[1] in ("counter", "gauge", "histogram"):
            names = [cells[0].strip("`")]
            if cells[1] == "histogram":
                names = [names[0] + part for part in HISTOGRAM_PARTS]
            for name in names:
                found[f"keywheel_{name}"] = set(re.findall(r"`(\w+)`", cells[2]))
    return found


def alerts(root: Path) -> dict[str, str]:
    """The text of each rule that alerts, by its name."""
    text = (root / "grafana/alerts/keywheel.rules.yml").read_text()
    found = {}
    for block in re.split(r"(?m)^      - (?=alert: |record: )", text)[1:]:
        block = re.split(r"(?m)^  - name: ", block)[0]
        if named := re.match(r"alert: (\w+)\n", block):
            found[named[1]] = block
    return found


def expression(rule: str) -> str:
    return re.search(r"(?s)expr: \|?\s*(.*?)\n        for: ", rule)[1]


def metrics_of(expr: str) -> set[str]:
    bare = re.sub(r'"[^"]*"', '""', expr)
    return set(re.findall(r"(?<![\w:])(keywheel_\w+|up|ALERTS)\b", bare))


def labels_of(expr: str) -> set[str]:
    grouped = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expr)
    matched = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expr)
    return set(matched) | {label.strip() for group in grouped for label in group.split(",") if label.strip()}


def check_expression(name: str, expr: str, known: dict[str, set[str]]) -> set[str]:
    used = metrics_of(expr)
    unknown = used - known.keys() - OTHER_METRICS
    promise(f"{name}: its metrics are in docs/metrics.md", not unknown, unknown)
    allowed = OTHER_LABELS.union(*(known.get(metric, set()) for metric in used))
    promise(f"{name}: its labels are those of its metrics", labels_of(expr) <= allowed, labels_of(expr) - allowed)
    return used


def check_dashboard(file: str, board: dict, known: dict[str, set[str]]) -> set[str]:
    used: set[str] = set()
    every = board["panels"]
    ids = [panel["id"] for panel in every]
    promise(f"{file}: ids are unique", len(ids) == len(set(ids)), ids)
    titles = [panel["title"] for panel in panels(board)]
    promise(f"{file}: titles are unique", len(titles) == len(set(titles)), titles)
    taken: dict[tuple[int, int], int] = {}
    for panel in every:
        at = panel["gridPos"]
        promise(f"{file}: panel {panel['id']} is within the grid", 0 <= at["x"] and at["x"] + at["w"] <= 24 and at["h"] > 0, at)
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            other = taken.setdefault(cell, panel["id"])
            if other != panel["id"]:
                promise(f"{file}: panels {other} and {panel['id']} do not overlap", False, cell)
                break
    variables = {one["name"] for one in board["templating"]["list"]}
    mentioned: set[str] = set()
    for panel in panels(board):
        name = f"{file}: {panel['title']}"
        promise(f"{name}: a known type", panel["type"] in PANEL_TYPES, panel["type"])
        promise(f"{name}: a description", len(panel.get("description", "")) > 10)
        promise(f"{name}: a unit", panel["fieldConfig"]["defaults"].get("unit"))
        refs = [target["refId"] for target in panel["targets"]]
        promise(f"{name}: targets", refs and len(refs) == len(set(refs)), refs)
        for target in panel["targets"]:
            used |= check_expression(name, target["expr"], known)
            mentioned |= set(re.findall(r"\$\{?(\w+)", target["expr"]))
            promise(f"{name}: of the chosen data source", target["datasource"]["uid"] == "${datasource}", target["datasource"])
    for note in board["annotations"]["list"]:
        check_expression(f"{file}: annotation {note['name']}", note["expr"], known)
    for one in board["templating"]["list"]:
        mentioned |= set(re.findall(r"\$\{?(\w+)", str(one["query"])))
    mentioned -= BUILT_IN
    promise(f"{file}: variables that are used exist", mentioned <= variables, mentioned - variables)
    promise(f"{file}: variables that exist are used", variables - {"datasource"} <= mentioned, variables - mentioned)
    return used


def promtool(*args: str, stdin: str | None = None) -> str:
    """Nothing if it is content, else what it says."""
    ran = subprocess.run(["promtool", *args], capture_output=True, text=True, input=stdin)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr or "failed"


def check(root: Path) -> None:
    grafana = root / "grafana"
    made = subprocess.run([sys.executable, grafana / "generate.py", "--check"], capture_output=True, text=True)
    promise("the dashboards are what generate.py makes", made.returncode == 0, made.stderr)
    known = documented(root)
    promise("docs/metrics.md has metrics", len(known) > 30, known)
    boards = dashboards(root)
    shown: set[str] = set()
    for file, board in boards.items():
        shown |= check_dashboard(file, board, known)
    families = lambda names: {name if name in known else "?" for name in names} and {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}
    promise("every metric is on a panel", families(known) <= families(shown), families(known) - families(shown))

    uids = {board["uid"] for board in boards.values()}
    for file, board in boards.items():
        links = {link["url"].removeprefix("/d/") for link in board["links"]}
        promise(f"{file}: links to the others", links == uids - {board["uid"]}, links)
    runbook = (root / "docs/alerts.md").read_text()
    anchors = {title.lower() for title in re.findall(r"(?m)^##+ (\w+)$", runbook)}
    tests = "".join(path.read_text() for path in sorted((grafana / "alerts/tests").glob("*.yml")))
    rules = alerts(root)
    promise("there are alerts", len(rules) >= 15, rules.keys())
    for name, rule in rules.items():
        check_expression(name, expression(rule), known)
        promise(f"{name}: a severity", re.search(r"severity: (warning|critical)\n", rule))
        for part in ("summary", "description"):
            promise(f"{name}: a {part}", re.search(rf"{part}: ['\"].{{20}}", rule))
        anchor = re.search(r"runbook_url: \S+/docs/alerts\.md#(\w+)\n", rule)
        promise(f"{name}: a runbook of its own", anchor and anchor[1] == name.lower() and anchor[1] in anchors, anchor)
        board = re.search(r"dashboard: \S+/d/([\w-]+)\?", rule)
        promise(f"{name}: a dashboard that exists", board and board[1] in uids, board)
        cases = re.findall(rf"alertname: {name}\n        exp_alerts:( \[\])?", tests)
        promise(f"{name}: tested to fire, and to be quiet", "" in cases and " []" in cases, cases)
    left = anchors & {title for title in anchors if title.startswith("keywheel")} - {name.lower() for name in rules}
    promise("docs/alerts.md has no alert that is gone", not left, left)

    for args in (["check", "config", grafana / "prometheus.yml"], ["check", "rules", grafana / "alerts/keywheel.rules.yml"]):
        promise(f"promtool {args[0]} {args[1]}", not (said := promtool(*map(str, args))), said)
    for file in sorted((grafana / "alerts/tests").glob("*.yml")):
        promise(f"promtool test rules {file.name}", not (said := promtool("test", "rules", str(file))), said)
