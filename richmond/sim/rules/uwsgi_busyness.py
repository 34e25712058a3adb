"""uWSGI's `cheaper-algo = busyness` (plugins/cheaper_busyness/cheaper_busyness.c), with its defaults.

Every `cheaper-overload` (3) seconds: one worker (`cheaper-step`) more where they were busy for more than 50 % of the
time; one less where it was under 25 %, and a timer of multiplier (10) times 3 s has run out. Coming back too soon adds
the penalty (2) to the multiplier. At each cycle (1 s) an emergency worker if more than 33 requests wait; while there
are any, the timer is 3 times 3 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from richmond.sim.rule import Limits, View

CYCLE_S = 1.0
OVERLOAD_S = 3
BUSYNESS_MAX = 50
BUSYNESS_MIN = 25
MULTIPLIER = 10
PENALTY = 2
STEP = 1
BACKLOG_ALERT = 33
BACKLOG_MULTIPLIER = 3
BACKLOG_STEP = 1
TOLERATED_CYCLES = 3


@dataclass(slots=True)
class _State:
    checked: float = 0.0
    busy_s: float = 0.0
    last_cheaped: float = 0.0
    next_cheap: float = OVERLOAD_S * MULTIPLIER
    multiplier: int = MULTIPLIER
    last_action: int = 0  # 1: more, 2: less
    tolerance: int = 0
    emergency: int = 0


class UwsgiBusyness:
    interval_s = CYCLE_S
    at_messages = False

    def __init__(self, limits: Limits, classes: int) -> None:
        self._limits = limits
        self._states = [_State() for _ in range(classes)]

    def targets(self, views: Sequence[View]) -> Sequence[int]:
        found = []
        for state, view in zip(self._states, views, strict=True):
            target = view.target + self._change(state, view)
            found.append(min(max(target, self._limits.min), self._limits.max))
        return found

    def _change(self, state: _State, view: View) -> int:
        alert = view.waiting > BACKLOG_ALERT and view.target < self._limits.max
        if view.now - state.checked < OVERLOAD_S:
            return self._emergency(state, view) if alert else 0
        busyness = 100 * (view.busy_s - state.busy_s) / OVERLOAD_S / max(view.running, 1)
        state.checked, state.busy_s = view.now, view.busy_s
        if busyness > BUSYNESS_MAX:
            state.tolerance = 0
            return self._more(state, view)
        if alert:
            return self._emergency(state, view)
        if view.target == 1:
            return 0
        if busyness < BUSYNESS_MIN:
            state.tolerance = 0
            return self._less(state, view)
        state.emergency = max(0, state.emergency - 1)
        state.tolerance += 1
        if state.tolerance >= TOLERATED_CYCLES:
            self._set_timer(state, view)
        else:
            state.next_cheap += OVERLOAD_S
        return 0

    def _more(self, state: _State, view: View) -> int:
        if view.target >= self._limits.max:
            return 0
        state.last_action = 1
        if (view.now - state.last_cheaped) / OVERLOAD_S <= state.multiplier:
            state.multiplier += PENALTY
        else:
            self._relax(state)
        self._set_timer(state, view)
        return STEP

    def _less(self, state: _State, view: View) -> int:
        if view.target <= self._limits.min or view.now < state.next_cheap:
            return 0
        if state.last_action == 2:
            self._relax(state)
        self._set_timer(state, view)
        state.last_cheaped, state.last_action = view.now, 2
        state.emergency = max(0, state.emergency - 1)
        return -1

    def _emergency(self, state: _State, view: View) -> int:
        state.multiplier, state.last_action = MULTIPLIER, 1
        state.emergency += BACKLOG_STEP
        self._set_timer(state, view)
        return BACKLOG_STEP

    def _set_timer(self, state: _State, view: View) -> None:
        state.next_cheap = view.now + OVERLOAD_S * (BACKLOG_MULTIPLIER if state.emergency else state.multiplier)

    def _relax(self, state: _State) -> None:
        state.multiplier = max(MULTIPLIER, state.multiplier - 1)
