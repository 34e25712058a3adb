"""USSD replies on their way to the gateway. They are judged when they leave: until then a session may end."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from richmond.amqp.frames import Delivery
from richmond.broker_commons import Commons
from richmond.broker_inbound import Turn
from richmond.broker_lane import Lane, Names
from richmond.broker_refusal import Refused
from richmond.broker_replies import Line, Replies
from richmond.broker_sms import Outgoing
from richmond.broker_tally import Tally
from richmond.durations import Histogram
from richmond.settings import Settings, SsmiSettings
from richmond.ssmi.codec import UssdType
from richmond.ssmi.sessions import Session, SessionTable
from richmond.throttle import Biting, Throttle

_END = str(UssdType.END)


class Batch(msgspec.Struct, eq=False):
    """What leaves together. `turns`: pages, each with the session that it ends."""

    replies: list[tuple[Delivery, Line]]
    turns: list[tuple[Turn, Session | None]]

    def __bool__(self) -> bool:
        return bool(self.replies or self.turns)


class UssdLane(Lane):
    def __init__(
        self,
        settings: Settings,
        account: SsmiSettings,
        commons: Commons,
        sessions: SessionTable,
        counters: Tally,
        quiet: Callable[[], None],
        stray: Callable[[Delivery, Outgoing], None],
    ) -> None:
        """`stray`: takes what is no USSD reply."""
        super().__init__(Names("replies", "sent", "refused", "returned"), commons, counters, quiet)
        self._sessions = sessions
        self._stray = stray
        self._replies = Replies(settings, account, sessions)
        self._arrived: list[Delivery | Turn] = []  # not looked at yet
        self._turns = 0  # pages in there, or waiting for their token
        self.end_to_end = Histogram()  # from a message at the gateway's socket to its reply there
        self._throttle: Throttle[Delivery | Turn] | None = None  # None: no limit

    def configure(self, settings: Settings, account: SsmiSettings, queue: str) -> None:
        rate, burst = account.ussd_rate, account.ussd_burst
        self._configure(settings.amqp, account, queue, settings.amqp.prefetch, rate)
        self._replies.configure(settings, account)
        if not rate:
            self._arrived[:0] = self._throttle.clear() if self._throttle is not None else []
            self._throttle = None
        elif self._throttle is None:
            self._throttle = Throttle(rate, burst)
        else:
            self._throttle.reconfigure(rate, burst, time.monotonic())

    @property
    def held(self) -> int:
        """Replies that are neither sent nor back at RabbitMQ."""
        throttled = len(self._throttle) if self._throttle is not None else 0
        return len(self._arrived) + throttled + self._unsettled - self._turns

    @property
    def biting(self) -> Biting | None:
        return self._throttle.biting() if self._throttle is not None else None

    def next_in(self, now: float) -> float | None:
        """Seconds until one may go that waits for its token."""
        return self._throttle.next_in(now) if self._throttle is not None else None

    def put(self, delivery: Delivery) -> None:
        self._counters["replies"] += 1
        self._arrived.append(delivery)

    def put_turn(self, turn: Turn) -> None:
        self._turns += 1
        self._arrived.append(turn)

    def take(self, now: float) -> tuple[bytes, Batch]:
        items, self._arrived = self._arrived, []
        if self._throttle is not None:
            for item in items:
                self._throttle.put(item)
            items = self._throttle.due(now)
        decide, counters, traces = self._replies.decide, self._counters, self._tracer.on
        lines = []
        batch = Batch([], [])
        replies = batch.replies
        for item in items:
            if type(item) is Turn:
                lines.append(self._turn(item, batch, now))
                continue
            self._unsettled += 1
            if traces:
                self._trace(item)  # type: ignore[arg-type]
            outcome = decide(item.body, now)  # type: ignore[union-attr]
            if type(outcome) is Line:
                lines.append(outcome.data)
                replies.append((item, outcome))  # type: ignore[arg-type]
                if outcome.replaced:
                    counters["replaced-characters"] += outcome.replaced
                if outcome.too_long:
                    counters["too-long"] += 1
            elif type(outcome) is Refused:
                self._bury(item, outcome)  # type: ignore[arg-type]
            else:
                self._unsettled -= 1
                counters["replies"] -= 1
                self._stray(item, outcome)  # type: ignore[arg-type]
        return b"".join(lines), batch

    def sent(self, batch: Batch) -> None:
        ack, now, add = self._amqp.ack, time.monotonic(), self.end_to_end.add
        for delivery, line in batch.replies:
            ack(delivery, hold=True)
            if line.asked:
                add(now - line.asked)
        if self._tracer.on:
            for delivery, _ in batch.replies:
                self._trace_end(delivery, "sent")
        self._counters["sent"] += len(batch.replies)
        self._unsettled -= len(batch.replies)

    def put_back(self, batch: Batch) -> None:
        """They may not have got there."""
        now = time.monotonic()
        ended = [(line.msisdn, line.ended) for _, line in batch.replies]
        ended += [(turn.msisdn, session) for turn, session in batch.turns]
        for msisdn, session in ended:
            if session is not None:
                self._sessions.reopen(msisdn, session, now)
        for turn, _ in batch.turns:
            self._untake(turn)
        self._unsettled -= len(batch.replies)
        self._arrived[:0] = [delivery for delivery, _ in batch.replies]

    def give_back(self) -> None:
        items, self._arrived = self._arrived, []
        if self._throttle is not None:
            items += self._throttle.clear()
        for item in items:
            if isinstance(item, Turn):
                self._untake(item)
        self._turns = 0
        self._return([item for item in items if not isinstance(item, Turn)])

    def _turn(self, turn: Turn, batch: Batch, now: float) -> bytes:
        self._turns -= 1
        if self._sessions.refusal(turn.msisdn, turn.token, now) is not None:
            self._counters["pages-too-late"] += 1
            return b""
        ended = self._sessions.replied(turn.msisdn, turn.ussd_type, now) if turn.ussd_type == _END else None
        batch.turns.append((turn, ended))
        return turn.line

    def _untake(self, turn: Turn) -> None:
        """The subscriber may ask for it once more."""
        self._sessions.keep_pages(turn.msisdn, turn.token, turn.pages)
