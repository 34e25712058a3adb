"""SVG charts of what the benchmark has found: `python -m bench chart FILE.json DIRECTORY`. No measuring.

Plain SVG by hand: a bar chart needs no library, and reads well in light and dark pages this way.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from bench.report import BASELINE, Cell, cells

WIDTH = 840
LABEL = 170  # the names, left of the bars
VALUE = 330  # the figures, right of them
ROW, BAR = 26, 16
GROUP = 34  # a group's heading
HEAD = 52
FOOT = 16

STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #57606a }
.title { font-size: 16px; font-weight: 600; fill: #1f2328 }
.group { font-weight: 600; fill: #1f2328 }
.ours { font-weight: 600; fill: #1f2328 }
.fault { fill: #cf222e }
.bar { fill: #b6bfc9 }
.bar-ours { fill: #1f883d }
.tail { fill: none; stroke: #57606a; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
text { fill: #9198a1 }
.title, .group, .ours { fill: #f0f6fc }
.fault { fill: #ff7b72 }
.bar { fill: #4b535d }
.bar-ours { fill: #2ea043 }
.tail { stroke: #9198a1 }
}
"""


@dataclass(frozen=True, slots=True)
class Bar:
    name: str
    value: float
    text: str
    tail: float | None = None  # a whisker from the bar's end to here
    fault: str = ""


def _bar(cell: Cell, value: float, text: str, tail: float | None = None) -> Bar:
    counts = {
        "not answered in 5 s": cell.counts["lost"],
        "wrong": cell.counts["wrong"],
        "twice": cell.counts["duplicate"],
    }
    fault = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return Bar(cell.system, value, text, tail, fault)


def _rate(cell: Cell) -> Bar:
    return _bar(cell, cell["rate"], f"{cell['rate']:,.0f}")


def _latency(cell: Cell) -> Bar:
    p50, p99 = cell["p50_ms"], cell["p99_ms"]
    return _bar(cell, p50, f"{_ms(p50)}, p99 {_ms(p99)}", p99)


def _cpu(cell: Cell) -> Bar:
    return _bar(cell, cell.cpu_ms, f"{cell.cpu_ms:,.0f}")


def _memory(cell: Cell) -> Bar:
    return _bar(cell, cell["uss_worker_mb"], f"{cell['uss_worker_mb']:.1f}")


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


# File, title, kind of the scenarios in it, logarithmic, the bar of a cell, only the first scenario.
CHARTS: tuple[tuple[str, str, str, bool, Callable[[Cell], Bar], bool], ...] = (
    ("throughput", "Messages a second, there and back (more is better)", "closed", False, _rate, False),
    ("latency", "Latency in ms: bar p50, line to p99, logarithmic (less is better)", "open", True, _latency, False),
    ("cpu", "CPU ms for 1,000 messages, RabbitMQ apart (less is better)", "closed", False, _cpu, False),
    ("memory", "Memory of a worker, MB USS (less is better)", "closed", False, _memory, True),
)


def heading(scenario: str) -> str:
    kind, amount = scenario.split(":")
    return f"{int(amount):,} sessions at once" if kind == "closed" else f"{int(amount):,} messages/s"


def svg(title: str, groups: dict[str, list[Bar]], logarithmic: bool) -> str:
    """One bar chart; all groups on one scale."""
    bars = [bar for group in groups.values() for bar in group]
    most = max(bar.tail or bar.value for bar in bars) or 1.0
    least = min(bar.value for bar in bars) / 2 if logarithmic else 0.0
    room = WIDTH - LABEL - VALUE

    def x(value: float) -> float:
        share = math.log(value / least) / math.log(most / least) if logarithmic else value / most
        return LABEL + room * share

    out = [f'<text class="title" x="12" y="28">{escape(title)}</text>']
    y = HEAD
    for name, group in groups.items():
        if name:
            out.append(f'<text class="group" x="12" y="{y + 14}">{escape(name)}</text>')
            y += GROUP - 8
        for bar in group:
            out += _row(bar, x, y)
            y += ROW
        y += 12
    height = y + FOOT - 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        f' role="img" aria-label="{escape(title)}">\n<style>{STYLE}</style>\n' + "\n".join(out) + "\n</svg>\n"
    )


def _row(bar: Bar, x: Callable[[float], float], y: int) -> list[str]:
    ours = bar.name == BASELINE
    text = "ours" if ours else "plain"
    middle, base = y + BAR / 2, y + 13
    end = x(bar.value)
    fill = "bar-ours" if ours else "bar"
    out = [
        f'<text class="{text}" x="{LABEL - 10}" y="{base}" text-anchor="end">{escape(bar.name)}</text>',
        f'<rect class="{fill}" x="{LABEL}" y="{y}" width="{max(end - LABEL, 1):.1f}" height="{BAR}" rx="2"/>',
    ]
    if bar.tail is not None:
        tail = x(bar.tail)
        out.append(f'<path class="tail" d="M{end:.1f} {middle}H{tail:.1f}M{tail:.1f} {middle - 4}v8"/>')
        end = tail
    fault = f'<tspan class="fault" dx="8">{escape(bar.fault)}</tspan>' if bar.fault else ""
    out.append(f'<text class="{text}" x="{end + 8:.1f}" y="{base}">{escape(bar.text)}{fault}</text>')
    return out


def draw(document: dict[str, Any], directory: Path) -> list[Path]:
    """Write the charts that there are figures for."""
    found = {scenario: [c for c in its if c.medians] for scenario, its in cells(document["runs"]).items()}
    written = []
    for name, title, kind, logarithmic, bar, first in CHARTS:
        scenarios = [s for s, its in found.items() if s.startswith(kind) and its][: 1 if first else None]
        if not scenarios:
            continue
        groups = {"" if first else heading(s): [bar(cell) for cell in found[s]] for s in scenarios}
        path = directory / f"{name}.svg"
        path.write_text(svg(title, groups, logarithmic), encoding="utf-8")
        written.append(path)
    return written


def main(arguments: list[str]) -> None:
    p = argparse.ArgumentParser(prog="python -m bench chart", description="Draw what `python -m bench --out` found.")
    p.add_argument("file", type=Path, metavar="FILE.json")
    p.add_argument("directory", type=Path, metavar="DIRECTORY")
    o = p.parse_args(arguments)
    o.directory.mkdir(parents=True, exist_ok=True)
    for path in draw(json.loads(o.file.read_text()), o.directory):
        print(path)
