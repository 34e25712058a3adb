"""Shared memory in which every worker process counts what it does: one fixed row each, read by the master.

No locks: each row has one writer, and each value is one aligned store of eight bytes, so a reader may see values of
two neighbouring moments but never half a value. In front of the rows the master writes which messages have killed
their workers. Times are monotonic, a clock that all processes of a host share.
"""

from __future__ import annotations

import mmap
import os
import zlib
from bisect import bisect_left
from dataclasses import dataclass

from richmond.durations import BOUNDS, BUCKETS, NONE, Durations

ROW_BYTES = 512  # whole cache lines, so that two workers never write to the same one
_CELLS = ROW_BYTES // 8

_PID, _HANDLED, _FAILED, _WAITING, _BUSY, _TURN, _BEGAN, _MESSAGE = range(8)
_ANSWERED, _UNANSWERED, _DEAD_LETTERED, _REDELIVERED, _RETRIED = range(8, 13)
_COUNTERS = (_HANDLED, _FAILED, _WAITING, _MESSAGE, _ANSWERED, _UNANSWERED, _DEAD_LETTERED, _REDELIVERED, _RETRIED)
_WAITED_S = 13  # the sum of what is counted in the buckets that follow
_WAITED = 14
_TOOK = _WAITED + BUCKETS
_DEAD = _TOOK + BUCKETS
_SPANS = _DEAD + 4
_USED = _SPANS + 2

# Of dead letters, as it is counted: those of DEAD_REASONS, a reply that RabbitMQ did not take, a message of no use.
DEAD_REASONS = ("handler-failed", "poison", "reply-refused", "unusable")

CONDEMNED = 64  # messages; the oldest makes room
_HEAD_CELLS = CONDEMNED


@dataclass(frozen=True, slots=True)
class Reading:
    pid: int  # 0: nobody has used the row yet
    handled: int  # handlers that returned
    failed: int  # messages whose handler raised, or that had none; not in `handled`
    waiting: int  # messages received and not begun
    busy_s: float  # spent in handlers
    last_turn: float  # when the main loop last came by
    began_at: float | None  # when the message in hand began; None: none is in hand
    message: int = 0  # which one that is, as `identity` says
    # Messages acknowledged, each counted as one of the first three:
    answered: int = 0
    unanswered: int = 0  # handled without a reply
    dead_lettered: int = 0
    redelivered: int = 0  # RabbitMQ had delivered it before: it may have been counted then
    retried: int = 0  # it came from the dead-letter queue: it was counted as dead-lettered before
    waited: Durations = NONE  # messages, from the gateway's socket to the handler
    took: Durations = NONE  # handlers, those that raised too
    dead_by_reason: tuple[int, ...] = (0,) * len(DEAD_REASONS)
    spans: int = 0  # exported
    spans_dropped: int = 0


