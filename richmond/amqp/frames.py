"""The AMQP frames that every message costs, taken apart and put together by hand. No I/O.

Everything rarer goes through pamqp. Source of the layouts: the AMQP 0-9-1 specification, 2.3.5 and 4.2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pamqp import commands
from pamqp.header import ContentHeader

if TYPE_CHECKING:
    from richmond.amqp.channel import EventChannel

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
END = b"\xce"
OVERHEAD = 8  # bytes of a frame around its payload

DELIVER = 60 << 16 | 60
RETURN = 60 << 16 | 50
ACK = 60 << 16 | 80
NACK = 60 << 16 | 120

frame_start = struct.Struct(">BHI")  # type, channel, length of the payload
method_index = struct.Struct(">I")
tag_and_flags = struct.Struct(">QB")
body_size = struct.Struct(">Q")
_length = struct.Struct(">I")
_ack = struct.Struct(">BHIHHQBB")

_CONTENT_TYPE = "application/json"
_PERSISTENT = 2
_MANDATORY = 1
_SEQUENCE_DIGITS = 12


class Delivery:
    """A message from a queue. Not to be changed; a frozen dataclass would cost more than parsing the frames."""

    __slots__ = ("_channel", "_properties", "_tag", "body", "redelivered", "routing_key")

    def __init__(
        self, body: bytes, routing_key: str, redelivered: bool, properties: bytes, channel: EventChannel, tag: int
    ) -> None:
        self.body = body
        self.routing_key = routing_key
        self.redelivered = redelivered
        self._properties = properties
        self._channel = channel
        self._tag = tag

    @property
    def headers(self) -> dict[str, Any]:
        """The header table; empty where there is none, or where it cannot be read."""
        try:
            return dict(properties(self._properties).headers or {})
        except (ValueError, struct.error, IndexError):
            return {}  # RabbitMQ passes on what a publisher sent; a bad table is not worth the message

    def __repr__(self) -> str:
        return f"<Delivery {self._tag}: {len(self.body)} bytes, key {self.routing_key!r}>"


class Publication:
    """A message on its way to RabbitMQ, kept until it is confirmed."""

    __slots__ = ("body", "exchange", "headers", "on_done", "retried", "returned", "routing_key")

    def __init__(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, Any] | None,
        on_done: Callable[[str | None], None] | None,
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.body = body
        self.headers = headers
        self.on_done = on_done
        self.returned = False  # this attempt came back: no queue is bound
        self.retried = False  # published a second time after a return


class Encoder:
    """Publishing on one channel: method and properties of a route are encoded once.

    The message id is the publisher's sequence number: a returned message (basic.return has no tag) is known by it.
    """

    def __init__(self, channel_id: int, max_frame: int) -> None:
        self._channel_id = channel_id
        self._max_body = max_frame - OVERHEAD
        self._body_start = struct.pack(">BH", BODY, channel_id)
        self._routes: dict[tuple[str, str], tuple[bytes, bytes]] = {}

    def publish(self, publication: Publication, sequence: int) -> bytes:
        """All frames of one persistent, mandatory publish."""
        body = publication.body
        size = len(body)
        if publication.headers:
            before, after = self._route(publication.exchange, publication.routing_key, publication.headers)
        else:
            key = (publication.exchange, publication.routing_key)
            route = self._routes.get(key)
            if route is None:
                route = self._routes[key] = self._route(*key, None)
            before, after = route
        parts = [before, body_size.pack(size), after, b"%012x" % sequence, END]
        if 0 < size <= self._max_body:
            parts += (self._body_start, _length.pack(size), body, END)
        else:
            for start in range(0, size, self._max_body):
                piece = body[start : start + self._max_body]
                parts += (self._body_start, _length.pack(len(piece)), piece, END)
        return b"".join(parts)

    def _route(self, exchange: str, routing_key: str, headers: Mapping[str, Any] | None) -> tuple[bytes, bytes]:
        """What comes before the size of the body, and what comes between it and the sequence number."""
        method = commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
        payload = method_index.pack(method.index) + method.marshal()
        encoded = encode_properties(headers)
        header_length = 12 + len(encoded)  # class, weight and size come first
        before = (
            frame_start.pack(METHOD, self._channel_id, len(payload))
            + payload
            + END
            + frame_start.pack(HEADER, self._channel_id, header_length)
            + struct.pack(">HH", 60, 0)
        )
        return before, encoded[:-_SEQUENCE_DIGITS]


def encode_properties(headers: Mapping[str, Any] | None) -> bytes:
    """Properties whose last bytes are the digits of the message id.

    TypeError or ValueError if a header has no AMQP form.
    """
    return commands.Basic.Properties(
        content_type=_CONTENT_TYPE,
        headers=dict(headers) if headers else None,
        delivery_mode=_PERSISTENT,
        message_id="0" * _SEQUENCE_DIGITS,
    ).marshal()


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
