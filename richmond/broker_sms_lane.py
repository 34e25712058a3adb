"""SMS, and all else that is no USSD reply, on their way to the gateway: in order, no faster than the account may."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import get_args

import msgspec

from richmond import broker_sms, messages
from richmond.amqp.frames import Delivery
from richmond.broker_commons import Commons
from richmond.broker_lane import Lane, Names
from richmond.broker_refusal import Refused
from richmond.broker_sms import Outgoing
from richmond.broker_tally import Tally
from richmond.errors import MessageError
from richmond.messages import LookUpImsi, UssdReply
from richmond.settings import AmqpSettings, SsmiSettings
from richmond.throttle import Biting, Throttle

_SENT = {kind: f"sent:{kind.__struct_config__.tag}" for kind in get_args(Outgoing)}  # counters
_MOST_HELD = 100  # an MMS may have a megabyte
_MOST_RECENT = 10_000  # ids of what was sent
_MOST_BYTES = 65536  # that are written at once: a USSD reply that comes meanwhile waits no longer


class Waiting(msgspec.Struct, eq=False):
    """One that waits for its turn. `texts`: of an SMS, one for each of its parts."""

    delivery: Delivery
    message: Outgoing
    id: str
    texts: Sequence[str]


Batch = list[Waiting]


class SmsLane(Lane):
    def __init__(
        self,
        account: SsmiSettings,
        commons: Commons,
        counters: Tally,
        quiet: Callable[[], None],
        stray: Callable[[Delivery], None],
    ) -> None:
        """`stray`: takes a USSD reply."""
        super().__init__(Names("sms-taken", "sms-sent", "sms-refused", "sms-returned"), commons, counters, quiet)
        self._store = commons.sms
        self._opt_out = commons.opt_out
        self._stray = stray
        self._recent: OrderedDict[str, None] = OrderedDict()  # sent: if RabbitMQ did not hear of it, it comes again
        self._on_the_way: dict[str, Waiting] = {}  # being written, or written and not known to have arrived
        self._queued = 0  # in the next two
        self._due: deque[Waiting] = deque()  # they have their tokens
        # An SMS of three parts stands in it with two None behind: its parts leave together, and are paid for after.
        self._throttle: Throttle[Waiting | None] = Throttle(account.sms_rate, account.sms_burst)

    def configure(self, amqp: AmqpSettings, account: SsmiSettings, queue: str) -> None:
        self._configure(amqp, account, queue, min(amqp.prefetch, _MOST_HELD), account.sms_rate)
        self._throttle.reconfigure(account.sms_rate, account.sms_burst, time.monotonic())

    @property
    def held(self) -> int:
        return self._queued + self._unsettled

    @property
    def leaving(self) -> int:
        """Held, and not for want of a token."""
        return self._unsettled + len(self._due)

    @property
    def waits(self) -> bool:
        """There is something to `take`, or to pay for."""
        return bool(self._due or len(self._throttle))

    @property
    def biting(self) -> Biting | None:
        waiting = self._queued - len(self._due)
        biting = self._throttle.biting()
        return replace(biting, waiting=waiting) if biting is not None and waiting else None

    def next_in(self, now: float) -> float | None:
        return 0.0 if self._due else self._throttle.next_in(now)

    def put(self, delivery: Delivery) -> None:
        self._counters["sms-taken"] += 1
        try:
            message = messages.decode_outbound(delivery.body)
        except MessageError as e:
            self._refuse(delivery, Refused(e.reason, e.detail))
            return
        if isinstance(message, UssdReply):
            self._counters["sms-taken"] -= 1
            self._stray(delivery)
        else:
            self._queue(delivery, message)

    def put_stray(self, delivery: Delivery, message: Outgoing) -> None:
        """From the other queue of the account."""
        self._counters["sms-taken"] += 1
        self._queue(delivery, message)

    def take(self, now: float) -> tuple[bytes, Batch]:
        wall = time.time()
        data = b""
        batch = []
        due = self._due
        due += [waiting for waiting in self._throttle.due(now) if waiting is not None]
        while due and len(data) < _MOST_BYTES:
            waiting = due.popleft()
            self._queued -= 1
            outcome = self._lines(waiting, wall)
            if isinstance(outcome, Refused):
                self._refuse(waiting.delivery, outcome)
            else:
                self._unsettled += 1
                data += b"".join(outcome)
                batch.append(waiting)
                self._on_the_way[waiting.id] = waiting
        return data, batch

    def sent(self, batch: Batch) -> None:
        wall = time.time()
        counters, account = self._counters, self._account.name
        for waiting in batch:
            self._amqp.ack(waiting.delivery, hold=True)
            self._trace_end(waiting.delivery, "sent")
            message = waiting.message
            counters[_SENT[type(message)]] += 1
            self._on_the_way.pop(waiting.id, None)
            self._recent[waiting.id] = None
            if len(self._recent) > _MOST_RECENT:
                self._recent.popitem(last=False)
            if isinstance(message, broker_sms.REPORTED):
                # Not before: what did not get there would be taken for what a later sequence or report is about.
                count, msisdn = len(waiting.texts), broker_sms.number(message.msisdn)
                for part in range(1, count + 1):
                    self._store.sent(waiting.id, part, count, account, msisdn, message.report_to, wall)
        counters["sms-sent"] += len(batch)
        self._unsettled -= len(batch)

    def put_back(self, batch: Batch) -> None:
        """They may not have got there."""
        for waiting in batch:
            self._on_the_way.pop(waiting.id, None)
        self._unsettled -= len(batch)
        self._queued += len(batch)
        self._due.extendleft(reversed(batch))

    def give_back(self) -> None:
        waiting = [*self._due, *self._throttle.clear()]
        self._due.clear()
        self._queued = 0
        self._return(w.delivery for w in waiting if w is not None)

    def _queue(self, delivery: Delivery, message: Outgoing) -> None:
        id = message.id or self._identity()
        if delivery.redelivered and id in self._recent:
            self._counters["sms-repeated"] += 1
            self._amqp.ack(delivery)
            return
        if delivery.redelivered and (known := self._on_the_way.get(id)) is not None:
            self._counters["sms-repeated"] += 1
            self._amqp.ack(known.delivery)  # void if it is the one that RabbitMQ has back
            known.delivery = delivery  # what becomes of the SMS is what becomes of this one
            return
        if self._tracer.on:
            self._trace(delivery, id)
        found = broker_sms.parts(message, self._account)
        if isinstance(found, Refused):
            self._refuse(delivery, found)
            return
        texts, replaced = found
        if replaced:
            self._counters["replaced-characters"] += replaced
        self._queued += 1
        self._throttle.put(Waiting(delivery, message, id, texts))
        for _ in texts[1:]:
            self._throttle.put(None)

    def _lines(self, waiting: Waiting, wall: float) -> list[bytes] | Refused:
        message, account = waiting.message, self._account
        msisdn = broker_sms.number(message.msisdn)
        sequence = ""
        if isinstance(message, LookUpImsi):
            given = self._store.looked_up(waiting.id, account.name, msisdn, message.report_to, wall)
            if given is None:
                return Refused("not-remembered", "sms.db cannot be written: nobody would know what the answer answers")
            sequence = given
        elif account.opt_out and self._opt_out.is_out(account.name, msisdn):
            return Refused("opted-out", "the subscriber has asked for no more SMS from this account")
        return broker_sms.lines(message, waiting.texts, account, wall, sequence)

    def _refuse(self, delivery: Delivery, refused: Refused) -> None:
        self._unsettled += 1
        self._bury(delivery, refused)
