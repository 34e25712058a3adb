"""A Snapshot as tables for a terminal (rich). No facts of its own: --json has the same ones.

What is wrong comes last: there the eye is, above the prompt. No text is cut or folded, so that it can be copied.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console
from rich.markup import escape

from richmond.supervisor.status import Link, Queue, Snapshot, takes

PIPE_WIDTH = 200  # where nobody looks at a terminal, notes stay in their lines
TRACEBACK_LINES = 8  # its end; --json has the whole

_KINDS = {"ussd": "USSD replies", "sms": "SMS"}
COLOURS = {
    "RUNNING": "green",
    "up": "green",
    "STARTING": "yellow",
    "BACKOFF": "bold red",
    "STOPPING": "yellow",
    "connecting": "yellow",
    "logging-in": "yellow",
    "starting": "yellow",
    "FATAL": "bold red",
    "off": "dim",
}
COLOURS |= dict.fromkeys(
    ("down", "refused", "blocked", "backoff", "auth-failed", "remote-logout", "stopped", "closed"), "bold red"
)


@dataclass(frozen=True, slots=True)
class Row:
    cells: Sequence[str]
    note: str = ""  # a text of any length


def console() -> Console:
    """Colour only on a terminal, and not where NO_COLOR is set."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def show(snapshot: Snapshot, out: Console) -> None:
    verdict = "[bold red]something is wrong, see below[/]" if snapshot.problems else "[green]all is well[/]"
    print_line(out, f"richmond {snapshot.version}, {escape(snapshot.ini)}: {verdict}")
    print_line(out, f"pid {snapshot.pid}, {snapshot.phase}, up {duration(time.time() - snapshot.started)}")
    for part in (_links, _classes, _slots, _queues, _messages):
        print_line(out, "")
        for line in part(snapshot, out.width):
            print_line(out, line)
    for line in (*_sms(snapshot, out.width), *_tracebacks(snapshot)):
        print_line(out, line)
    if snapshot.problems or snapshot.warnings:
        print_line(out, "")
    for warning in snapshot.warnings:
        print_line(out, f"[yellow]![/] {escape(warning)}")
    for problem in snapshot.problems:
        print_line(out, f"[bold red]![/] {escape(problem)}")


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


def _links(snapshot: Snapshot, width: int) -> Iterable[str]:
    rows = [Row((link.name, link.address, link.state, _clock(link.since)), _note(link)) for link in snapshot.links]
    return table(("link", "address", "state", "since"), rows, "note", width)


def _note(link: Link) -> str:
    """What slows it down, or else its last error."""
    waiting = [
        f"{t.waiting} {_KINDS[t.kind]} wait: no more than {t.per_second:g} a second, since {_clock(t.since)}"
        for t in link.throttled
    ]
    return "; ".join([*([f"not read: {link.unread}"] if link.unread else []), *waiting]) or link.last_error


def _classes(snapshot: Snapshot, width: int) -> Iterable[str]:
    rows = [
        Row(
            (
                cls.name,
                f"{cls.running} of {cls.target}",
                f"{cls.min} to {cls.max}",
                str(cls.handled),
                str(cls.failed),
                takes(cls),
            ),
            f"{cls.reason}; {cls.recycled} recycled, the last {cls.last_recycled}" if cls.recycled else cls.reason,
        )
        for cls in snapshot.classes
    ]
    headers = ("class", "running", "bounds", "handled", "failed", "takes")
    return table(headers, rows, "target because", width, right=("handled", "failed"))


def _slots(snapshot: Snapshot, width: int) -> Iterable[str]:
    rows = [
        Row(
            (
                slot.name,
                slot.state,
                _or_dash(slot.pid),
                duration(slot.uptime_s),
                "-" if slot.cpu_percent is None else f"{slot.cpu_percent:.1f} %",
                "-" if slot.memory_bytes is None else f"{slot.memory_bytes / 2**20:.0f} MB",
                str(slot.handled),
                str(slot.failed),
            ),
            slot.leaving or slot.last_error,
        )
        for cls in snapshot.classes
        for slot in cls.slots
    ]
    headers = ("worker", "state", "pid", "uptime", "CPU", "memory", "handled", "failed")
    return table(headers, rows, "last error", width, right=headers[2:])


