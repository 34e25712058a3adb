"""USSD messages of one account that wait for RabbitMQ to come back, as long as their subscribers may."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import gevent

from richmond.broker_inbound import WAITING_TYPES, Publish


class Buffer:
    """In order. A message for whose answer a subscriber waits is given up after `limit_s`; any other one stays."""

    def __init__(self, give_up: Callable[[Publish, float], None], limit_s: float) -> None:
        self._give_up = give_up
        self._limit_s = limit_s
        self._messages: deque[tuple[float, Publish]] = deque()  # when they came, monotonic
        self._stays: list[Publish] = []  # older than all of these
        self._timer: gevent.Greenlet | None = None

    def configure(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._set_timer()

    def put(self, message: Publish, now: float) -> None:
        self._messages.append((now, message))
        if len(self._messages) == 1:
            self._set_timer()

    def take(self) -> list[Publish]:
        """All of it."""
        messages = [*self._stays, *(message for _, message in self._messages)]
        self._stays.clear()
        self._messages.clear()
        self._set_timer()
        return messages

    def _set_timer(self) -> None:
        """For the oldest one."""
        if self._timer is not None:
            self._timer.kill(block=False)
            self._timer = None
        if self._messages:
            due = self._messages[0][0] + self._limit_s - time.monotonic()
            self._timer = gevent.spawn_later(max(0.0, due), self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = time.monotonic()
        while self._messages and self._messages[0][0] + self._limit_s <= now:
            _, message = self._messages.popleft()
            if message.ussd_type in WAITING_TYPES:
                self._give_up(message, now)
            else:
                self._stays.append(message)
        self._set_timer()
