"""How fast messages may go to the gateway: a token bucket, and the queue in front of it. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

_T = TypeVar("_T")

_WHOLE = 1.0 - 1e-6  # of a token: sums of fractions miss 1 by a little, and the wait for the rest would be none


class Bucket:
    """`rate`: tokens a second, 0 for no limit. `burst`: so many at once, after a quiet time; at least 1."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self._burst = max(1.0, burst)
        self._tokens = self._burst
        self._at: float | None = None  # when `_tokens` was right; None: full, as long as nobody took one

    def reconfigure(self, rate: float, burst: float, now: float) -> None:
        """From now on; what has been saved up stays, up to the new burst."""
        self._fill(now)
        self.rate = rate
        self._burst = max(1.0, burst)
        self._tokens = min(self._tokens, self._burst)

    def wait(self, now: float) -> float:
        """Seconds until there is a token; 0.0: there is one."""
        self._fill(now)
        return 0.0 if self.rate <= 0 or self._tokens >= _WHOLE else (1.0 - self._tokens) / self.rate

    def take(self, now: float) -> float:
        """0.0: a token is taken. Else none is, and there is one after so many seconds."""
        wait = self.wait(now)
        if not wait and self.rate > 0:
            self._tokens -= 1.0
        return wait

    def _fill(self, now: float) -> None:
        if self._at is not None and now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self.rate)
        self._at = now if self._at is None else max(now, self._at)


@dataclass(frozen=True, slots=True)
class Biting:
    """`waiting`: messages. `since`: when the first had to, by the clock of `now`. `per_second`: the rate allowed."""

    waiting: int
    since: float
    per_second: float


class Throttle(Generic[_T]):
    """First in, first out, and out no faster than the bucket allows: so also in order within a subscriber."""

    def __init__(self, rate: float, burst: float) -> None:
        self._bucket = Bucket(rate, burst)
        self._waiting: deque[_T] = deque()
        self._since: float | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def reconfigure(self, rate: float, burst: float, now: float) -> None:
        self._bucket.reconfigure(rate, burst, now)

    def put(self, item: _T) -> None:
        self._waiting.append(item)

    def put_back(self, items: Iterable[_T]) -> None:
        """To the front, in order: they were due, but did not get there. Their tokens are gone."""
        self._waiting.extendleft(reversed(list(items)))

    def due(self, now: float) -> list[_T]:
        """Those that may go now, taken out."""
        items: list[_T] = []
        while self._waiting and not self._bucket.take(now):
            items.append(self._waiting.popleft())
        if not self._waiting:
            self._since = None
        elif self._since is None:
            self._since = now
        return items

    def next_in(self, now: float) -> float | None:
        """Seconds until something is due; None: nothing waits."""
        return self._bucket.wait(now) if self._waiting else None

    def clear(self) -> list[_T]:
        """All that wait, taken out."""
        items = list(self._waiting)
        self._waiting.clear()
        self._since = None
        return items

    def biting(self) -> Biting | None:
        """None: nothing waits for a token."""
        return None if self._since is None else Biting(len(self._waiting), self._since, self._bucket.rate)
