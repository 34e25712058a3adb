"""What the AMQP client's reader has for the main thread: put in one by one, and told of once a read.

Waking the main thread for each message would have both threads fight for the interpreter: the reader is not done
with what it read when the main thread begins with the first of it.
"""

from __future__ import annotations

import queue
from collections import deque

from richmond.amqp.frames import Delivery


class Inbox:
    """Many may `put` and `ring`, a signal handler too; one takes."""

    def __init__(self) -> None:
        self._deliveries: deque[Delivery] = deque()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waited_for = False

    def __len__(self) -> int:
        return len(self._deliveries)

    def put(self, delivery: Delivery) -> None:
        """Wakes nobody: `read` does."""
        self._deliveries.append(delivery)

    def read(self) -> None:
        """All that one read brought has been put."""
        if self._waited_for and self._deliveries:
            self._bell.put(None)

    def ring(self) -> None:
        """Something else has changed: `take` returns."""
        self._bell.put(None)

    def take(self, timeout_s: float | None = None) -> Delivery | None:
        """The next delivery; None when somebody rang. queue.Empty after `timeout_s`."""
        if not self._deliveries:
            self._waited_for = True
            if not self._deliveries:  # one that came just now saw nobody wait
                self._bell.get(timeout=timeout_s)
            self._waited_for = False
        return self._deliveries.popleft() if self._deliveries else None
