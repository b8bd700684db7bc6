"""The production files with a minute made a second, so that a story of a minute is a story of an hour to them.

Only times are changed: ranges, offsets, `for`, intervals, and seconds that are written as minutes (`N * 60`). Rates and shares are
what they are. A week is more than any story has: it becomes half a minute, so that `offset 1w` looks back at the story's quiet
beginning.
"""

import re

UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
WEEK_MS = 30_000
FASTER = 60
RATE_INTERVAL = "2s"


def duration(text: str) -> str:
    amount, unit = re.fullmatch(r"(\d+)(ms|[smhdw])", text).groups()
    return f"{WEEK_MS if unit == 'w' else int(amount) * UNITS_MS[unit] // FASTER}ms"


def promql(text: str) -> str:
    text = re.sub(r"\[(\d+[smhdw])\]", lambda m: f"[{duration(m[1])}]", text)
    return re.sub(r"\boffset (\d+[smhdw])\b", lambda m: f"offset {duration(m[1])}", text)


def rules(text: str) -> str:
    text = re.sub(r"(?m)^(\s*for: )(\d+[smhd])$", lambda m: m[1] + duration(m[2]), promql(text))
    return re.sub(r"\b(\d+) \* 60\b", r"\1 * 1", text)


def config(text: str) -> str:
    return re.sub(r"(_interval: )(\d+[smh])", lambda m: m[1] + duration(m[2]), text)


def panel(expr: str, seconds: int) -> str:
    """As Grafana would ask it, with every variable at "All"."""
    expr = promql(expr).replace("$__rate_interval", RATE_INTERVAL).replace("$__range", f"{seconds}s")
    return re.sub(r"\$\w+", ".*", expr)
