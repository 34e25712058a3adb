"""A value that is made anew at most once a second, however many ask for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from gevent.lock import Semaphore

KEEP_S = 1.0

_T = TypeVar("_T")


class Recent(Generic[_T]):
    """`make` may block: whoever asks meanwhile waits for the same one."""

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._made: tuple[float, _T] | None = None
        self._making = Semaphore()

    def __call__(self) -> _T:
        with self._making:
            if self._made is None or time.monotonic() - self._made[0] > KEEP_S:
                self._made = time.monotonic(), self._make()
            return self._made[1]
