"""Celery's autoscaler (celery/worker/autoscale.py of 5.x, `--autoscale=MAX,MIN`).

A process for each message that the consumer has reserved, at once; down to that number, likewise at once, when nothing
was added for AUTOSCALE_KEEPALIVE. With an event loop it looks at each message and every keepalive seconds. It reserves
as many as `worker_prefetch_multiplier` (4) times the maximum (celery/worker/components.py). billiard's `shrink` takes
only processes that it believes idle: here it is always right about that, in Celery's favour.
"""

from __future__ import annotations

from collections.abc import Sequence

from richmond.sim.rule import Limits, View

KEEPALIVE_S = 30.0
PREFETCH_MULTIPLIER = 4


class Celery:
    interval_s = KEEPALIVE_S
    at_messages = True

    def __init__(self, limits: Limits, classes: int) -> None:
        self._limits = limits
        self._last_up: list[float | None] = [None] * classes

    def targets(self, views: Sequence[View]) -> Sequence[int]:
        return [self._target(n, view) for n, view in enumerate(views)]

    def _target(self, n: int, view: View) -> int:
        limits = self._limits
        reserved = min(view.waiting + view.busy, PREFETCH_MULTIPLIER * limits.max)
        if min(reserved, limits.max) > view.target:
            self._last_up[n] = view.now
            return min(reserved, limits.max)
        last = self._last_up[n]
        wanted = max(reserved, limits.min)
        if wanted < view.target and last is not None and view.now - last > KEEPALIVE_S:
            return max(wanted, view.busy)
        return view.target
