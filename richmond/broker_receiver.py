"""What one account's gateway says, on its way to RabbitMQ."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from richmond import broker_sms
from richmond.broker_buffer import Buffer
from richmond.broker_commons import Commons
from richmond.broker_inbound import USSD_TYPES, Apologise, Drop, Inbound, Outcome, Publish, Turn
from richmond.broker_tally import Tally, excerpt
from richmond.errors import AMQPError
from richmond.settings import Settings, SsmiSettings
from richmond.sms_store import Lookup, Sent
from richmond.ssmi.codec import (
    Ack,
    DeliveryReport,
    Event,
    ExtendedUssd,
    Ignored,
    ImsiReply,
    MoSms,
    Nack,
    PremiumMo,
    RemoteLogout,
    Seq,
    Ussd,
)
from richmond.ssmi.sessions import SESSION_OVER, SessionTable

_log = logging.getLogger(__name__)

_LINK_EVENTS = frozenset((Ack, Nack, RemoteLogout))
_LEAST_UNCONFIRMED = 1000  # however small `buffer` is, confirms are pipelined


class Receiver:
    def __init__(
        self,
        settings: Settings,
        account: SsmiSettings,
        commons: Commons,
        sessions: SessionTable,
        counters: Tally,
        *,
        write: Callable[[bytes], bool],
        turn: Callable[[Turn], None],
        resume: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        """`write`: a line to the gateway; false if there is no link. `turn`: takes a page for it.

        `resume`: there is room again. `changed`: sessions may have to be saved.
        """
        self._inbound = Inbound(settings, account, sessions, commons.identity)
        self._sessions = sessions
        self._store = commons.sms
        self._opt_out = commons.opt_out
        self._outlet = commons.outlet
        self._tracer = commons.tracer
        self._identity = commons.identity
        self._counters = counters
        self._amqp = commons.amqp
        self._asleep = commons.asleep
        self._write = write
        self._turn = turn
        self._resume = resume
        self._changed = changed
        self._buffered = Buffer(self._too_late, account.apologise_after_s)
        self._away = True
        self._hope_ends = 0.0
        self.waiting = 0  # USSD messages that RabbitMQ has not confirmed
        self._stalled = False  # the gateway's reader waits for confirms
        self.configure(settings, account)

    def configure(self, settings: Settings, account: SsmiSettings) -> None:
        self._inbound.configure(settings, account)
        self._account = account
        self._exchange = settings.amqp.exchange
        self._buffer = account.buffer
        self._limit = max(_LEAST_UNCONFIRMED, account.buffer)
        self._buffered.configure(account.apologise_after_s)

    @property
    def away(self) -> bool:
        return self._away

    @property
    def waiting_ussd(self) -> int:
        counters = self._counters
        return counters["ussd"] - counters["published:ussd"] - counters["ussd-refused"] - counters["paged"]

    def on_amqp(self, away: bool, hope_ends: float) -> None:
        """`away`: RabbitMQ is. `hope_ends`: until then it may be back in a moment; monotonic."""
        self._away = away
        self._hope_ends = hope_ends
        if not away:
            for message in self._buffered.take():
                self._publish(message)
            self._amqp.flush()

    # The gateway's owner.

    def on_events(self, events: Sequence[Event]) -> None:
        now, wall = time.monotonic(), time.time()
        counters = self._counters
        self._sessions.expire(now)
        counters["received"] += len(events)
        ussd = 0
        posts = []
        for event in events:
            kind = type(event)
            if (kind is Ussd or kind is ExtendedUssd) and event.ussd_type in USSD_TYPES:  # type: ignore[union-attr]
                ussd += 1
                self._ussd(event, now, wall)  # type: ignore[arg-type]
            elif kind is Ignored:
                counters.note("ignored", event.reason, now, "line ignored: %s", excerpt(event.raw))  # type: ignore[union-attr]
            elif kind in _LINK_EVENTS:
                counters["link"] += 1
            else:
                post = self._inbound.post(event, wall, self._match(event))
                posts.append(post)
                if self._tracer.on and (msisdn := getattr(event, "msisdn", "")):
                    self._tracer.received(msisdn, post.id, post.kind, wall)
        counters["ussd"] += ussd
        if posts:
            self._outlet.put(posts, wall)
        self._amqp.flush()
        self._changed()

    def has_room(self) -> bool:
        """While RabbitMQ is away we read on and apologise to subscribers; when it is slow, the gateway has to wait."""
        self._stalled = bool(self.unread) or not (self._away or self.waiting + self._outlet.flying < self._limit)
        return not self._stalled

    @property
    def unread(self) -> str:
        """Why the gateway is not read, if that may last."""
        kept = self._outlet.kept(self._account.name)
        return f"{kept} messages wait in memory, and the journal takes nothing" if kept >= self._buffer else ""

    def look_for_room(self) -> None:
        """Something has gone."""
        if self._stalled and (self._away or self.waiting + self._outlet.flying <= self._limit // 2):
            self._resume()

    def lose(self) -> int:
        """The end: what RabbitMQ has not confirmed is lost; how many those are."""
        self._buffered.take()
        lost, self.waiting = self.waiting, 0
        if lost:
            self._counters["ussd-refused"] += self.waiting_ussd
            self._counters["dropped"] += lost
            self._counters["dropped:stopped"] += lost
        return lost

    def _ussd(self, event: Ussd | ExtendedUssd, now: float, wall: float) -> None:
        away = self._away
        full = away and self.waiting >= self._buffer
        outcome = self._inbound.ussd(event, now, wall, away and now >= self._hope_ends, full)
        if self._tracer.on:
            self._trace(event, outcome, wall)
        if type(outcome) is Publish:
            self.waiting += 1
            if away:
                self._buffered.put(outcome, now)
            else:
                self._publish(outcome)
        elif type(outcome) is Turn:
            self._counters["paged"] += 1
            self._turn(outcome)
        else:
            self._refuse(outcome, now)  # type: ignore[arg-type]

    def _publish(self, message: Publish) -> None:
        if message.routing_key in self._asleep:
            self._asleep.pop(message.routing_key)()
        try:
            self._amqp.publish(
                self._exchange, message.routing_key, message.body, on_done=partial(self._settled, message), hold=True
            )
        except AMQPError:  # closed
            self.waiting -= 1
            self._refuse(Drop("stopped"), time.monotonic())

    def _too_late(self, message: Publish, now: float) -> None:
        """It waits in the buffer no more."""
        self.waiting -= 1
        self._give_up(message, "rabbitmq-away" if self._inbound.is_open(message, now) else SESSION_OVER, now)

    def _settled(self, message: Publish, result: str | None) -> None:
        self.waiting -= 1
        if result is None:
            self._counters["published:ussd"] += 1
            if self._tracer.on:
                self._tracer.published(message.id)
        else:
            self._give_up(message, "unroutable", time.monotonic())
        self.look_for_room()

    def _give_up(self, message: Publish, reason: str, now: float) -> None:
        outcome = self._inbound.give_up(message, reason, now)
        self._refuse(outcome, now)
        if self._tracer.on:
            self._tracer.left(message.id, _said(outcome))

    def _trace(self, event: Ussd | ExtendedUssd, outcome: Outcome, wall: float) -> None:
        id = outcome.id if isinstance(outcome, Publish) else self._identity()
        self._tracer.received(event.msisdn, id, "ussd", wall)
        if not isinstance(outcome, Publish):
            self._tracer.left(id, _said(outcome))

    def _refuse(self, outcome: Apologise | Drop, now: float) -> None:
        counters = self._counters
        counters["ussd-refused"] += 1
        reason = outcome.reason
        if isinstance(outcome, Drop):
            counters.note("dropped", reason, now, "message dropped: %s", reason)
        elif self._write(outcome.line):
            counters.note("apologised", reason, now, "session ended with the apology: %s", reason)
        else:
            counters.note("dropped", reason, now, "session lost, and no link for the apology: %s", reason)

    def _match(self, event: Event) -> Sent | Lookup | None:
        """What the gateway speaks of, and what a subscriber asks us to remember."""
        name = self._account.name
        match event:
            case Seq(msisdn, sequence):
                return self._store.sequence(name, broker_sms.number(msisdn), sequence)
            case DeliveryReport(msisdn, sequence):
                return self._store.report(name, broker_sms.number(msisdn), sequence)
            case ImsiReply(sequence):
                lookup = self._store.imsi(sequence)
                return lookup if lookup is not None and lookup.account == name else None
            case MoSms(msisdn, _, text) | PremiumMo(msisdn, _, _, text) if self._account.opt_out:
                self._hear(broker_sms.number(msisdn), text)
        return None

    def _hear(self, msisdn: str, text: str) -> None:
        account = self._account
        said = self._opt_out.hear(account.name, msisdn, text, account.opt_out_keywords, account.opt_in_keywords)
        if said is not None:
            self._counters["opted-out" if said == "out" else "opted-in"] += 1


def _said(outcome: Apologise | Drop | Turn) -> str:
    """To the subscriber by the broker itself, in a trace."""
    match outcome:
        case Turn():
            return "paged"
        case Apologise(reason):
            return f"apologised: {reason}"
        case Drop(reason):
            return f"dropped: {reason}"
