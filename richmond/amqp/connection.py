"""amqpstorm's Connection, driven by events: its handshake, TLS options, heartbeat and calls, none of its polling."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import Any

from amqpstorm.base import Stateful
from amqpstorm.connection import Connection
from amqpstorm.exception import AMQPConnectionError
from amqpstorm.heartbeat import Heartbeat
from pamqp import commands
from pamqp import frame as pamqp_frame

from richmond.amqp import frames
from richmond.amqp.channel import EventChannel
from richmond.amqp.stream import EventIO

_unpack_start = struct.Struct(">BHI").unpack_from  # type, channel, length of the payload
_unpack_index = struct.Struct(">I").unpack_from
_unpack_tag = struct.Struct(">QB").unpack_from


class NotAMQP(Exception):
    """The other side speaks something else, or another version."""


class _TickedHeartbeat(Heartbeat):
    """The reader calls it; amqpstorm's starts a thread for each interval."""

    def tick(self) -> None:
        self._check_for_life_signs()

    def _start_new_timer(self) -> bool:
        return True

    def _raise_or_append_exception(self) -> None:
        raise TimeoutError(f"silent for {2 * (self._interval or 0):.0f} s")


class EventConnection(Connection):
    """One connection, once: after it is lost, make another."""

    def __init__(
        self,
        hostname: str,
        username: str,
        password: str,
        port: int,
        *,
        on_lost: Callable[[Exception], None] | None = None,
        on_blocked: Callable[[str | None], None] | None = None,
        on_read: Callable[[], None] | None = None,
        **kwargs: Any,
    ) -> None:
        """`on_lost` gets the reason, once, from the reader; `on_blocked` RabbitMQ's reason, or None when it is over.

        `on_read` comes when all that was read at once has been called back for.
        """
        super().__init__(hostname, username, password, port, lazy=True, **kwargs)
        self.changed = threading.Condition()  # what anybody waits for: a state, an answer, the loss
        self.error: Exception | None = None
        self._on_lost_impl = on_lost
        self._on_blocked = on_blocked
        self._on_read = on_read
        self._rest = b""
        self._channels: dict[int, Any] = {}  # EventChannel; amqpstorm's type is narrower than what it needs
        heartbeat_s = self.parameters["heartbeat"]
        self.heartbeat: _TickedHeartbeat = _TickedHeartbeat(heartbeat_s, self._channel0.send_heartbeat)
        self._io: EventIO = EventIO(
            self.parameters,
            on_data=self._on_data,
            on_tick=self.heartbeat.tick,
            on_lost=self._lost,
            tick_s=heartbeat_s / 2 if heartbeat_s else None,
        )
        self.write = self._io.write
        self.write_late = self._io.write_late
        self.flush = self._io.flush
        self.flush_later = self._io.flush_later
        self.attend = self._io.attend

    @property
    def stands_in(self) -> bool:
        """The connection's own thread reads, not a guest."""
        return self._io.stands_in

    def __repr__(self) -> str:
        return f"<EventConnection {self.parameters['hostname']}:{self.parameters['port']}>"

    def open(self) -> None:
        """Connect and shake hands within the timeout. OSError or AMQPConnectionError; nothing is left open then."""
        try:
            super().open()
        except BaseException:
            self.close(0.0)
            raise

    def open_channel(self, rpc_timeout_s: int) -> EventChannel:
        """AMQPConnectionError, AMQPChannelError."""
        self.check_for_errors()
        with self.lock:
            channel_id = self._get_next_available_channel_id()
            channel = EventChannel(channel_id, self, rpc_timeout_s)
            self._channels[channel_id] = channel
        channel.open()
        return channel

    def check_for_errors(self) -> None:
        if self.error is not None:
            raise self.error
        if self.is_closed:
            raise AMQPConnectionError("connection closed")

    def close(self, timeout_s: float = 2.0) -> None:
        """Say goodbye and wait for the answer, at most `timeout_s`. Not from a callback."""
        if self.is_open and timeout_s > 0:
            self.set_state(self.CLOSING)
            self.write_frame(0, commands.Connection.Close(200, "", 0, 0))
            with self.changed:
                self.changed.wait_for(lambda: self.is_closed, timeout_s)
        self.heartbeat.stop()
        self._io.close()
        self._mark_closed()

    def abort(self) -> None:
        """Lose it now: whoever waits for an answer gets an error instead."""
        self._io.shut()

    def write_frame(self, channel_id: int, frame_out: Any) -> None:
        self.write_frames(channel_id, [frame_out])

    def write_frames(self, channel_id: int, frames_out: list[Any]) -> None:
        self.heartbeat.register_write()
        self._io.write_to_socket(b"".join(pamqp_frame.marshal(f, channel_id) for f in frames_out))

    def wait_for(self, ready: Callable[[], Any], timeout_s: float) -> bool:
        """False after `timeout_s`. Raises when the connection has been lost."""

        def settled() -> bool:
            return bool(ready()) or self.error is not None or self.is_closed

        with self.changed:
            in_time = self.changed.wait_for(settled, timeout_s)
        if in_time and not ready():
            self.check_for_errors()
        return in_time

    def _wait_for_connection_state(self, state: int = Stateful.OPEN, rpc_timeout: float = 30) -> None:
        if not self.wait_for(lambda: self.current_state == state, self.parameters["timeout"] or rpc_timeout):
            raise TimeoutError("no answer to the AMQP handshake")

    def _on_data(self, data: bytes) -> None:
        """Handle every complete frame. In the reader."""
        self.heartbeat.register_read()
        if self._rest:
            data = self._rest + data
        end = len(data)
        position = 0
        rare = False
        while end - position >= 8:
            kind, channel_id, size = _unpack_start(data, position)
            start = position + 7
            stop = start + size
            if kind > frames.HEARTBEAT or size > self.max_frame_size:
                raise NotAMQP
            if stop >= end:
                break
            if data[stop] != 0xCE:
                raise NotAMQP
            position = stop + 1
            if kind == frames.BODY:
                self._channels[channel_id].on_body(data[start:stop])
            elif kind == frames.HEADER:
                self._channels[channel_id].on_header(data, start, stop)
            elif kind == frames.METHOD:
                (index,) = _unpack_index(data, start)
                if index == frames.DELIVER:
                    position = self._channels[channel_id].on_deliver(data, start + 4, position)
                elif index == frames.ACK:
                    tag, multiple = _unpack_tag(data, start + 4)
                    self._channels[channel_id].on_confirm(tag, bool(multiple), None)
                elif index == frames.NACK:
                    tag, flags = _unpack_tag(data, start + 4)
                    self._channels[channel_id].on_confirm(tag, bool(flags & 1), "refused")
                elif index == frames.RETURN:
                    self._channels[channel_id].on_return()
                else:
                    rare = True
                    self._on_rare_frame(channel_id, data[start - 7 : position])
        self._rest = data[position:]
        if self._on_read is not None:
            self._on_read()
        if rare:
            with self.changed:
                self.changed.notify_all()

    def _on_rare_frame(self, channel_id: int, data: bytes) -> None:
        _, _, frame = pamqp_frame.unmarshal(data)
        if channel_id:
            self._channels[channel_id].on_frame(frame)
        elif isinstance(frame, commands.Connection.Close):
            # amqpstorm does not answer, and RabbitMQ keeps the socket until it times out.
            self.write_frame(0, commands.Connection.CloseOk())
            raise AMQPConnectionError(str(frame.reply_text), reply_code=frame.reply_code)
        else:
            self._channel0.on_frame(frame)
            if self._on_blocked is not None:
                if isinstance(frame, commands.Connection.Blocked):
                    self._on_blocked(str(frame.reason))
                elif isinstance(frame, commands.Connection.Unblocked):
                    self._on_blocked(None)

    def _lost(self, error: Exception) -> None:
        """The reader's last act: whoever waits for this connection hears of it."""
        expected = self.is_closed or self.is_closing
        with self.changed:
            if not expected:
                self.error = error
            self._mark_closed()
            self.changed.notify_all()
        if self._on_lost_impl is not None:
            self._on_lost_impl(error)

    def _mark_closed(self) -> None:
        self.set_state(self.CLOSED)
        for channel in list(self._channels.values()):
            channel.set_state(channel.CLOSED)
