"""What `richmond top` shows: a Snapshot, and what has become of it over the last minutes, as one frame of text (rich).

It only computes: no clock but the one that says how long Richmond is up, no terminal, no keys.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from richmond.supervisor.status import Slot, Snapshot, WorkerClass
from richmond.view import COLOURS, duration

KEPT = 180  # points, one a second
SORTS = ("name", "CPU", "memory", "rate", "uptime")
KEYS = "q quit   arrows select   + - scale   r restart   s sort"
_BARS = "▁▂▃▄▅▆▇█"
_SPARKS = 24  # columns of a sparkline, at most


class Point(NamedTuple):
    """One class at one moment. None: not known."""

    depth: int | None
    rate: float | None  # messages/s
    workers: int


class History:
    """The last minutes of one master."""

    def __init__(self) -> None:
        self._pid = 0
        self._at = 0.0
        self._done: dict[str, tuple[int | None, int]] = {}  # by class and slot: pid, messages
        self._points: dict[str, deque[Point]] = {}
        self.rates: dict[str, float] = {}  # by class and slot, messages/s

    def add(self, snapshot: Snapshot, now: float) -> None:
        """`now`: monotonic seconds."""
        if snapshot.pid != self._pid:
            self._pid, self._at = snapshot.pid, 0.0
            self._done.clear()
            self._points.clear()
        done: dict[str, tuple[int | None, int]] = {}
        for cls in snapshot.classes:
            done[cls.name] = (None, cls.handled + cls.failed)
            done |= {slot.name: (slot.pid, slot.handled + slot.failed) for slot in cls.slots}
        passed = now - self._at if self._at else 0.0
        self.rates = {
            name: max(0, count - self._done[name][1]) / passed
            for name, (pid, count) in done.items()
            if passed > 0 and name in self._done and self._done[name][0] == pid
        }
        self._at, self._done = now, done
        depths = {q.purpose: q for q in snapshot.queues}
        for cls in snapshot.classes:
            its = depths.get(cls.name)
            if cls.name not in self.rates and its is not None and its.out_rate is not None:
                self.rates[cls.name] = its.out_rate  # as the master saw it, until there is a second look
            point = Point(its.ready if its else None, self.rates.get(cls.name), cls.running)
            self._points.setdefault(cls.name, deque(maxlen=KEPT)).append(point)

    def points(self, name: str) -> Sequence[Point]:
        return self._points.get(name, ())


@dataclass(frozen=True, slots=True)
class View:
    """What is on the screen."""

    snapshot: Snapshot | None = None
    selected: str = ""  # a class
    sort: str = SORTS[0]
    message: str = ""  # the answer to the last key
    trouble: str = ""  # why there is no news from the master
    live: bool = True
    rates: Mapping[str, float] = field(default_factory=dict)

    def classes(self) -> Sequence[WorkerClass]:
        return self.snapshot.classes if self.snapshot is not None else ()

    def chosen(self) -> WorkerClass | None:
        return next((c for c in self.classes() if c.name == self.selected), next(iter(self.classes()), None))

    def moved(self, by: int) -> View:
        names = [cls.name for cls in self.classes()]
        chosen = self.chosen()
        if chosen is None:
            return self
        at = names.index(chosen.name) + by
        return replace(self, selected=names[max(0, min(len(names) - 1, at))])


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The last `width` values as bars up to their maximum, the lowest one for 0; what is not known is a gap."""
    shown = list(values)[-width:] if width > 0 else []
    top = max((value for value in shown if value), default=1)
    return "".join(" " if v is None else _BARS[min(7, math.ceil(7 * v / top))] for v in shown).rjust(max(0, width))


