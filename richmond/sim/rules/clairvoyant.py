"""What nobody can beat: it knows every message that will come, and what each will take.

Of all ways to let no message wait longer than the drain target it takes one with the fewest worker-seconds: workers
are never idle as long as it can be helped, so it puts work off for as long as the drain target lets it, and no longer
than what the maximum can still make good. It changes its mind as often as we do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import ceil

from richmond.sim.rule import Limits, View
from richmond.sim.traces import Load, Trace


class Clairvoyant:
    at_messages = False

    def __init__(self, trace: Trace, limits: Limits, interval_s: float, wait_s: float) -> None:
        self.interval_s = interval_s
        self._limits = limits
        self._plans = [_Plan(load, trace, interval_s, wait_s, limits.max) for load in trace.loads]

    def targets(self, views: Sequence[View]) -> Sequence[int]:
        wanted = [
            ceil(plan.missing_s(view) / self.interval_s - 1e-9) for plan, view in zip(self._plans, views, strict=True)
        ]
        return [min(max(count, self._limits.min), self._limits.max) for count in wanted]


class _Plan:
    """For each interval's end: the seconds of work that have to be done by then, of one class."""

    def __init__(self, load: Load, trace: Trace, interval_s: float, wait_s: float, most: int) -> None:
        slowed = trace.downstream.slowed
        work = [s * slowed(at + wait_s / 2, 1) for at, s in zip(load.arrivals, load.handler_s, strict=True)]
        self._interval_s = interval_s
        self._done = [0.0, *accumulate(work)]
        # A message that begins at its last moment is finished its own time later.
        ends = sorted((at + wait_s + s, s) for at, s in zip(load.arrivals, work, strict=True))
        times, due = [t for t, _ in ends], [0.0, *accumulate(s for _, s in ends)]
        steps = ceil(trace.seconds / interval_s) + 2
        self._due = [due[bisect_right(times, (n + 1) * interval_s)] for n in range(steps)]
        for n in range(steps - 2, -1, -1):
            self._due[n] = max(self._due[n], self._due[n + 1] - most * interval_s)

    def missing_s(self, view: View) -> float:
        """What is to be done within the interval that begins. Those in hand are half done, on average."""
        begun = view.handled + view.busy
        done = (self._done[begun] + self._done[view.handled]) / 2
        return self._due[min(round(view.now / self._interval_s), len(self._due) - 1)] - done