class Row:
    """One worker's cells, written by that worker only. It begins with `reset`."""

    __slots__ = ("_at", "_ints", "_times")

    def __init__(self, ints: memoryview[int], times: memoryview[float], index: int) -> None:
        self._ints = ints
        self._times = times
        self._at = _HEAD_CELLS + index * _CELLS

    def reset(self, pid: int) -> None:
        at = self._at
        for cell in _COUNTERS:
            self._ints[at + cell] = 0
        for cell in (*range(_WAITED_S, _USED), _BUSY, _TURN, _BEGAN):  # a zero is the same in both
            self._ints[at + cell] = 0
        self._ints[at + _PID] = pid

    def turn(self, now: float) -> None:
        self._times[self._at + _TURN] = now

    def began(self, now: float, message: int = 0, waiting: int = 0) -> None:
        """`waiting`: messages behind this one."""
        at = self._at
        ints = self._ints
        ints[at + _MESSAGE] = message
        ints[at + _WAITING] = waiting
        self._times[at + _BEGAN] = now

    def ended(self, now: float, ok: bool) -> None:
        at = self._at
        times = self._times
        took = now - times[at + _BEGAN]
        times[at + _BUSY] += took
        times[at + _TURN] = now  # before the next: who sees no message in hand must see when the last one ended
        times[at + _BEGAN] = 0.0
        self._ints[at + (_HANDLED if ok else _FAILED)] += 1
        self._ints[at + _TOOK + bisect_left(BOUNDS, took)] += 1

    def waited(self, seconds: float) -> None:
        """The message in hand has, since the gateway's socket gave it."""
        at = self._at
        if seconds > 0.0:  # the wall clock may have been set back
            self._times[at + _WAITED_S] += seconds
        self._ints[at + _WAITED + bisect_left(BOUNDS, seconds)] += 1

    def acknowledged(self, *, answered: bool, redelivered: bool, dead: str = "", retried: bool = False) -> None:
        """`dead`: why it went to the dead-letter queue, if it did."""
        at = self._at
        if dead:
            self._ints[at + _DEAD + _kind_of(dead)] += 1
        self._ints[at + (_DEAD_LETTERED if dead else _ANSWERED if answered else _UNANSWERED)] += 1
        if redelivered:
            self._ints[at + _REDELIVERED] += 1
        if retried:
            self._ints[at + _RETRIED] += 1

    def exported(self, spans: int, dropped: int) -> None:
        """So far."""
        self._ints[self._at + _SPANS] = spans
        self._ints[self._at + _SPANS + 1] = dropped

    def condemned(self, message: int) -> bool:
        """Whether the master has said to begin this message no more."""
        return message in self._ints[:CONDEMNED].tolist()

    def read(self) -> Reading:
        at = self._at
        ints = self._ints[at : at + _CELLS]
        times = self._times[at : at + _CELLS]
        began_at = times[_BEGAN]  # before the last turn: see `ended`
        return Reading(
            pid=ints[_PID],
            handled=ints[_HANDLED],
            failed=ints[_FAILED],
            waiting=ints[_WAITING],
            busy_s=times[_BUSY],
            last_turn=times[_TURN],
            began_at=began_at or None,
            message=ints[_MESSAGE] if began_at else 0,
            answered=ints[_ANSWERED],
            unanswered=ints[_UNANSWERED],
            dead_lettered=ints[_DEAD_LETTERED],
            redelivered=ints[_REDELIVERED],
            retried=ints[_RETRIED],
            waited=Durations(tuple(ints[_WAITED:_TOOK]), times[_WAITED_S]),
            took=Durations(tuple(ints[_TOOK:_DEAD]), times[_BUSY]),
            dead_by_reason=tuple(ints[_DEAD:_SPANS]),
            spans=ints[_SPANS],
            spans_dropped=ints[_SPANS + 1],
        )


def _kind_of(reason: str) -> int:
    if reason in DEAD_REASONS:
        return DEAD_REASONS.index(reason)
    return DEAD_REASONS.index("reply-refused" if reason.startswith("reply-") else "unusable")


def identity(body: bytes) -> int:
    """Names a message to all processes of the host: never 0. Two bodies that are the same are one message."""
    return zlib.crc32(body) | 1 << 32


def _size(rows: int) -> int:
    return _HEAD_CELLS * 8 + rows * ROW_BYTES


class Scoreboard:
    """`rows` rows in an anonymous file. `fd` goes to the spawner, whose forks share the mapping."""

    def __init__(self, fd: int, rows: int) -> None:
        self.fd = fd
        self.rows = rows
        self._map = mmap.mmap(fd, _size(rows))
        self._ints = memoryview(self._map).cast("Q")
        self._times = memoryview(self._map).cast("d")

    @classmethod
    def create(cls, rows: int, name: str = "richmond-scoreboard") -> Scoreboard:
        """`name`: what /proc calls it."""
        fd = os.memfd_create(name)
        os.ftruncate(fd, _size(rows))
        return cls(fd, rows)

    @classmethod
    def attach(cls, fd: int, rows: int) -> Scoreboard:
        """The same memory in a process that inherited `fd`."""
        return cls(fd, rows)

    def row(self, index: int) -> Row:
        """IndexError where there is none."""
        if not 0 <= index < self.rows:
            raise IndexError(f"row {index} of {self.rows}")
        return Row(self._ints, self._times, index)

    def condemn(self, message: int) -> None:
        """Have no worker begin this message again: it has killed those who did. Written by the master only."""
        cells = self._ints[:CONDEMNED].tolist()
        if message not in cells:
            self._ints[1:CONDEMNED] = memoryview(self._ints[: CONDEMNED - 1].tobytes()).cast("Q")
            self._ints[0] = message

    def read(self) -> list[Reading]:
        return [self.row(i).read() for i in range(self.rows)]

    def close(self) -> None:
        """Rows handed out must not be used any more."""
        self._ints.release()
        self._times.release()
        self._map.close()
        os.close(self.fd)
