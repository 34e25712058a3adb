"""What a rule of scaling sees, and what it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class View:
    """One class at one moment."""

    now: float  # seconds since the trace began
    waiting: int
    busy: int  # workers with a message in hand
    running: int  # workers that consume, the busy ones too
    starting: int
    handled: int  # counter
    busy_s: float  # counter: seconds of workers in handlers, the running ones too
    target: int
    consumers: int  # on the queue, those of other hosts too


@dataclass(frozen=True, slots=True)
class Limits:
    """What operators have set; all rules get the same."""

    min: int
    max: int  # of one class; `together` for all of them
    together: int
    drain_target_s: float = 5.0


class Rule(Protocol):
    """Asked every `interval_s`, and at each message where `at_messages`."""

    interval_s: float
    at_messages: bool

    def targets(self, views: Sequence[View]) -> Sequence[int]:
        """How many workers each class is to have, on one host after the other. Idle ones leave first."""
        ...
