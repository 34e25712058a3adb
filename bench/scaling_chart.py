"""Model and reality of scaling, one above the other, as an SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import pairwise

from richmond.sim.world import Look, Run

WIDTH, PLOT, GAP, LEFT = 900, 90, 34, 56
COLOURS = {"model": "#2a78d6", "reality": "#e07b00"}
PANELS: tuple[tuple[str, Callable[[Look], float]], ...] = (
    ("messages that wait", lambda look: look.waiting),
    ("workers", lambda look: look.workers),
)


def draw(found: dict[str, tuple[Run, Run]]) -> str:
    height = len(found) * (len(PANELS) * (PLOT + GAP) + GAP) + GAP
    font = 'font-family="sans-serif" font-size="12" fill="#555"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {font}>',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for n, (kind, colour) in enumerate(COLOURS.items()):
        parts.append(f'<text x="{LEFT + 90 * n}" y="18" fill="{colour}" font-weight="bold">{kind}</text>')
    y = float(GAP)
    for name, runs in found.items():
        for title, value in PANELS:
            parts += _panel(f"{name}: {title}", [(run.looks, value) for run in runs], y)
            y += PLOT + GAP
        y += GAP
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(title: str, series: Sequence[tuple[Sequence[Look], Callable[[Look], float]]], top: float) -> Iterator[str]:
    most = max(1.0, *(value(look) for looks, value in series for look in looks))
    end = max(look.at for looks, _ in series for look in looks)
    bottom = top + GAP / 2 + PLOT

    def point(at: float, height: float) -> str:
        return f"{LEFT + (WIDTH - LEFT - 10) * at / end:.1f},{bottom - PLOT * height / most:.1f}"

    yield f'<text x="{LEFT}" y="{top + 10:.0f}">{escape(title)}</text>'
    yield f'<text x="{LEFT - 6}" y="{bottom - PLOT + 10:.0f}" text-anchor="end">{most:g}</text>'
    yield f'<text x="{LEFT - 6}" y="{bottom:.0f}" text-anchor="end">0</text>'
    yield f'<text x="{WIDTH - 10}" y="{bottom + 13:.0f}" text-anchor="end">{end:.0f} s</text>'
    yield f'<line x1="{LEFT}" y1="{bottom}" x2="{WIDTH - 10}" y2="{bottom}" stroke="#bbb"/>'
    for (looks, value), colour in zip(series, COLOURS.values(), strict=True):
        points = []
        for before, look in pairwise(looks):  # steps: what is between two looks nobody knows
            points += [point(before.at, value(before)), point(look.at, value(before))]
        yield f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
