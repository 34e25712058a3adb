"""How long things take, counted in fixed buckets: cheap to add to, and two counts say what was between them. No I/O.

Workers count in shared memory (`scoreboard`), the broker in a `Histogram`; both only add.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

# Upper bounds in seconds, inclusive. The last bucket has none.
BOUNDS = (
    0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0,
)  # fmt: skip
BUCKETS = len(BOUNDS) + 1
NOTHING = (0,) * BUCKETS


class Durations(msgspec.Struct, frozen=True):
    """What was counted so far. `counts`: of each bucket by itself; `sum_s`: of all."""

    counts: tuple[int, ...] = NOTHING
    sum_s: float = 0.0

    def plus(self, other: Durations) -> Durations:
        return Durations(tuple(map(int.__add__, self.counts, other.counts)), self.sum_s + other.sum_s)


NONE = Durations()


class Histogram:
    """In one process."""

    __slots__ = ("_counts", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._sum_s += seconds

    def read(self) -> Durations:
        return Durations(tuple(self._counts), self._sum_s)


def quantile(before: Sequence[int], after: Sequence[int], q: float) -> float | None:
    """Below which a share `q` (0 to 1) of what was counted between two looks lies, in seconds; None: nothing was.

    As Prometheus' histogram_quantile has it: even within a bucket, and the last bound for what lies beyond. Counts that
    are smaller than before are those of a successor, which began at 0.
    """
    new = [b - a for a, b in zip(before, after, strict=True)]
    if any(count < 0 for count in new):
        new = list(after)
    rank = q * sum(new)
    if not any(new):
        return None
    lower = 0.0
    for bound, count in zip(BOUNDS, new, strict=False):
        if count and rank <= count:
            return lower + (bound - lower) * max(0.0, rank) / count
        rank -= count
        lower = bound
    return BOUNDS[-1]
