"""Which messages kill the workers that handle them. Pure.

RabbitMQ's classic queues keep no count of deliveries, and what a dead worker had only prefetched is innocent: so it is
the message in hand at the moment of death that counts, as the worker's row of the scoreboard names it.
"""

from __future__ import annotations

from collections import OrderedDict

DEATHS = 2  # after so many, a message goes to the dead-letter queue instead of walking the pool to FATAL
_REMEMBERED = 1000


class Deaths:
    """Counts deaths by message."""

    def __init__(self) -> None:
        self._deaths: OrderedDict[int, int] = OrderedDict()

    def count(self, message: int) -> bool:
        """A worker died with `message` in hand. True when that is one death too many."""
        deaths = self._deaths.pop(message, 0) + 1
        self._deaths[message] = deaths
        if len(self._deaths) > _REMEMBERED:
            self._deaths.popitem(last=False)
        return deaths >= DEATHS

    def is_last(self, message: int) -> bool:
        """The next death with it in hand is one too many."""
        return self._deaths.get(message, 0) + 1 >= DEATHS
