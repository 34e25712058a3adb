"""USSD replies on their way to the gateway. They are judged when they leave: until then a session may end."""

from __future__ import annotations

import time
from collections.abc import Callable

from richmond import broker_replies
from richmond.amqp.client import Client
from richmond.amqp.frames import Delivery
from richmond.broker_lane import Lane, Names
from richmond.broker_refusal import Refused
from richmond.broker_replies import Line
from richmond.broker_sms import Outgoing
from richmond.broker_tally import Tally
from richmond.settings import AmqpSettings, SsmiSettings
from richmond.ssmi.sessions import SessionTable
from richmond.throttle import Biting, Throttle

Batch = list[tuple[Delivery, Line]]


class UssdLane(Lane):
    def __init__(
        self,
        sessions: SessionTable,
        counters: Tally,
        amqp: Client,
        quiet: Callable[[], None],
        stray: Callable[[Delivery, Outgoing], None],
    ) -> None:
        """`stray`: takes what is no USSD reply."""
        super().__init__(Names("replies", "sent", "refused", "returned"), counters, amqp, quiet)
        self._sessions = sessions
        self._stray = stray
        self._arrived: list[Delivery] = []  # not looked at yet
        self._throttle: Throttle[Delivery] | None = None  # None: no limit

    def configure(self, amqp: AmqpSettings, account: SsmiSettings, queue: str) -> None:
        rate, burst = account.ussd_rate, account.ussd_burst
        self._configure(amqp, account, queue, amqp.prefetch, rate)
        if not rate:
            self._arrived[:0] = self._throttle.clear() if self._throttle is not None else []
            self._throttle = None
        elif self._throttle is None:
            self._throttle = Throttle(rate, burst)
        else:
            self._throttle.reconfigure(rate, burst, time.monotonic())

    @property
    def held(self) -> int:
        return len(self._arrived) + self._unsettled + (len(self._throttle) if self._throttle is not None else 0)

    @property
    def biting(self) -> Biting | None:
        return self._throttle.biting() if self._throttle is not None else None

    def next_in(self, now: float) -> float | None:
        """Seconds until one may go that waits for its token."""
        return self._throttle.next_in(now) if self._throttle is not None else None

    def put(self, delivery: Delivery) -> None:
        self._counters["replies"] += 1
        self._arrived.append(delivery)

    def take(self, now: float) -> tuple[bytes, Batch]:
        deliveries, self._arrived = self._arrived, []
        if self._throttle is not None:
            for delivery in deliveries:
                self._throttle.put(delivery)
            deliveries = self._throttle.due(now)
        self._unsettled += len(deliveries)
        sessions, account, counters = self._sessions, self._account, self._counters
        batch = []
        for delivery in deliveries:
            outcome = broker_replies.decide(delivery.body, sessions, account, now)
            if type(outcome) is Line:
                batch.append((delivery, outcome))
                if outcome.replaced:
                    counters["replaced-characters"] += outcome.replaced
                if outcome.too_long:
                    counters["too-long"] += 1
            elif type(outcome) is Refused:
                self._bury(delivery, outcome)
            else:
                self._unsettled -= 1
                counters["replies"] -= 1
                self._stray(delivery, outcome)  # type: ignore[arg-type]
        return b"".join([line.data for _, line in batch]), batch

    def sent(self, batch: Batch) -> None:
        for delivery, _ in batch:
            self._amqp.ack(delivery, hold=True)
        self._counters["sent"] += len(batch)
        self._unsettled -= len(batch)

    def put_back(self, batch: Batch) -> None:
        """They may not have got there."""
        now = time.monotonic()
        for _, line in batch:
            if line.ended is not None:
                self._sessions.reopen(line.msisdn, line.ended, now)
        self._unsettled -= len(batch)
        self._arrived[:0] = [delivery for delivery, _ in batch]

    def give_back(self) -> None:
        deliveries, self._arrived = self._arrived, []
        if self._throttle is not None:
            deliveries += self._throttle.clear()
        self._return(deliveries)
