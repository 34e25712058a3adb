"""uWSGI's `cheaper-algo = backlog` (core/master_utils.c, uwsgi_cheaper_algo_backlog).

Every master cycle (1 s): one worker (`cheaper-step`) more where more requests than `cheaper-overload` (3) wait, one
less where fewer do.
"""

from __future__ import annotations

from collections.abc import Sequence

from richmond.sim.rule import Limits, View

CYCLE_S = 1.0
OVERLOAD = 3
STEP = 1


class UwsgiBacklog:
    interval_s = CYCLE_S
    at_messages = False

    def __init__(self, limits: Limits, classes: int) -> None:
        self._limits = limits

    def targets(self, views: Sequence[View]) -> Sequence[int]:
        return [self._target(view) for view in views]

    def _target(self, view: View) -> int:
        if view.waiting > OVERLOAD:
            return min(view.target + STEP, self._limits.max)
        if view.waiting < OVERLOAD:
            return max(view.target - 1, self._limits.min)
        return view.target
