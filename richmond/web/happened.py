"""What the master's events add up to, by class and reason, for /metrics. No I/O.

Reasons are of a fixed few: an event's own `reason` is text for people.
"""

from __future__ import annotations

from collections import Counter

from richmond.supervisor.events import Event

RESTARTS = ("crash", "failed-start", "hung", "recycled", "rollout")
DIRECTIONS = ("up", "down")


class Happened:
    """Since this master started."""

    def __init__(self) -> None:
        self.restarts: Counter[tuple[str, str]] = Counter()  # workers that ended to be replaced: (class, why)
        self.scaled: Counter[tuple[str, str]] = Counter()  # (class, direction)
        self.fatal: Counter[str] = Counter()  # by class
        self.rolled_back: Counter[str] = Counter()
        self.reloads: Counter[bool] = Counter()  # whether the ini was taken over
        self.links_lost: Counter[str] = Counter()  # by link
        self.spawners_lost = 0
        self.nodes_lost = 0
        self._hung: set[tuple[str | None, int | None]] = set()  # slot and pid, until it has gone

    def on_event(self, event: Event) -> None:
        name, bad = event.worker or "", event.level != "info"
        match event.kind:
            case "hung":
                self._hung.add((event.slot, event.pid))
            case "crash":
                self.restarts[name, self._why(event)] += 1
            case "recycled":
                self.restarts[name, "recycled"] += 1
            case "rollout":
                self.restarts[name, "rollout"] += event.count or 0
            case "scale":
                up = int(event.after or 0) > int(event.before or 0)
                self.scaled[name, "up" if up else "down"] += 1
            case "fatal":
                self.fatal[name] += 1
            case "rollback":
                self.rolled_back[name] += 1
            case "reload":
                self.reloads[not bad] += 1
            case "link" if bad:
                self.links_lost[event.name or ""] += 1
            case "spawner":
                self.spawners_lost += 1
            case "node" if bad:
                self.nodes_lost += 1

    def _why(self, event: Event) -> str:
        worker = event.slot, event.pid
        hung = worker in self._hung
        self._hung.discard(worker)
        if event.before == "STARTING":
            return "failed-start"
        return "hung" if hung else "crash"
