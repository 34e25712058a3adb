"""What is in our hands of one send queue, from its delivery until it is acknowledged. `broker_sender` has two."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial

import gevent
import msgspec

from richmond import messages
from richmond.amqp.frames import Delivery
from richmond.amqp.topology import DEAD_ROUTING_KEY
from richmond.broker_commons import Commons
from richmond.broker_refusal import Refused, dead_letter_headers
from richmond.broker_tally import Tally
from richmond.errors import AMQPError
from richmond.settings import AmqpSettings, SsmiSettings

_log = logging.getLogger(__name__)

_RETRY_S = 1.0
_HELD_S = 60.0  # so much is taken ahead where the rate is limited: RabbitMQ asks for an answer within half an hour


class Names(msgspec.Struct, frozen=True):
    """Of counters."""

    taken: str
    sent: str
    refused: str
    returned: str


class Lane:
    """Its queue, and the way to the dead-letter queue. `queue`: its name."""

    def __init__(self, names: Names, commons: Commons, counters: Tally, quiet: Callable[[], None]) -> None:
        """`quiet`: something is held no more."""
        self._names = names
        self._counters = counters
        self._amqp = commons.amqp
        self._identity = commons.identity
        self._tracer = commons.tracer
        self._traced: dict[Delivery, str] = {}  # as what
        self._quiet = quiet
        self._unsettled = 0  # being sent or buried
        self.queue = ""
        self.prefetch = 1

    def _configure(self, amqp: AmqpSettings, account: SsmiSettings, queue: str, most: int, rate: float) -> None:
        self._names_on_rabbitmq = amqp
        self._account = account
        self.queue = queue
        self.prefetch = max(1, min(most, int(rate * _HELD_S))) if rate else most

    def _return(self, deliveries: Iterable[Delivery]) -> None:
        """To the queue. Void for what came on a connection that has gone: RabbitMQ has it."""
        count = 0
        for count, delivery in enumerate(deliveries, 1):  # noqa: B007
            self._amqp.reject(delivery, requeue=True)
        self._traced.clear()
        if count:
            self._counters[self._names.returned] += count
            self._amqp.flush()
            self._quiet()

    def _bury(self, delivery: Delivery, refused: Refused) -> None:
        """To the dead-letter queue. It counts as unsettled already."""
        self._trace_end(delivery, "refused", refused.reason)
        by = messages.writer(delivery.body)
        headers = dead_letter_headers(refused, self.queue, delivery.headers, time.time(), by)
        done = partial(self._buried, delivery, refused)
        exchange = self._names_on_rabbitmq.exchange
        try:
            self._amqp.publish(exchange, DEAD_ROUTING_KEY, delivery.body, headers=headers, on_done=done)
        except AMQPError:  # closed: it was not acknowledged, so RabbitMQ still has it
            self._unsettled -= 1
            self._counters[self._names.returned] += 1

    def _trace(self, delivery: Delivery, id: str = "") -> None:
        """`id`: of what answers nothing."""
        self._traced[delivery] = self._tracer.replied(delivery.body, id or self._identity())

    def _trace_end(self, delivery: Delivery, *outcome: str) -> None:
        if self._tracer.on and (id := self._traced.pop(delivery, "")):
            self._tracer.left(id, ": ".join(outcome))

    def _buried(self, delivery: Delivery, refused: Refused, result: str | None) -> None:
        if result is not None:
            _log.error("the dead-letter queue %s takes nothing: %s", self._names_on_rabbitmq.dead_queue, result)
            gevent.spawn_later(_RETRY_S, self._bury, delivery, refused)
            return
        self._unsettled -= 1
        self._amqp.ack(delivery)
        self._counters.note(self._names.refused, refused.reason, time.monotonic(), "not sent: %s", refused.detail)
        self._quiet()
