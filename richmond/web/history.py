"""The last hour in numbers: a row every few seconds, from counters that only grow. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from richmond.durations import NOTHING, quantile
from richmond.supervisor.events import Event

STEP_S = 5.0
KEPT = 720
MARKS = 300
MARKED = ("scale", "crash", "hung", "fatal", "rollback", "reload", "link", "node", "spawner")


@dataclass(frozen=True, slots=True)
class Reading:
    """`at`: Unix seconds. Then counters. By class: its queue's depth, None where nothing is known; its workers."""

    at: float
    received: int
    sent: int
    waited: tuple[int, ...] = NOTHING
    ready: Mapping[str, int | None] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)


class Row(msgspec.Struct, frozen=True):
    """Rates are messages a second since the row before, waits seconds; null: nothing is known."""

    at: int
    into: float | None
    out: float | None
    p50: float | None
    p99: float | None
    ready: dict[str, int | None]
    workers: dict[str, int]


class Mark(msgspec.Struct, frozen=True):
    at: float
    kind: str
    level: str
    worker: str
    text: str


class History:
    """`text`: makes an event's text fit to be shown."""

    def __init__(self, text: Callable[[str], str] = str) -> None:
        self.rows: deque[Row] = deque(maxlen=KEPT)
        self.marks: deque[Mark] = deque(maxlen=MARKS)
        self._text = text
        self._last: Reading | None = None

    def add(self, reading: Reading) -> Row | None:
        """None: it is the first one, or the clock went back."""
        last, self._last = self._last, reading
        if last is None or reading.at <= last.at:
            return None
        took = reading.at - last.at
        p50, p99 = (quantile(last.waited, reading.waited, q) for q in (0.5, 0.99))
        row = Row(
            round(reading.at),
            _rate(last.received, reading.received, took),
            _rate(last.sent, reading.sent, took),
            p50 and round(p50, 4),
            p99 and round(p99, 4),
            dict(reading.ready),
            dict(reading.workers),
        )
        self.rows.append(row)
        return row

    def on_event(self, event: Event) -> None:
        if event.kind in MARKED:
            text = self._text(event.text)
            self.marks.append(Mark(round(event.time, 1), event.kind, event.level, event.worker or "", text))


def _rate(before: int, after: int, took_s: float) -> float | None:
    """Counters that are smaller than before are those of a successor."""
    return None if after < before else round((after - before) / took_s, 2)
