"""A Prometheus of one's own, asked over its HTTP API."""

import json
import math
import urllib.parse
import urllib.request
from pathlib import Path


class Prometheus:
    def __init__(self, port: int):
        self.base = f"http://127.0.0.1:{port}"
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str, **params) -> object:
        url = f"{self.base}{path}?{urllib.parse.urlencode(params, doseq=True)}"
        try:
            with self.opener.open(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{params}: {error.read().decode()[:500]}") from error

    def ready(self) -> bool:
        with self.opener.open(f"{self.base}/-/ready", timeout=5) as answer:
            return answer.status == 200

    def targets(self) -> dict[str, str]:
        """Health by instance."""
        return {one["labels"]["instance"]: one["health"] for one in self.get("/api/v1/targets")["activeTargets"]}

    def series(self, expr: str, start: float, end: float, step: float) -> list[tuple[dict, list[tuple[float, float]]]]:
        """Labels and points, those that are no number left out."""
        found = self.get("/api/v1/query_range", query=expr, start=start, end=end, step=step)["result"]
        every = [(one["metric"], [(at, float(value)) for at, value in one["values"]]) for one in found]
        finite = [(labels, [point for point in points if not math.isnan(point[1])]) for labels, points in every]
        return [(labels, points) for labels, points in finite if points]

    def firing(self, start: float, end: float) -> dict[str, list[tuple[str, float, float]]]:
        """By alert: for which instance or job it fired, from when, until when."""
        found: dict[str, list[tuple[str, float, float]]] = {}
        for labels, points in self.series('ALERTS{alertstate="firing"}', start, end, 0.25):
            whose = labels.get("instance") or labels.get("job", "")
            found.setdefault(labels["alertname"], []).append((whose, points[0][0], points[-1][0]))
        return found


def dashboards(root: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in sorted((root / "grafana/dashboards").glob("*.json"))}


def panels(dashboard: dict) -> list[dict]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]
