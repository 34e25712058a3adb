"""A Snapshot as the dashboard has it: in parts, so that only those that have changed are sent. No I/O.

What grows all the time by itself is left out, or would change every part each second: ages are moments here. CPU and
memory are rounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from richmond.supervisor.status import Queue, Slot, Snapshot, WorkerClass, takes

_DIGITS = re.compile(r"\d{8,}")  # may be a number; a pid has seven at most
_TRACEBACK_LINES = 20  # its end
_STEP_S = 1.0  # of a slot's `since`, which is computed from an age: it must not flicker


def masked(text: str, mask: Callable[[str], str]) -> str:
    """Whoever wrote it: an exception's text may hold a subscriber's number."""
    return _DIGITS.sub(lambda number: mask(number[0]), text)


def parts(snapshot: Snapshot, now: float, mask: Callable[[str], str]) -> dict[str, Any]:
    """By name: "overview", "queues", "dead" and "class NAME" for each. `now`: Unix seconds."""

    def clean(text: str) -> str:
        return masked(text, mask)

    own = {snapshot.simulator: "simulator", snapshot.private_node: "private node", "": ""}
    found: dict[str, Any] = {
        "overview": {
            "version": snapshot.version,
            "pid": snapshot.pid,
            "ini": snapshot.ini,
            "phase": snapshot.phase,
            "started": round(snapshot.started),
            "simulator": bool(snapshot.simulator),
            "links": [
                {
                    "name": link.name,
                    "address": link.address,
                    "own": own.get(link.address, ""),
                    "state": link.state,
                    "since": round(link.since),
                    "error": clean(link.last_error),
                    "unread": clean(link.unread),
                    "throttled": [{"kind": t.kind, "waiting": t.waiting, "rate": t.per_second} for t in link.throttled],
                }
                for link in snapshot.links
            ],
            "messages": snapshot.messages,
            "sms": snapshot.sms,
            "journal": snapshot.journal,
            "opt_outs": snapshot.opt_outs,
            "problems": [clean(problem) for problem in snapshot.problems],
            "warnings": [clean(warning) for warning in snapshot.warnings],
            "classes": [cls.name for cls in snapshot.classes],
        },
        "queues": [_queue(queue) for queue in snapshot.queues],
        "dead": _dead(snapshot),
    }
    return found | {f"class {cls.name}": _class(cls, now, clean) for cls in snapshot.classes}


def _class(cls: WorkerClass, now: float, clean: Callable[[str], str]) -> dict[str, Any]:
    traceback = next((s.traceback for s in cls.slots if s.traceback and s.state in ("FATAL", "BACKOFF")), "")
    lines = (traceback or cls.rolled_back_traceback).rstrip().splitlines()[-_TRACEBACK_LINES:]
    return {
        "name": cls.name,
        "takes": takes(cls) or "nothing",
        "target": cls.target,
        "running": cls.running,
        "min": cls.min,
        "max": cls.max,
        "pinned": cls.pinned,
        "reason": clean(cls.reason),
        "queue": cls.queue,
        "handled": cls.handled,
        "failed": cls.failed,
        "answered": cls.answered,
        "unanswered": cls.unanswered,
        "dead": cls.dead_lettered,
        "recycled": cls.recycled,
        "last_recycled": clean(cls.last_recycled),
        "rolled_back": clean(cls.rolled_back),
        "traceback": clean("\n".join(lines)),
        "slots": [_slot(slot, now, clean) for slot in cls.slots],
    }


def _slot(slot: Slot, now: float, clean: Callable[[str], str]) -> dict[str, Any]:
    return {
        "name": slot.name,
        "state": slot.state,
        "pid": slot.pid,
        "since": now - slot.uptime_s,  # steadied by `steady`
        "cpu": None if slot.cpu_percent is None else round(slot.cpu_percent),
        "memory": None if slot.memory_bytes is None else round(slot.memory_bytes / 2**20),
        "handled": slot.handled,
        "failed": slot.failed,
        "crashes": slot.crashes,
        "error": clean(slot.last_error),
        "leaving": clean(slot.leaving),
    }


def steady(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Let the `since` of slots stay what it was as long as it is the same but for how it was measured."""
    was = {slot["name"]: slot["since"] for slot in _slots(before)}
    for slot in _slots(after):
        old = was.get(slot["name"])
        near = old is not None and abs(old - slot["since"]) < _STEP_S
        slot["since"] = old if near else round(slot["since"], 1)


def _slots(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, part in found.items():
        if name.startswith("class "):
            yield from part["slots"]


def _queue(queue: Queue) -> dict[str, Any]:
    return {
        "name": queue.name,
        "purpose": queue.purpose,
        "ready": queue.ready,
        "unacked": queue.unacked,
        "into": None if queue.in_rate is None else round(queue.in_rate, 1),
        "out": None if queue.out_rate is None else round(queue.out_rate, 1),
        "consumers": queue.consumers,
    }


def _dead(snapshot: Snapshot) -> dict[str, Any]:
    """How many there are, and what became one, by reason, while this master runs."""
    waiting = [queue.ready for queue in snapshot.queues if queue.purpose == "dead letters"]
    rows = [(cls.name, reason, count) for cls in snapshot.classes for reason, count in cls.dead_by_reason.items()]
    for name, count in snapshot.counters.items():
        what, colon, reason = name.partition(":")
        if colon and what in ("refused", "sms-refused"):
            rows.append(("replies" if what == "refused" else "SMS to send", reason, count))
    rows.append(("SMS that no class takes", "no-route", snapshot.counters.get("dead-lettered", 0)))
    return {
        "waiting": waiting[0] if waiting else None,
        "rows": [
            {"from": source, "reason": reason, "count": count}
            for source, reason, count in sorted(rows, key=lambda row: -row[2])
            if count
        ],
    }
