"""The AMQP frames that every message costs, taken apart and put together by hand. No I/O.

Everything rarer goes through pamqp. Source of the layouts: the AMQP 0-9-1 specification, 2.3.5 and 4.2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from pamqp import commands
from pamqp.header import ContentHeader

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END = b"\xce"
OVERHEAD = 8  # bytes of a frame around its payload

DELIVER = 60 << 16 | 60
RETURN = 60 << 16 | 50
ACK = 60 << 16 | 80
NACK = 60 << 16 | 120

_uint32 = struct.Struct(">I")
_uint64 = struct.Struct(">Q")
_ack = struct.Struct(">BHIHHQBB")

_SEQUENCE_DIGITS = 12
_RETRIED = b"x-richmond-retried"


class Delivery(msgspec.Struct, eq=False, gc=False):
    """A message from a queue. Not to be changed; a frozen dataclass would cost more than parsing the frames."""

    body: bytes
    redelivered: bool
    _properties: bytes
    _channel: Any  # EventChannel
    _tag: int
    _routing_key: bytes

    @property
    def headers(self) -> dict[str, Any]:
        """The header table; empty where there is none, or where it cannot be read."""
        try:
            return dict(properties(self._properties).headers or {})
        except (ValueError, struct.error, IndexError):
            return {}  # RabbitMQ passes on what a publisher sent; a bad table is not worth the message

    def __repr__(self) -> str:
        return f"<Delivery {self._tag}: {len(self.body)} bytes, key {self.routing_key!r}>"

    @property
    def retried(self) -> bool:
        """An operator has given it another chance, after it was dead-lettered."""
        return _RETRIED in self._properties

    @property
    def routing_key(self) -> str:
        return self._routing_key.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """What all publishes to one exchange and key have in common, encoded once."""

    exchange: str
    routing_key: str
    method: bytes  # from the length of the method frame to its end
    header: bytes  # from the length of the header frame to the size of the body
    properties: bytes  # up to the digits of the message id
    once: bool  # for one message, with headers of its own


class Publication(msgspec.Struct, eq=False):
    """A message on its way to RabbitMQ, kept until it is settled."""

    route: Route
    body: bytes
    on_done: Callable[[str | None], None] | None
    returned: bool = False  # this attempt came back: no queue is bound
    retried: bool = False  # published a second time after a return


def encode_route(exchange: str, routing_key: str, headers: Mapping[str, Any] | None = None) -> Route:
    """Persistent, mandatory, JSON.

    The message id is the publisher's sequence number: a returned message (basic.return has no tag) is known by it.
    TypeError or ValueError if a name or a header has no AMQP form.
    """
    method = commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
    payload = _uint32.pack(method.index) + method.marshal()
    properties = commands.Basic.Properties(
        content_type="application/json",
        headers=dict(headers) if headers else None,
        delivery_mode=2,  # persistent
        message_id="0" * _SEQUENCE_DIGITS,
    ).marshal()
    return Route(
        exchange,
        routing_key,
        method=_uint32.pack(len(payload)) + payload + END,
        header=struct.pack(">IHH", 12 + len(properties), 60, 0),  # 12: class, weight and size
        properties=properties[:-_SEQUENCE_DIGITS],
        once=bool(headers),
    )


class Encoder:
    """The frames of publishes on one channel."""

    def __init__(self, channel_id: int, max_frame: int) -> None:
        self._max_body = max_frame - OVERHEAD
        self._starts: dict[Route, bytes] = {}  # from the method frame to the size of the body
        self._method, self._header, self._body = (struct.pack(">BH", k, channel_id) for k in (METHOD, HEADER, BODY))

    def publish(self, publication: Publication, sequence: int) -> bytes:
        route = publication.route
        body = publication.body
        size = len(body)
        start = self._starts.get(route) or self._start(route)
        head = b"%b%b%b%012x\xce" % (start, _uint64.pack(size), route.properties, sequence)
        if 0 < size <= self._max_body:
            return b"%b%b%b%b\xce" % (head, self._body, _uint32.pack(size), body)
        pieces = [body[at : at + self._max_body] for at in range(0, size, self._max_body)]
        return head + b"".join([b"%b%b%b\xce" % (self._body, _uint32.pack(len(p)), p) for p in pieces])

    def _start(self, route: Route) -> bytes:
        start = self._method + route.method + self._header + route.header
        if not route.once:
            self._starts[route] = start
        return start


def properties(data: bytes) -> commands.Basic.Properties:
    """Decode what follows the size in a content header."""
    header = ContentHeader()
    header.unmarshal(struct.pack(">HHQ", 60, 0, 0) + data)
    return header.properties


def sequence_of(data: bytes) -> int | None:
    """The sequence number in a returned message's properties; None if they are not ours."""
    try:
        return int(properties(data).message_id or "", 16)
    except (ValueError, struct.error, IndexError):
        return None


def encode_ack(channel_id: int, tag: int, multiple: bool = False) -> bytes:
    return _ack.pack(METHOD, channel_id, 13, 60, 80, tag, multiple, 0xCE)


def encode_reject(channel_id: int, tag: int, requeue: bool) -> bytes:
    return _ack.pack(METHOD, channel_id, 13, 60, 90, tag, requeue, 0xCE)
