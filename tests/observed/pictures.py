"""Draws each dashboard from the story's data: one PNG with a panel a cell, placed and coloured as its JSON says."""

import math
import re
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import scaled
from prometheus import dashboards

INK, PAPER, CARD, GRID = "#CCCCDC", "#111217", "#181B1F", "#2A2E35"
PALETTE = ["#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#705DA0", "#37872D", "#FADE2A"]


def number(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{100 * value:.1f} %"
    if unit == "s":
        return f"{value * 1e6:.0f} µs" if abs(value) < 1e-3 else f"{value * 1e3:.1f} ms" if abs(value) < 1 else f"{value:.1f} s"
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}" + ("/s" if unit in ("ops", "reqps") else "")


def name_of(legend: str, labels: dict[str, str]) -> str:
    if legend == "__auto":
        return ", ".join(value for key, value in labels.items() if key != "__name__") or "value"
    return re.sub(r"\{\{(\w+)\}\}", lambda m: labels.get(m[1], ""), legend)


def broken(times: list[float], values: list[float]) -> tuple[list[float], list[float]]:
    """A gap is a gap, and no line across it."""
    made: tuple[list[float], list[float]] = ([], [])
    for at, value in zip(times, values):
        if made[0] and at - made[0][-1] > 0.75:
            made[0].append(made[0][-1] + 0.5)
            made[1].append(math.nan)
        made[0].append(at)
        made[1].append(value)
    return made


class Album:
    def __init__(self, story):
        self.prometheus = story.prometheus
        self.start, self.end = story.moments["start"], story.moments["end"]
        self.marks = story.moments
        ports = {str(port): name for name, port in story.port.items()}
        self.rename = lambda text: re.sub(r"127\.0\.0\.1:(\d+)", lambda m: ports.get(m[1], m[1]), text)

    def lines(self, panel):
        for target in panel["targets"]:
            expr = scaled.panel(target["expr"], int(self.end - self.start))
            for labels, points in self.prometheus.series(expr, self.start, self.end, 0.5):
                yield self.rename(name_of(target["legendFormat"], labels)), [at - self.start for at, _ in points], [v for _, v in points]

    def style(self, panel, name: str, n: int) -> dict:
        style = {"color": PALETTE[n % len(PALETTE)]}
        for override in panel["fieldConfig"]["overrides"]:
            how, what = override["matcher"]["id"], override["matcher"]["options"]
            if name == what if how == "byName" else re.search(what, name):
                for one in override["properties"]:
                    if one["id"] == "color":
                        style["color"] = one["value"]["fixedColor"]
                    if one["id"] == "custom.lineStyle":
                        style["linestyle"] = "--"
        return style

    def timeseries(self, ax, panel):
        field = panel["fieldConfig"]["defaults"]
        custom, unit = field["custom"], field["unit"]
        found = list(self.lines(panel))
        stacked = custom["stacking"]["mode"] == "normal"
        step = "steps-post" if custom["lineInterpolation"] == "stepAfter" else "default"
        base: dict[float, float] = {}
        for n, (name, times, values) in enumerate(found):
            times, values = broken(times, values)
            style = self.style(panel, name, n)
            label = f"{name}: {number(values[-1], unit)}, max {number(max(value for value in values if value == value), unit)}"
            below = [base.get(at, 0.0) if stacked else 0.0 for at in times]
            top = [low + value for low, value in zip(below, values)]
            if custom["drawStyle"] == "bars":
                ax.bar(times, values, width=0.5, bottom=below, label=label, color=style["color"])
            else:
                ax.plot(times, top, linewidth=1, drawstyle=step, label=label, **style)
                if stacked:
                    ax.fill_between(times, below, top, alpha=0.35, color=style["color"], linewidth=0)
            base.update(zip(times, top)) if stacked else None
        if field.get("min") == 0:
            ax.set_ylim(bottom=0)
        if "max" in field:
            ax.set_ylim(top=field["max"] * 1.05)
        ax.set_xlim(0, self.end - self.start)
        ax.yaxis.set_major_formatter(lambda value, _: number(value, unit))
        for mark in ("rotated", "revoked", "outage", "back"):
            ax.axvline(self.marks[mark] - self.start, color="#5794F2", linewidth=0.6, linestyle=":")
        if found:
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), fontsize=5, ncols=2, frameon=False, labelcolor=INK)
        ax.grid(color=GRID, linewidth=0.5)

    def stat(self, ax, panel):
        field = panel["fieldConfig"]["defaults"]
        found = list(self.lines(panel))
        for n, (name, times, values) in enumerate(found):
            at = 1 - (n + 0.5) / len(found)
            color = next((step["color"] for step in reversed(field["thresholds"]["steps"]) if step["value"] is None or values[-1] >= step["value"]), INK)
            shown = number(values[-1], field["unit"])
            for mapping in field["mappings"]:
                shown = mapping["options"].get(shown, {}).get("text", shown)
            if panel["options"]["textMode"] == "value_and_name" or len(found) > 1:
                shown = f"{name}  {shown}"
            ax.text(0.5, at, shown, ha="center", va="center", color=color, fontsize=15 if len(found) == 1 else 9, transform=ax.transAxes)
        ax.set_axis_off()

    def timeline(self, ax, panel):
        states = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
        found = sorted(self.lines(panel))
        for row, (name, times, values) in enumerate(found):
            for at, value in zip(times, values):
                ax.barh(row, 0.55, left=at, height=0.85, color=states.get(f"{value:.0f}", {}).get("color", "#FF00FF"), linewidth=0)
            ax.text(0.3, row, name[:40], color="#FFFFFF", fontsize=5, va="center")
        ax.set_yticks([])
        ax.set_xlim(0, self.end - self.start)
        ax.invert_yaxis()
        handles = [plt.Rectangle((0, 0), 1, 1, color=state["color"]) for state in states.values()]
        ax.legend(handles, [state["text"] for state in states.values()], fontsize=5, ncols=4, frameon=False, labelcolor=INK, loc="upper center", bbox_to_anchor=(0.5, -0.08))

    def board(self, board, path: Path) -> None:
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
        figure = plt.figure(figsize=(18, rows * 0.42), facecolor=PAPER)
        grid = figure.add_gridspec(rows, 24, left=0.03, right=0.99, top=1 - 1.2 / rows, bottom=0.01, hspace=0.2, wspace=1.2)
        figure.suptitle(board["title"], color=INK, fontsize=14)
        draw = {"timeseries": self.timeseries, "stat": self.stat, "state-timeline": self.timeline}
        for panel in board["panels"]:
            at = panel["gridPos"]
            if panel["type"] == "row":
                ax = figure.add_subplot(grid[at["y"], :])
                ax.text(0, 0.3, panel["title"], color=INK, fontsize=11, weight="bold", transform=ax.transAxes)
                ax.set_axis_off()
                continue
            # A margin below, where Grafana has the legend.
            bottom = at["y"] + at["h"] - (2 if at["h"] > 4 else 1)
            ax = figure.add_subplot(grid[at["y"] + 1 : max(bottom, at["y"] + 2), at["x"] : at["x"] + at["w"]])
            ax.set_facecolor(CARD)
            ax.tick_params(colors=INK, labelsize=6)
            ax.set_title(textwrap.shorten(panel["title"], 60), color=INK, fontsize=8, loc="left")
            draw[panel["type"]](ax, panel)
        figure.savefig(path, dpi=90, facecolor=PAPER)
        plt.close(figure)


def draw(story, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    album = Album(story)
    for name, board in dashboards(story.root).items():
        album.board(board, folder / f"{name}.png")
        print(f"picture: {folder / name}.png")
