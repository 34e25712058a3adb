"""A Snapshot as tables for a terminal (rich). No facts of its own: --json has the same ones."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from richmond.supervisor.status import Snapshot

PIPE_WIDTH = 200  # where nobody looks at a terminal, no line is cut to its width

_COLOURS = {
    "RUNNING": "green",
    "up": "green",
    "STARTING": "yellow",
    "BACKOFF": "yellow",
    "STOPPING": "yellow",
    "connecting": "yellow",
    "logging-in": "yellow",
    "starting": "yellow",
    "FATAL": "bold red",
    "off": "dim",
}


def console() -> Console:
    """Colour only on a terminal, and not where NO_COLOR is set."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def show(snapshot: Snapshot, out: Console) -> None:
    up = duration(time.time() - snapshot.started)
    out.print(f"richmond {snapshot.version}, pid {snapshot.pid}, {snapshot.phase}, up {up}, {escape(snapshot.ini)}")
    for problem in snapshot.problems:
        out.print(f"[bold red]![/] {escape(problem)}", soft_wrap=True)  # a path that is cut cannot be copied
    out.print(_links(snapshot))
    out.print(_classes(snapshot))
    out.print(_slots(snapshot))
    out.print(_queues(snapshot))
    for cls in snapshot.classes:
        for slot in cls.slots:
            if slot.traceback and slot.state in ("FATAL", "BACKOFF"):
                out.print(f"\n[bold]{escape(slot.name)}[/], its last traceback:", soft_wrap=True)
                out.print(escape(slot.traceback.rstrip()), soft_wrap=True)


def duration(seconds: float) -> str:
    """2 s, 3 min, 4 h 5 min, 6 d 7 h."""
    s = int(max(0, seconds))
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min"
    if s < 86400:
        return f"{s // 3600} h {s % 3600 // 60} min"
    return f"{s // 86400} d {s % 86400 // 3600} h"


def _links(snapshot: Snapshot) -> Table:
    rows = (
        (link.name, link.address, _state(link.state), _clock(link.since), escape(link.last_error))
        for link in snapshot.links
    )
    return _table(("link", "address", "state", "since", "last error"), rows)


def _classes(snapshot: Snapshot) -> Table:
    rows = (
        (
            cls.name,
            f"{cls.running} of {cls.target}",
            f"{cls.min} to {cls.max}",
            escape(", ".join(cls.codes) or "the rest"),
            cls.queue,
            escape(cls.reason),
        )
        for cls in snapshot.classes
    )
    return _table(("class", "running", "bounds", "codes", "queue", "target because"), rows)


def _slots(snapshot: Snapshot) -> Table:
    rows = (
        (
            slot.name,
            _state(slot.state),
            _or_dash(slot.pid),
            duration(slot.uptime_s),
            "-" if slot.cpu_percent is None else f"{slot.cpu_percent:.1f} %",
            "-" if slot.memory_bytes is None else f"{slot.memory_bytes / 2**20:.0f} MB",
            str(slot.handled),
            str(slot.failed),
            escape(slot.last_error),
        )
        for cls in snapshot.classes
        for slot in cls.slots
    )
    headers = ("worker", "state", "pid", "uptime", "CPU", "memory", "handled", "failed", "last error")
    return _table(headers, rows, right=("pid", "uptime", "CPU", "memory", "handled", "failed"))


def _queues(snapshot: Snapshot) -> Table:
    rows = (
        (
            queue.name,
            _or_dash(queue.ready),
            _or_dash(queue.unacked),
            "-" if queue.in_rate is None else f"{queue.in_rate:.1f}",
            "-" if queue.out_rate is None else f"{queue.out_rate:.1f}",
            _or_dash(queue.consumers),
        )
        for queue in snapshot.queues
    )
    headers = ("queue", "ready", "unacked", "in/s", "out/s", "consumers")
    return _table(headers, rows, right=headers[1:])


def _table(headers: Iterable[str], rows: Iterable[tuple[str, ...]], right: Iterable[str] = ()) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for header in headers:
        numeric = header in right
        table.add_column(header, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in rows:
        table.add_row(*row)
    table.add_row()
    return table


def _state(state: str) -> str:
    colour = _COLOURS.get(state, "red")
    return f"[{colour}]{state}[/]"


def _clock(unix: float) -> str:
    then = datetime.fromtimestamp(unix)
    return then.strftime("%H:%M:%S" if time.time() - unix < 86400 else "%Y-%m-%d %H:%M")


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)
