"""Whether a worker gets on with its work, by what it writes into its row of the scoreboard. Pure.

Not by a beating heart: that of a thread goes on while the main loop is dead-locked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from richmond.settings import WorkerSettings

MISSED = 3  # turns of its loop that an idle worker may miss


@dataclass(frozen=True, slots=True)
class Look:
    """A worker as it is seen from outside at one moment. Times are monotonic."""

    pid: int
    last_turn: float  # of its loop
    began_at: float | None  # when the message in hand began; None: none is in hand
    done: int  # messages
    stopped: bool  # by a signal: state T
    memory_bytes: int  # resident


def hung_at(look: Look, spec: WorkerSettings, since: float) -> float:
    """When `judge` will say so, unless there is progress before; inf: never.

    `since`: silence before that proves nothing. The master itself was stopped then, or RabbitMQ away.
    """
    if look.began_at is not None:
        return max(look.began_at, since) + (spec.task_timeout_s or math.inf)
    return max(look.last_turn, since) + (MISSED * spec.liveness_interval_s or math.inf)


def judge(look: Look, now: float, spec: WorkerSettings, since: float) -> str:
    """Why the worker hangs, for the log; empty: it does not. `since`: as in `hung_at`."""
    if now < hung_at(look, spec, since):
        return ""
    how = "stopped by a signal" if look.stopped else "hung"
    if look.began_at is not None:
        return f"{how}, with a message in hand for {now - look.began_at:.1f} s (task-timeout = {spec.task_timeout_s:g})"
    return f"{how}, with no turn of its loop for {now - look.last_turn:.1f} s"
