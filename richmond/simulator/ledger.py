"""Messages at a fixed rate, what became of each, and how long it took. No I/O.

A message is due at its time whatever became of those before it, and is measured from the time when it was due: a
gateway or an application that stands still makes all the messages late that it kept from being sent, not one only.
Times are seconds since the beginning.
"""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict
from dataclasses import dataclass

REASONS = 20  # that are told apart


@dataclass(frozen=True, slots=True)
class Totals:
    """The end of a ledger: sent = answered + lost. Times are None where nothing was answered."""

    kind: str
    sent: int
    answered: int
    lost: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    why: dict[str, int]  # of what was lost


class Ledger:
    def __init__(self, kind: str, rate: float, seconds: float, timeout_s: float) -> None:
        """`rate`: messages a second, for `seconds`; one not answered `timeout_s` after it was due is lost."""
        self.kind = kind
        self._rate = rate
        self._planned = round(rate * seconds)
        self._timeout_s = timeout_s
        self._sent = 0
        self._open: OrderedDict[str, float] = OrderedDict()  # number -> due, soonest first
        self._took = array("d")
        self._why: Counter[str] = Counter()

    def next_due(self) -> float | None:
        """When the next message is to be sent; None: all are."""
        return self._sent / self._rate if self._sent < self._planned else None

    def deadline(self) -> float | None:
        """When `expire` is due."""
        return next(iter(self._open.values())) + self._timeout_s if self._open else None

    def over(self) -> bool:
        return self._sent == self._planned and not self._open

    def stop(self) -> None:
        """Send no more; what is open is waited for."""
        self._planned = self._sent

    def send(self, number: str) -> None:
        """The next message, which is due, goes out from this number, that has none open."""
        self._open[number] = self._sent / self._rate
        self._sent += 1

    def answer(self, number: str, now: float) -> bool:
        """False if nothing of this number is open."""
        due = self._open.pop(number, None)
        if due is None:
            return False
        self._took.append(now - due)
        return True

    def lose(self, number: str, why: str) -> bool:
        """False if nothing of this number is open."""
        if self._open.pop(number, None) is None:
            return False
        self._why[why if why in self._why or len(self._why) < REASONS else "other reasons"] += 1
        return True

    def expire(self, now: float) -> list[str]:
        """The numbers whose messages are lost by now."""
        late = []
        while (deadline := self.deadline()) is not None and deadline <= now:
            number = next(iter(self._open))
            self.lose(number, f"no answer within {self._timeout_s:g} s")
            late.append(number)
        return late

    def totals(self) -> Totals:
        took = sorted(self._took)
        return Totals(
            kind=self.kind,
            sent=self._sent,
            answered=len(took),
            lost=sum(self._why.values()),
            p50_ms=_percentile_ms(took, 50),
            p99_ms=_percentile_ms(took, 99),
            max_ms=_percentile_ms(took, 100),
            why=dict(self._why),
        )


def _percentile_ms(took: list[float], percent: int) -> float | None:
    """Nearest rank."""
    return round(took[max(0, -(-len(took) * percent // 100) - 1)] * 1000, 3) if took else None