def _queues(snapshot: Snapshot, width: int) -> Iterable[str]:
    rows = [
        Row(
            (
                queue.name,
                _or_dash(queue.ready),
                _held(queue),
                "-" if queue.in_rate is None else f"{queue.in_rate:.1f}",
                "-" if queue.out_rate is None else f"{queue.out_rate:.1f}",
                _or_dash(queue.consumers),
            ),
            queue.purpose,
        )
        for queue in snapshot.queues
    ]
    headers = ("queue", "ready", "unacked", "in/s", "out/s", "consumers")
    return table(headers, rows, "for", width, right=headers[1:], beneath=False)  # the queue's name tells it as a rule


def _held(queue: Queue) -> str:
    """With us, and with anybody where the management API tells."""
    anywhere = queue.unacked_anywhere
    if anywhere is None or anywhere == queue.unacked:
        return _or_dash(queue.unacked)
    return str(anywhere) if queue.unacked is None else f"{queue.unacked} of {max(anywhere, queue.unacked)}"


def _messages(snapshot: Snapshot, width: int) -> Iterable[str]:
    """The first is the sum of the others."""
    m = snapshot.messages
    counts = (m.received, m.answered, m.unanswered, m.dead_lettered, m.refused, m.waiting)
    headers = ("received", "answered", "unanswered", "dead-lettered", "refused", "waiting")
    return table(headers, [Row([_or_dash(count) for count in counts])], "", width, right=headers)


def _sms(snapshot: Snapshot, width: int) -> Iterable[str]:
    """Where there are any: in = published + dead-lettered + waiting (and lost), out = sent + refused + to send."""
    s = snapshot.sms
    if s.received or s.taken:
        counts = (s.received, s.published, s.dead_lettered, s.waiting, s.taken, s.sent, s.refused, s.to_send)
        headers = ("SMS in", "published", "dead-lettered", "waiting", "SMS out", "sent", "refused", "to send")
        yield ""
        yield from table(headers, [Row([str(count) for count in counts])], "", width, right=headers)
    journal = snapshot.journal
    if journal.entries or journal.kept:
        age = f", the oldest for {duration(time.time() - journal.oldest)}" if journal.oldest is not None else ""
        yield ""
        kept = f"; {journal.kept} in memory" if journal.kept else ""
        yield f"[yellow]journal[/]: {journal.entries} messages wait for RabbitMQ{age}{kept}"
    if snapshot.opt_outs:
        yield ""
        yield f"opt-outs: {snapshot.opt_outs}"


def _tracebacks(snapshot: Snapshot) -> Iterable[str]:
    """Of what is down; once for a class whose workers all fail in the same way."""
    for cls in snapshot.classes:
        shown = {""}
        down = [(slot.name, slot.traceback) for slot in cls.slots if slot.state in ("FATAL", "BACKOFF")]
        for name, traceback in [*down, (f"{cls.name}, rolled back", cls.rolled_back_traceback)]:
            if traceback in shown:
                continue
            shown.add(traceback)
            lines = traceback.rstrip().splitlines()
            yield f"\n[bold]{escape(name)}[/], its last traceback:"
            if len(lines) > TRACEBACK_LINES:
                yield f"  ... ({len(lines) - TRACEBACK_LINES} lines more: richmond status --json)"
            yield from (escape(line) for line in lines[-TRACEBACK_LINES:])


def table(
    headers: Sequence[str],
    rows: Sequence[Row],
    note: str,
    width: int,
    right: Sequence[str] = (),
    beneath: bool = True,
) -> Iterable[str]:
    """Notes are a last column where all of them fit beside the others, else lines of their own `beneath` their rows."""
    sizes = [max(len(cell) for cell in cells) for cells in zip(headers, *(row.cells for row in rows), strict=True)]
    beside = sum(sizes) + 2 * len(sizes) + max((len(row.note) for row in rows), default=0) <= width

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            _coloured(cell, f"{cell:>{size}}" if header in right else f"{cell:<{size}}")
            for cell, size, header in zip(cells, sizes, headers, strict=True)
        )

    noted = any(row.note for row in rows)
    yield f"[bold]{line(headers)}{f'  {note}' if beside and noted else ''}[/]"
    for row in rows:
        yield line(row.cells) + (f"  {escape(row.note)}" if beside and row.note else "")
        if row.note and beneath and not beside:
            yield f"  {note}: {escape(row.note)}"


def _coloured(cell: str, padded: str) -> str:
    colour = COLOURS.get(cell)
    return f"[{colour}]{escape(padded)}[/]" if colour else escape(padded)


def print_line(out: Console, line: str) -> None:
    out.print(line.rstrip(), soft_wrap=True)


def _clock(unix: float) -> str:
    then = datetime.fromtimestamp(unix)
    return then.strftime("%H:%M:%S" if time.time() - unix < 86400 else "%Y-%m-%d %H:%M")


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)
