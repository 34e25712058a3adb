"""Readings for the policy and for status: the workers' shared counters, psutil, and the depth of queues."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from richmond.durations import NONE, Durations
from richmond.scoreboard import DEAD_REASONS, Reading, Scoreboard


@dataclass(frozen=True, slots=True)
class Totals:
    """What the workers of a class did; only grows, over the death of workers too."""

    handled: int = 0  # handlers that returned
    failed: int = 0
    busy_s: float = 0.0
    answered: int = 0  # messages acknowledged: each one of these three
    unanswered: int = 0
    dead_lettered: int = 0
    redelivered: int = 0  # of those, maybe counted before
    retried: int = 0  # of those, counted as dead-lettered before
    waited: Durations = NONE  # messages, from the gateway's socket to the handler
    took: Durations = NONE  # handlers
    dead_by_reason: tuple[int, ...] = (0,) * len(DEAD_REASONS)  # of the dead letters under this master
    spans: int = 0  # that workers exported
    spans_dropped: int = 0
    unacked: int = 0  # held now, the ones in hand too: not a counter

    def plus(self, reading: Reading) -> Totals:
        sums = {name: getattr(self, name) + getattr(reading, name) for name in _SUMS}
        return replace(
            self,
            **sums,
            waited=self.waited.plus(reading.waited),
            took=self.took.plus(reading.took),
            dead_by_reason=tuple(map(int.__add__, self.dead_by_reason, reading.dead_by_reason)),
        )


KEPT = ("answered", "unanswered", "dead_lettered", "redelivered", "retried")  # over the end of the master too
_SUMS = ("handled", "failed", "busy_s", *KEPT, "spans", "spans_dropped")


_WAKE_S = 30.0  # longer than anybody waits for RabbitMQ


@dataclass(slots=True)
class _Counted:
    """One class: what its dead workers did, and the last reading of the living and of those who died just now."""

    buried: Totals = Totals()
    rows: dict[int, Reading] = field(default_factory=dict)
    unwanted: dict[int, float] = field(default_factory=dict)  # row -> since when nobody has asked for it

    def bury(self, row: int) -> None:
        self.buried = self.buried.plus(self.rows.pop(row))
        self.unwanted.pop(row, None)

    def totals(self) -> Totals:
        totals = self.buried
        for reading in self.rows.values():
            totals = totals.plus(reading)
        return totals


class Counts:
    """Adds up the scoreboard by class. `read` each class after an exit too, before its row is used again."""

    def __init__(self, board: Scoreboard) -> None:
        self._board = board
        self._classes: dict[str, _Counted] = {}

    def restore(self, kept: Mapping[str, Mapping[str, int]]) -> None:
        """Before anything is read: class -> what it had done under earlier masters."""
        for name, counters in kept.items():
            known: dict[str, Any] = {key: counters.get(key, 0) for key in KEPT}
            self._classes[name] = _Counted(Totals(**known))

    def keep(self) -> dict[str, dict[str, int]]:
        """For `restore`: every class that there ever was, as it was last read."""
        return {
            name: {key: getattr(totals, key) for key in KEPT}
            for name, totals in ((name, counted.totals()) for name, counted in self._classes.items())
        }

    def read(self, name: str, rows: Mapping[int, int | None], now: float) -> Totals:
        """The class `name`, whose slots have `rows` now, each with the pid of its process, if there is one.

        `rows` may be some seconds old: who asks may have waited for RabbitMQ meanwhile. So nobody is buried at once.
        """
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
                if row in counted.rows and now - counted.unwanted.setdefault(row, now) > _WAKE_S:
                    counted.bury(row)
                continue
            counted.unwanted.pop(row, None)
            if reading.pid == rows[row]:  # else it is still that of whoever had the row long before
                counted.rows[row] = reading
        # What a dead worker held RabbitMQ has again, although its row says so until the next one takes it.
        living = [r for row, r in counted.rows.items() if r.pid == rows.get(row)]
        totals = counted.totals()
        return replace(
            totals,
            busy_s=totals.busy_s + sum(now - r.began_at for r in living if r.began_at),
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
