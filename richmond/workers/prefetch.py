"""How many messages a worker should hold: as many as keep it busy, and no more, so that others share a burst. Pure.

The messages held are those not begun, the one in hand, and those whose replies RabbitMQ has not confirmed yet. A
confirm takes milliseconds, while a quick handler takes microseconds: with ten, such a worker would wait most of the
time. With two hundred, the first worker of a slow class would take a whole burst while the others do nothing.
"""

from __future__ import annotations

START = 10
LEAST = 2  # one in hand, and one that waits for its confirm or is next
MOST = 250
_HOLD_S = 0.05  # of work: longer than a confirm takes, shorter than anybody notices
_MESSAGES = 32  # in a judgement
_SECONDS = 1.0  # or, for slow handlers, so much time


class Prefetch:
    """Judges by the mean of the last messages; changes only where it makes a difference."""

    def __init__(self, fixed: int) -> None:
        """`fixed`: 0 for judging."""
        self.value = fixed or START
        self._judging = not fixed
        self._messages = 0
        self._busy_s = 0.0

    def handled(self, seconds: float) -> bool:
        """A handler took `seconds`. True if `value` has changed."""
        self._messages += 1
        self._busy_s += seconds
        if not self._judging or (self._messages < _MESSAGES and self._busy_s < _SECONDS):
            return False
        wanted = min(max(round(_HOLD_S * self._messages / max(self._busy_s, 1e-9)), LEAST), MOST)
        self._messages, self._busy_s = 0, 0.0
        if self.value / 2 < wanted < self.value * 2:
            return False
        changed = wanted != self.value
        self.value = wanted
        return changed
