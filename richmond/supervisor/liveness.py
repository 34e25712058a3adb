"""Whether a worker gets on with its work, by what it writes into its row of the scoreboard. Pure.

Not by a beating heart: that of a thread goes on while the main loop is dead-locked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from richmond.settings import WorkerSettings

MISSED = 3  # turns of its loop that an idle worker may miss
STARVED_S = 30.0  # of idleness beside messages that wait; RabbitMQ gives them within milliseconds to whoever has room
STARVED_SAMPLES = 3  # of its queue, at least, in that time


@dataclass(frozen=True, slots=True)
class Look:
    """A worker as it is seen from outside at one moment. Times are monotonic."""

    pid: int
    last_turn: float  # of its loop
    began_at: float | None  # when the message in hand began; None: none is in hand
    done: int  # messages
    stopped: bool  # by a signal: state T
    memory_bytes: int  # resident
    held: int = 0  # messages not acknowledged, the one in hand and those that wait for confirms too


@dataclass(frozen=True, slots=True)
class Idle:
    """A worker that holds nothing, and has taken nothing since a moment."""

    pid: int
    done: int
    since: float  # monotonic


def hung_at(look: Look, spec: WorkerSettings, since: float) -> float:
    """When `judge` will say so, unless there is progress before; inf: never.

    `since`: silence before that proves nothing. The master itself was stopped then, or RabbitMQ away.
    """
    if look.began_at is not None:
        return max(look.began_at, since) + (spec.task_timeout_s or math.inf)
    return max(look.last_turn, since) + (MISSED * spec.liveness_interval_s or math.inf)


def limit_s(spec: WorkerSettings) -> float:
    """The shortest silence that it takes; inf: none is too long."""
    return min(spec.task_timeout_s or math.inf, MISSED * spec.liveness_interval_s or math.inf)


def judge(look: Look, now: float, spec: WorkerSettings, since: float) -> str:
    """Why the worker hangs, for the log; empty: it does not. `since`: as in `hung_at`."""
    if now < hung_at(look, spec, since):
        return ""
    how = "stopped by a signal" if look.stopped else "hung"
    if look.began_at is not None:
        return f"{how}, with a message in hand for {now - look.began_at:.1f} s (task-timeout = {spec.task_timeout_s:g})"
    return f"{how}, with no turn of its loop for {now - look.last_turn:.1f} s"


def idle(look: Look, before: Idle | None, now: float) -> Idle | None:
    """Since when, as far as looks tell; None: it works."""
    if look.held or look.began_at is not None:
        return None
    same = before is not None and (before.pid, before.done) == (look.pid, look.done)
    return before if same else Idle(look.pid, look.done, now)


def starved(since: float, ready: Sequence[tuple[float, int]], now: float) -> str:
    """Why an idle worker does not get what waits; empty: it does, or that is not known.

    It takes turns and holds nothing, yet its queue was never empty: RabbitMQ has lost its consumer, or it has. No
    crash, and nothing to kill it for: it loses nothing when a fresh one takes its place, even where it is innocent.

    `since`: idle, with no reason not to be. `ready`: (when, messages that waited) of its queue, oldest first.
    """
    waited = [count for at, count in ready if since <= at]
    if now - since < STARVED_S or len(waited) < STARVED_SAMPLES or not all(waited):
        return ""
    return f"idle for {now - since:.0f} s while messages wait in its queue ({waited[-1]} now)"
