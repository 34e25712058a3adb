"""Requests that the loop answers: a greenlet asks, and sleeps until the answer is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent.event import AsyncResult

Answer = dict[str, Any]


class Requests:
    """`put`: into the loop's inbox."""

    def __init__(self, put: Callable[[Any], None]) -> None:
        self._put = put
        self._number = 0
        self._waiting: dict[int, AsyncResult[Answer]] = {}

    def ask(self, event: Callable[[int], Any]) -> Answer:
        """`event` makes what goes into the inbox, from the request's number."""
        self._number += 1
        answer: AsyncResult[Answer] = AsyncResult()
        self._waiting[self._number] = answer
        self._put(event(self._number))
        found: Answer = answer.get()
        return found

    def answer(self, number: int | None, answer: Answer) -> None:
        """None: a signal, nobody asks. Who has been answered is not answered again."""
        if number in self._waiting:
            self._waiting.pop(number).set(answer)

    def close(self, answer: Callable[[int], Answer]) -> None:
        """Answer all that are left."""
        for number in list(self._waiting):
            self.answer(number, answer(number))
