"""Which sequence and delivery report each submitted SMS gets, and the reports that wait for their time. No I/O."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from richmond.simulator.subscribers import Refused
from richmond.ssmi.codec import DeliveryReport

DELIVERED = "0"
RULES = 10_000  # numbers with a rule of their own
WAITING = 100_000  # reports


@dataclass(frozen=True, slots=True)
class Rule:
    """`code`: only an SMS with DELIVERED reaches its inbox. `delay_s`: from the SMS to its report."""

    code: str = DELIVERED
    delay_s: float = 0.0
    seq: bool = True
    report: bool = True

    def __str__(self) -> str:
        words = [f"report {self.code}" if self.report else f"no report (code {self.code})"]
        if self.report and self.delay_s:
            words.append(f"after {self.delay_s:g} s")
        if not self.seq:
            words.append("without sequence")
        return " ".join(words)


class Reports:
    def __init__(self) -> None:
        self._for_all = Rule()
        self._rules: dict[str, Rule] = {}
        self._waiting: list[tuple[float, int, str, DeliveryReport]] = []  # a heap
        self._put = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def set(self, msisdn: str, rule: Rule) -> None:
        """`msisdn`: empty for all that have no rule of their own."""
        if not msisdn:
            self._for_all = rule
        elif msisdn not in self._rules and len(self._rules) >= RULES:
            raise Refused(f"{RULES} numbers have a rule of their own already: reset some")
        else:
            self._rules[msisdn] = rule

    def reset(self, msisdn: str) -> None:
        """The rule of this number; without one every rule. What waits is sent as it was promised."""
        if msisdn:
            self._rules.pop(msisdn, None)
        else:
            self._for_all = Rule()
            self._rules.clear()

    def rule(self, msisdn: str) -> Rule:
        return self._rules.get(msisdn, self._for_all)

    def listed(self, most: int = 20) -> list[str]:
        """For people: what is not as in the beginning."""
        told = [f"all: {self._for_all}"] if self._for_all != Rule() else []
        told += [f"{msisdn}: {rule}" for msisdn, rule in list(self._rules.items())[:most]]
        return told + ([f"and {len(self._rules) - most} more numbers"] if len(self._rules) > most else [])

    def later(self, due: float, account: str, report: DeliveryReport) -> bool:
        """False if too many wait already: this one never comes."""
        if len(self._waiting) >= WAITING:
            return False
        self._put += 1
        heapq.heappush(self._waiting, (due, self._put, account, report))
        return True

    def deadline(self) -> float | None:
        return self._waiting[0][0] if self._waiting else None

    def due(self, now: float) -> list[tuple[str, DeliveryReport]]:
        """Each with its account, in the order of their times."""
        found = []
        while self._waiting and self._waiting[0][0] <= now:
            _, _, account, report = heapq.heappop(self._waiting)
            found.append((account, report))
        return found
