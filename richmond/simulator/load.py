"""Subscribers who dial and send SMS at a rate, whatever the answers do. Plain sockets and select."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from richmond.simulator import wire
from richmond.simulator.ledger import Ledger, Totals
from richmond.simulator.line import Line

NOT_MORE_S = 1.0  # to hear of the ends of sessions that were hung up


@dataclass(frozen=True, slots=True)
class Plan:
    """Rates are messages a second, 0 for none. `timeout_s`: after that an answer is lost."""

    ussd_rate: float
    sms_rate: float
    seconds: float
    code: str
    text: str
    to: str  # short code of the SMS; empty: no premium SMS
    account: str
    timeout_s: float
    one_way: bool  # the SMS are not answered: one that the gateway took is all right


def run(line: Line, plan: Plan) -> list[Totals]:
    """Play it to its end; Ctrl-C ends it early. A call is answered by its first menu, an SMS by an SMS."""
    player = _Player(line, plan)
    try:
        player.play()
    except KeyboardInterrupt:
        player.stop()
        player.play()
    return [ledger.totals() for ledger in player.ledgers]


class _Player:
    def __init__(self, line: Line, plan: Plan) -> None:
        self._line = line
        self._plan = plan
        self._ussd = Ledger("ussd", plan.ussd_rate, plan.seconds, plan.timeout_s)
        self._sms = Ledger("sms", plan.sms_rate, plan.seconds, plan.timeout_s)
        self.ledgers = [
            ledger for ledger, rate in ((self._ussd, plan.ussd_rate), (self._sms, plan.sms_rate)) if rate > 0
        ]
        self._asked: deque[tuple[Ledger | None, str]] = deque()  # whose answer comes next, and for which number
        self._start = time.monotonic()
        self._free: deque[str] = deque()
        self._ending: set[str] = set()  # answered, and the session not over yet
        # Nobody else's numbers: 15 digits, of which four are this run's.
        self._prefix = f"2784{random.randrange(10**4):04}"  # noqa: S311 - no secret
        self._numbers = 0

    def stop(self) -> None:
        for ledger in self.ledgers:
            ledger.stop()

    def play(self) -> None:
        while not all(ledger.over() for ledger in self.ledgers):
            now = self._now()
            self._send_due(self._ussd, self._dial, now)
            self._send_due(self._sms, self._text, now)
            self._expire(now)
            self._take(self._wait())
        while self._asked and (event := self._line.next(NOT_MORE_S)) is not None:
            self._take(event)

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _send_due(self, ledger: Ledger, send: Callable[[], None], now: float) -> None:
        while (due := ledger.next_due()) is not None and due <= now:
            send()

    def _wait(self) -> wire.Event | None:
        """What comes next; None once there is something to do first."""
        times = [t for ledger in self.ledgers for t in (ledger.next_due(), ledger.deadline()) if t is not None]
        return self._line.next(max(0.0, min(times) - self._now())) if times else None

    def _dial(self) -> None:
        number = self._free.popleft() if self._free else self._new_number()
        self._ussd.send(number)
        self._ask(self._ussd, wire.Dial(msisdn=number, code=self._plan.code, account=self._plan.account))

    def _text(self) -> None:
        number = self._new_number()  # never one again: a late answer to the SMS before would be taken for its own
        self._sms.send(number)
        plan = self._plan
        self._ask(self._sms, wire.SendSms(msisdn=number, text=plan.text, to=plan.to, account=plan.account))

    def _new_number(self) -> str:
        self._numbers += 1
        return f"{self._prefix}{self._numbers:07}"

    def _ask(self, ledger: Ledger | None, request: wire.Request) -> None:
        self._asked.append((ledger, request.msisdn))
        self._line.send(request)

    def _expire(self, now: float) -> None:
        for number in self._ussd.expire(now):
            self._ask(None, wire.Hangup(msisdn=number))
        self._sms.expire(now)

    def _take(self, event: wire.Event | None) -> None:
        match event:
            case wire.Ok():
                ledger, number = self._asked.popleft()
                if ledger is self._sms and self._plan.one_way:
                    ledger.answer(number, self._now())
            case wire.Error():
                ledger, number = self._asked.popleft()
                if ledger is not None:  # else the session had ended before we hung up
                    ledger.lose(number, event.text)
            case wire.Menu():
                if self._ussd.answer(event.msisdn, self._now()):
                    self._ending.add(event.msisdn)
                    if event.open:
                        self._ask(None, wire.Hangup(msisdn=event.msisdn))
            case wire.End() if event.reason != "redirect":
                self._ussd.lose(event.msisdn, f"the session ended without a menu: {event.reason}")
                if event.msisdn in self._ending:  # a number whose call was lost may get its answer yet
                    self._ending.remove(event.msisdn)
                    self._free.append(event.msisdn)
            case wire.Message():
                self._sms.answer(event.msisdn, self._now())
            case _:
                pass
