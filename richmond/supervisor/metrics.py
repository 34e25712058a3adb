"""Readings for the policy and for status: the workers' shared counters, psutil, and the depth of queues."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import psutil

from richmond.scoreboard import Reading, Scoreboard


@dataclass(frozen=True, slots=True)
class Totals:
    """What the workers of a class did; only grows, over the death of workers too."""

    handled: int = 0  # messages that went well
    failed: int = 0
    busy_s: float = 0.0
    unacked: int = 0  # held now, the ones in hand too: not a counter


@dataclass(slots=True)
class _Counted:
    """One class: what its dead workers did, and the last reading of the living."""

    handled: int = 0
    failed: int = 0
    busy_s: float = 0.0
    rows: dict[int, Reading] = field(default_factory=dict)

    def bury(self, row: int) -> None:
        reading = self.rows.pop(row)
        self.handled += reading.handled
        self.failed += reading.failed
        self.busy_s += reading.busy_s


class Counts:
    """Adds up the scoreboard by class. `read` each class after an exit too, before its row is used again."""

    def __init__(self, board: Scoreboard) -> None:
        self._board = board
        self._classes: dict[str, _Counted] = {}

    def read(self, name: str, rows: Mapping[int, int | None], now: float) -> Totals:
        """The class `name`, whose slots have `rows` now, each with the pid of its process, if there is one."""
        counted = self._classes.setdefault(name, _Counted())
        wanted = set(rows)
        for row in wanted | set(counted.rows):
            reading = self._board.row(row).read()
            before = counted.rows.get(row)
            if before is not None and before.pid == reading.pid:
                counted.rows[row] = reading
            elif before is not None:
                counted.bury(row)
            if row not in wanted:
                if row in counted.rows:
                    counted.bury(row)
            elif reading.pid == rows[row]:  # else it is still that of whoever had the row long before
                counted.rows[row] = reading
        latest = counted.rows.values()
        # What a dead worker held RabbitMQ has again, although its row says so until the next one takes it.
        living = [r for row, r in counted.rows.items() if r.pid == rows.get(row)]
        return Totals(
            handled=counted.handled + sum(r.handled for r in latest),
            failed=counted.failed + sum(r.failed for r in latest),
            busy_s=counted.busy_s + sum(r.busy_s for r in latest) + sum(now - r.began_at for r in living if r.began_at),
            unacked=sum(r.waiting + (r.began_at is not None) for r in living),
        )

    def row(self, row: int) -> Reading:
        return self._board.row(row).read()


class Processes:
    """CPU and memory of worker processes; CPU since the reading before, the first time since their start."""

    def __init__(self) -> None:
        self._known: dict[int, psutil.Process] = {}

    def read(self, pids: Iterable[int]) -> dict[int, tuple[float, int]]:
        """pid -> (percent of one core, resident bytes); without those that have gone."""
        found = {}
        known = {}
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                process = self._known.get(pid) or psutil.Process(pid)
                cpu = process.cpu_percent() if pid in self._known else _since_start(process)
                known[pid] = process
                found[pid] = (cpu, process.memory_info().rss)
        self._known = known
        return found


def _since_start(process: psutil.Process) -> float:
    process.cpu_percent()  # the reference for the next reading
    times = process.cpu_times()
    return 100.0 * (times.user + times.system) / max(0.01, time.time() - process.create_time())