def frame(view: View, history: History, width: int, height: int) -> RenderableType:
    """All of it, in so many columns and lines."""
    if view.snapshot is None:
        return Group(Text(view.trouble or "asking the master ...", style="bold red" if view.trouble else ""))
    s = view.snapshot
    head = [_title(view, s), _links(s)]
    notes = [Text(f"! {problem}", style="bold red", overflow="ellipsis", no_wrap=True) for problem in s.problems]
    if view.trouble:
        notes.insert(0, Text(f"! {view.trouble}", style="bold red", overflow="ellipsis", no_wrap=True))
    foot = [Text(view.message, style="cyan", no_wrap=True), Text(KEYS, style="dim", no_wrap=True)] if view.live else []
    left = height - len(head) - len(foot) - 4  # two headers, two empty lines
    notes = notes[: max(1, left // 4)] if view.live else notes
    left -= len(notes)
    classes = _window(view, max(2, left // 2) if view.live else len(s.classes))
    slots = _sorted_slots(view)
    room = max(1, left - len(classes)) if view.live else len(slots)
    rest = len(slots) - room
    shown = slots if rest <= 0 else slots[: room - 1]
    parts: list[RenderableType] = [*head, *notes, Text(""), _class_table(view, classes, history, width), Text("")]
    parts.append(_slot_table(view, shown))
    if rest > 0:
        parts.append(Text(f"... {len(slots) - len(shown)} more workers", style="dim", no_wrap=True))
    return Group(*parts, *foot)


def _title(view: View, s: Snapshot) -> Text:
    up = duration(time.time() - s.started)
    text = Text(f"richmond {s.version}  pid {s.pid}, {s.phase}, up {up}  ", no_wrap=True, overflow="ellipsis")
    if view.trouble:
        return text.append("no news", style="bold red")
    return text.append(*(("something is wrong", "bold red") if s.problems else ("all is well", "green")))


def _links(s: Snapshot) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    for link in s.links:
        text.append(f"{link.name} {link.address} ").append(link.state, style=COLOURS.get(link.state, "")).append("   ")
    return text


def _window(view: View, room: int) -> Sequence[WorkerClass]:
    """So many classes, the chosen one among them."""
    classes, chosen = view.classes(), view.chosen()
    at = next((i for i, cls in enumerate(classes) if cls is chosen), 0)
    start = max(0, min(at - room // 2, len(classes) - room))
    return classes[start : start + room]


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True, overflow="ellipsis")
    return table


def _class_table(view: View, classes: Sequence[WorkerClass], history: History, width: int) -> Table:
    numbers = ("running", "depth", "rate/s", "failed")
    longest = max((len(cls.name) for cls in classes), default=0)
    sparks = max(0, min(_SPARKS, (width - longest - 50) // 3))
    names = ("depth trend", "rate trend", "workers trend")
    graphs = tuple(name[:sparks] for name in names) if sparks >= len("workers") else ()
    table = _table("", "class", *numbers, *graphs, right=numbers)
    for cls in classes:
        points = history.points(cls.name)
        depth, rate = (points[-1].depth, points[-1].rate) if points else (None, None)
        lines = (
            sparkline([p.depth for p in points], sparks),
            sparkline([p.rate for p in points], sparks),
            sparkline([p.workers for p in points], sparks),
        )
        chosen = view.live and cls is view.chosen()
        style = "" if cls.running >= cls.target else "yellow" if cls.running else "bold red"
        table.add_row(
            ">" if chosen else "",
            Text(cls.name, style="reverse" if chosen else ""),
            Text(f"{cls.running}/{cls.target}{' pin' if cls.pinned else ''}", style=style),
            _number(depth),
            _number(rate),
            str(cls.failed),
            *(Text(line, style="cyan") for line in lines[: len(graphs)]),
        )
    return table


def _sorted_slots(view: View) -> Sequence[Slot]:
    keys: Mapping[str, Callable[[Slot], Any]] = {
        "CPU": lambda slot: -(slot.cpu_percent or 0),
        "memory": lambda slot: -(slot.memory_bytes or 0),
        "rate": lambda slot: -view.rates.get(slot.name, 0),
        "uptime": lambda slot: slot.uptime_s,
    }
    slots = [slot for cls in view.classes() for slot in cls.slots]
    return sorted(slots, key=keys[view.sort]) if view.sort in keys else slots


def _slot_table(view: View, slots: Sequence[Slot]) -> Table:
    numbers = ("pid", "uptime", "CPU", "memory", "rate/s", "handled")
    table = _table("worker", "state", *numbers, "last error", right=numbers)
    for slot in slots:
        table.add_row(
            slot.name,
            Text(slot.state, style=COLOURS.get(slot.state, "")),
            _number(slot.pid),
            duration(slot.uptime_s),
            "-" if slot.cpu_percent is None else f"{slot.cpu_percent:.1f} %",
            "-" if slot.memory_bytes is None else f"{slot.memory_bytes / 2**20:.0f} MB",
            _number(view.rates.get(slot.name)),
            str(slot.handled),
            Text(slot.last_error),
        )
    for column in table.columns:
        if column.header == view.sort or (view.sort, column.header) in (("name", "worker"), ("rate", "rate/s")):
            column.header = f"{column.header}*"
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.1f}"
