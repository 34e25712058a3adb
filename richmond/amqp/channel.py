"""amqpstorm's Channel with deliveries by callback and pipelined confirms.

Its on_* methods run in the connection's reader and never block. A callback that raises is logged: one bad message
must not end the connection.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from amqpstorm.channel import Channel
from amqpstorm.exception import AMQPChannelError
from amqpstorm.rpc import Rpc
from pamqp import commands
from pamqp import frame as pamqp_frame

from richmond.amqp import frames
from richmond.amqp.acks import Acks
from richmond.amqp.frames import Delivery, Encoder, Publication
from richmond.amqp.locks import short_lock

if TYPE_CHECKING:
    from richmond.amqp.connection import EventConnection

_log = logging.getLogger(__name__)

_unpack_tag = struct.Struct(">QB").unpack_from
_unpack_size = struct.Struct(">Q").unpack_from
_unpack_header = struct.Struct(">BHIHHQ").unpack_from  # type, channel, length; class, weight, size of the body
_unpack_start = struct.Struct(">BHI").unpack_from
_HEADER_START, _FRAME_START = 19, 7  # bytes


class _EventRpc(Rpc):
    """Waits for the answer, not for the clock."""

    def __init__(self, channel: EventChannel, connection: EventConnection, timeout_s: int) -> None:
        super().__init__(channel, timeout_s)
        self._connection = connection

    def _wait_for_request(self, uuid: str, connection_adapter: Any = None) -> None:
        adapter = connection_adapter or self._default_connection_adapter
        response = self._response[uuid]
        while not self._connection.wait_for(lambda: response or adapter.exceptions, self._timeout):
            # RabbitMQ does not read from a connection that it blocks: an answer may take as long as the alarm.
            if not self._connection.is_blocked:
                self._raise_rpc_timeout_error(uuid)
        if not response:
            self.remove(uuid)
            adapter.check_for_errors()


class EventChannel(Channel):
    """One channel, once: after RabbitMQ has closed it, open another.

    `on_delivery`: a delivery. `on_cancelled`: RabbitMQ has ended the consumer. `on_closed`: RabbitMQ has closed the
    channel. `on_returned`: a publication that no queue takes; true if it is taken care of, else it is "unroutable".
    `on_settled`: some publications were.
    """

    def __init__(self, channel_id: int, connection: EventConnection, rpc_timeout_s: int) -> None:
        super().__init__(channel_id, connection, rpc_timeout_s)
        self.rpc: _EventRpc = _EventRpc(self, connection, rpc_timeout_s)
        self.on_delivery: Callable[[Delivery], None] | None = None
        self.on_cancelled: Callable[[], None] | None = None
        self.on_closed: Callable[[AMQPChannelError], None] | None = None
        self.on_returned: Callable[[Publication], bool] | None = None
        self.on_settled: Callable[[], None] | None = None
        self.unconfirmed: dict[int, Publication] = {}  # by sequence number, in order
        self._write = connection.write
        self._write_late = connection.write_late
        self._acks = Acks()
        self._acks_wait = False  # to be sent
        self._write_lock = short_lock()  # nothing is written after the channel's end: that ends the connection
        self._encoder = Encoder(channel_id, connection.max_frame_size)
        self._sequence = 0
        self._oldest = 1  # no lower sequence number waits
        # The content that is being read.
        self._returned = False
        self._tag = 0
        self._redelivered = False
        self._routing_key = b""
        self._properties = b""
        self._missing = 0
        self._parts: list[bytes] = []

    # From any thread.

    def publish(self, publication: Publication, hold: bool = False) -> None:
        """Send it and keep it until it is settled; kept, too, if the channel has just gone."""
        with self._write_lock:
            self._sequence = sequence = self._sequence + 1
            self.unconfirmed[sequence] = publication
            if self._state == self.OPEN:
                self._write(self._encoder.publish(publication, sequence), hold)

    def ack(self, tag: int, hold: bool = False) -> None:
        with self._write_lock:
            self._acks.settle(tag)
            if self._acks_wait or not self.is_open:
                return
            self._acks_wait = True
        self._write_late(self._take_acks, hold)

    def reject(self, tag: int, requeue: bool) -> None:
        with self._write_lock:
            if self.is_open:
                self._acks.rejected(tag)
                self._write(frames.encode_reject(self._channel_id, tag, requeue))

    def _take_acks(self) -> bytes:
        with self._write_lock:
            self._acks_wait = False
            if not self.is_open:
                return b""
            return b"".join([frames.encode_ack(self._channel_id, *ack) for ack in self._acks.take()])

    # In the reader.

    def on_deliver(self, data: bytes, position: int, stop: int) -> int:
        """The method's arguments begin at `position`, its frame ends at `stop`. Returns where to read on.

        That is behind the content if all of it is here in two plain frames, as nearly always.
        """
        position += 1 + data[position]  # consumer tag: a channel has one consumer
        self._tag, self._redelivered = _unpack_tag(data, position)
        position += 9
        position += 1 + data[position]  # exchange
        self._routing_key = data[position + 1 : position + 1 + data[position]]
        self._returned = False
        end = len(data)
        if end < stop + _HEADER_START:
            return stop
        kind, channel_id, length, _, _, size = _unpack_header(data, stop)
        header_end = stop + _FRAME_START + length
        body = header_end + 1 + _FRAME_START
        if body + size >= end or not size:
            return stop
        body_kind, body_channel, body_length = _unpack_start(data, header_end + 1)
        if (
            (kind, body_kind, body_length) != (frames.HEADER, frames.BODY, size)
            or channel_id != body_channel
            or channel_id != self._channel_id
            or data[header_end] != 0xCE
            or data[body + size] != 0xCE
        ):
            return stop
        self._properties = data[stop + _HEADER_START : header_end]
        self._on_content(data[body : body + size])
        return int(body + size + 1)

    def on_return(self) -> None:
        self._returned = True

    def on_header(self, data: bytes, start: int, stop: int) -> None:
        (self._missing,) = _unpack_size(data, start + 4)
        self._properties = data[start + 12 : stop]
        if not self._missing:
            self._on_content(b"")

    def on_body(self, body: bytes) -> None:
        self._missing -= len(body)
        if self._parts or self._missing:
            self._parts.append(body)
            if self._missing:
                return
            body = b"".join(self._parts)
            self._parts.clear()
        self._on_content(body)

    def on_confirm(self, tag: int, multiple: bool, result: str | None) -> None:
        """`result`: None for an ack, a reason for a nack."""
        if not multiple:
            self._settle(tag, result)
        else:
            settle = self._settle
            for sequence in range(self._oldest, tag + 1):
                settle(sequence, result)
            self._oldest = tag + 1
        if self.on_settled is not None:
            self.on_settled()

    def on_frame(self, frame_in: Any) -> None:
        super().on_frame(frame_in)
        if isinstance(frame_in, commands.Basic.Cancel) and self.on_cancelled is not None:
            self.on_cancelled()

    def _on_content(self, body: bytes) -> None:
        if self._returned:
            publication = self.unconfirmed.get(frames.sequence_of(self._properties) or 0)
            if publication is not None:
                publication.returned = True
            return
        delivery = Delivery(body, bool(self._redelivered), self._properties, self, self._tag, self._routing_key)
        if self.on_delivery is not None:
            try:
                self.on_delivery(delivery)
            except Exception:  # broad on purpose: as in call(), without its cost
                _log.exception("an AMQP callback failed")

    def _settle(self, sequence: int, result: str | None) -> None:
        publication = self.unconfirmed.pop(sequence, None)
        if publication is None:
            return
        if publication.returned and result is None:
            if self.on_returned is not None and self.on_returned(publication):
                return
            result = "unroutable"
        if publication.on_done is not None:
            try:
                publication.on_done(result)
            except Exception:  # broad on purpose: as in call(), without its cost
                _log.exception("an AMQP callback failed")

    def _close_channel(self, frame_in: commands.Channel.Close) -> None:
        with self._write_lock:
            self.set_state(self.CLOSED)
            self._write(pamqp_frame.marshal(commands.Channel.CloseOk(), self._channel_id))
        self.remove_consumer_tag()
        error = AMQPChannelError(str(frame_in.reply_text), reply_code=frame_in.reply_code)
        self.exceptions.append(error)
        if self.on_closed is not None:
            self.on_closed(error)


def call(callback: Callable[[Any], None], argument: Any) -> None:
    """A callback that raises must not end the thread that serves everybody."""
    try:
        callback(argument)
    except Exception:  # broad on purpose
        _log.exception("an AMQP callback failed")
