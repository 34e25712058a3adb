"""What a worker's main thread has to do, and where it waits for more: at its connection.

It reads there by itself, so that nobody has to wake it for a message. While a handler takes its time the connection's
own thread reads, and puts in here what it gets.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from richmond.amqp.frames import Delivery


class Inbox:
    """Many may `put` and `ring`, a signal handler too; one takes."""

    def __init__(self, attend: Callable[[Inbox, float | None], bool | None]) -> None:
        """`attend`: `Client.attend`."""
        self._attend = attend
        self._deliveries: deque[Delivery] = deque()
        self._waited_for = False  # here, not at the connection
        self._hear, self._bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._hear, select.POLLIN)

    def __len__(self) -> int:
        return len(self._deliveries)

    def fileno(self) -> int:
        return self._hear

    def put(self, delivery: Delivery) -> None:
        """Wakes nobody: `read` does."""
        self._deliveries.append(delivery)

    def read(self) -> None:
        """All that one read brought has been put."""
        if self._waited_for and self._deliveries:
            self.ring()

    def ring(self) -> None:
        """Something else has changed: `take` returns."""
        with suppress(BlockingIOError):  # it has been rung often enough
            os.write(self._bell, b"\0")

    def take(self, timeout_s: float | None = None) -> Delivery | None:
        """The next delivery; None when somebody rang, or nothing came within `timeout_s`."""
        if not self._deliveries:
            rung = self._attend(self, timeout_s)
            if rung is None:
                self._wait(timeout_s)
            elif rung:
                self._hush()
        return self._deliveries.popleft() if self._deliveries else None

    def look(self) -> None:
        """Send and read what can be without waiting."""
        if self._attend(self, 0.0):
            self.ring()  # whoever it was for

    def close(self) -> None:
        os.close(self._hear)
        os.close(self._bell)

    def _wait(self, timeout_s: float | None) -> None:
        self._waited_for = True
        if not self._deliveries:  # one that came just now saw nobody wait
            self._poll.poll(None if timeout_s is None else timeout_s * 1000)
        self._waited_for = False
        self._hush()

    def _hush(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._hear, 65536)
