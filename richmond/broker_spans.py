"""The broker's link to RabbitMQ where messages are followed as spans. Where they are not, it is a plain Client.

receive KIND  from the gateway's socket until RabbitMQ has confirmed
publish KEY     in it: from the publish on; a worker's spans follow
send          a reply, from its delivery out of the send queue until the gateway's socket has taken it
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from richmond import log
from richmond.amqp.client import Client, LinkState
from richmond.amqp.frames import Delivery
from richmond.amqp.topology import Topology
from richmond.settings import AmqpSettings, OtelSettings
from richmond.spans import NOTHING, Span, SpanKind, Spans, fail, headers_of, parent_of, within

_CLOSE_S = 1.0
_REASON = "x-richmond-reason"  # only dead letters have it


class _Said(msgspec.Struct, frozen=True):
    """What of a message from a gateway may be seen in its spans."""

    kind: str = "ussd"
    id: str | None = None
    received: float | None = None
    account: str | None = None
    ussd_type: str | None = None
    msisdn: str | None = None
    message: str | None = None


_decoder = msgspec.json.Decoder(_Said)


class SpanClient(Client):
    def __init__(
        self,
        settings: AmqpSettings,
        *,
        name: str,
        topology: Topology,
        on_state: Callable[[LinkState], None],
        otel: OtelSettings,
    ) -> None:
        super().__init__(settings, name=name, topology=topology, on_state=on_state)
        self._spans = Spans(otel, "broker")
        self._open: dict[Delivery, Span] = {}  # replies in our hands
        self._bodies: dict[int, Span] = {}  # the same, by the identity of their bodies, which a dead letter shares

    @property
    def spans(self) -> tuple[int, int]:
        """Exported and dropped."""
        return self._spans.counts

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        headers: Mapping[str, Any] | None = None,
        on_done: Callable[[str | None], None] | None = None,
        hold: bool = False,
    ) -> None:
        if headers is not None and _REASON in headers:
            if span := self._bodies.get(id(body)):
                fail(span, f"dead letter: {headers[_REASON]}")
            super().publish(exchange, routing_key, body, headers=headers, on_done=on_done, hold=hold)
            return
        received, published = self._begin(routing_key, body)

        def done(result: str | None) -> None:
            if result is not None:
                fail(published, result)
                fail(received, result)
            published.end()
            received.end()
            if on_done is not None:
                on_done(result)

        context = headers_of(published)
        super().publish(exchange, routing_key, body, headers={**(headers or {}), **context}, on_done=done, hold=hold)

    def consume(self, queue: str, prefetch: int, on_delivery: Callable[[Delivery], None]) -> None:
        def delivered(delivery: Delivery) -> None:
            parent = parent_of(delivery.headers)
            if parent is not None:  # else nobody follows the message that it answers
                span = self._spans.begin(
                    "send", SpanKind.CONSUMER, parent,
                    messaging__system="rabbitmq", messaging__destination__name=queue,
                )  # fmt: skip
                if span.is_recording():
                    self._open[delivery] = self._bodies[id(delivery.body)] = span
            on_delivery(delivery)

        super().consume(queue, prefetch, delivered)

    def ack(self, delivery: Delivery, hold: bool = False) -> None:
        self._end(delivery)
        super().ack(delivery, hold)

    def reject(self, delivery: Delivery, requeue: bool) -> None:
        if delivery in self._open:
            fail(self._open[delivery], "returned to the queue")
        self._end(delivery)
        super().reject(delivery, requeue)

    def close(self, timeout_s: float) -> None:
        super().close(timeout_s)
        self._spans.close(_CLOSE_S)

    def _begin(self, routing_key: str, body: bytes) -> tuple[Span, Span]:
        said = _decoder.decode(body)
        received = self._spans.begin(
            f"receive {said.kind}", SpanKind.SERVER, NOTHING,
            start_ns=int((said.received or time.time()) * 1e9),
            richmond__kind=said.kind, richmond__message_id=said.id, richmond__account=said.account,
            richmond__ussd_type=said.ussd_type,
        )  # fmt: skip
        if received.is_recording():
            if said.msisdn is not None:
                received.set_attribute("richmond.msisdn", log.mask(said.msisdn))
            if said.message is not None:
                received.set_attribute("richmond.text", log.text(said.message))
        published = self._spans.begin(
            f"publish {routing_key}", SpanKind.PRODUCER, within(received),
            messaging__system="rabbitmq", messaging__destination__name=routing_key,
        )  # fmt: skip
        return received, published

    def _end(self, delivery: Delivery) -> None:
        span = self._open.pop(delivery, None)
        if span is not None:
            self._bodies.pop(id(delivery.body), None)
            span.end()
