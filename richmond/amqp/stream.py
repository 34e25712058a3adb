"""The socket of a connection: one thread at a time reads, whoever has something to say writes. No polling.

No AMQP: bytes in, bytes out. The socket does not block; waiting is for its readiness, so that the reader can keep
the heartbeat and a TLS object is never used by two threads at once.

A hand-over from the reader's thread to one that works costs more than the work. So a worker's main thread reads
by itself while it has nothing else to do (`attend`): it is the connection's *guest*. The reader's thread sleeps
meanwhile, and stands in for the guest while that is away for more than ABSENT_S, with a handler that takes its time.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from amqpstorm.exception import AMQPConnectionError
from amqpstorm.io import IO

from richmond.amqp.locks import short_lock
from richmond.linux import Alarm

ABSENT_S = 0.002  # longer than a quick handler takes, shorter than anybody notices
LINGER_S = 0.001  # the least that poll() knows
_IMPATIENCE = 10  # times that nobody lingers, once it was in vain: where little comes it costs a wake-up each time

_READ_BYTES = 65536


class Guest(Protocol):
    """Who reads while it has nothing to do."""

    def __len__(self) -> int:
        """How much it has to do."""

    def ring(self) -> None:
        """Have it look again at what there is to do, or to read."""

    def fileno(self) -> int:
        """Readable after `ring`."""


class EventIO(IO):
    """amqpstorm's IO with its names and its TLS set-up, without its waiting."""

    def __init__(
        self,
        parameters: dict[str, Any],
        *,
        on_data: Callable[[bytes], None],
        on_tick: Callable[[], None],
        on_lost: Callable[[Exception], None],
        tick_s: float | None,
    ) -> None:
        """`on_data` and `on_tick` (every `tick_s`) run in whoever reads; what they raise ends the connection.

        `on_lost` runs once, after all of these.
        """
        super().__init__(parameters)
        self._on_data = on_data
        self._on_tick = on_tick
        self._on_lost = on_lost
        self._tick_s = tick_s
        self._lock = short_lock()  # the seven that follow
        self._out: list[bytes] = []
        self._late: list[Callable[[], bytes]] = []
        self._busy = False  # somebody is in send()
        self._asleep = False  # the writer waits for _wake
        self._lingers = False  # it has been woken to wait a moment more
        self._impatient = 0  # times that are left
        self._down = False
        self._wake = threading.Lock()
        self._wake.acquire()
        self._tls_lock = threading.Lock()
        self._writer: threading.Thread | None = None
        self._reader_id: int | None = None  # who is handling what it has read
        self._in: socket.socket | None = None  # the same connection, for the reader: with another timeout
        self._duty = threading.Lock()  # whoever reads holds it
        self._due = 0.0  # the next tick
        self._lost = False
        self._waiting: Guest | None = None  # it wants the duty
        self._alarm: Alarm | None = None  # ends the reader's sleep; made for the first guest
        self._guest_poll: select.poll | None = None  # a connection has one guest, all its life

    def open(self) -> None:
        """Connect, within the timeout. OSError as the system gives it."""
        self.socket = sock = self._find_address_and_connect(self._get_socket_addresses())
        if not self.use_ssl:
            # One call waits and reads. The usual pair of select.poll() and recv() costs a call more, and, patched
            # by gevent, a new watcher in its loop for each message.
            self._in = sock.dup()
            self._in.settimeout(self._tick_s / 2 if self._tick_s else None)
        sock.setblocking(False)

    def start_inbound(self) -> None:
        self._inbound_thread = threading.Thread(target=self._read, name="amqp-reader", daemon=True)
        self._writer = threading.Thread(target=self._write, name="amqp-writer", daemon=True)
        self._inbound_thread.start()
        self._writer.start()

    def write(self, data: bytes, hold: bool = False) -> None:
        """Have the writer send this. Never blocks; void once the connection has gone.

        What the reader's callbacks write leaves when it has handled all that it read. `hold`: not before somebody
        flushes or writes without it.
        """
        with self._lock:
            self._out.append(data)
            wake = self._to_wake(hold)
        if wake:
            self._wake.release()

    def write_late(self, source: Callable[[], bytes], hold: bool = False) -> None:
        """As `write`, but asked for its bytes only when they leave: it may have gathered more by then.

        They go in front of all that was written meanwhile.
        """
        with self._lock:
            self._late.append(source)
            wake = self._to_wake(hold)
        if wake:
            self._wake.release()

    def _to_wake(self, hold: bool) -> bool:
        """Under the lock: something was added. Whether the writer has to be woken for it."""
        if self._down:
            self._out.clear()
            self._late.clear()
            return False
        if hold or self._reader_id == threading.get_ident():
            return False
        wake, self._asleep = self._asleep, False
        return wake

    def flush_later(self) -> None:
        """Have the writer send what is held once LINGER_S has passed, unless it leaves before."""
        if not self._patience():
            self.flush()
            return
        with self._lock:
            wake = self._asleep and bool(self._out or self._late)
            if wake:
                self._asleep = False
                self._lingers = True
        if wake:
            self._wake.release()

    def flush(self) -> None:
        """Send now, from this thread, what the socket takes, unless somebody is sending already."""
        with self._lock:
            if self._busy or not (self._out or self._late) or self.socket is None:
                return
            self._busy = True
            late, self._late = self._late, []
            out, self._out = self._out, []
        data = b"".join([*(source() for source in late), *out])
        try:
            rest = self._send(data)
        except OSError:
            rest = b""
            self.shut()
        with self._lock:
            self._busy = False
            if rest:
                self._out.insert(0, rest)
            wake = self._asleep and bool(self._out or self._late)
            if wake:
                self._asleep = False
        if wake:
            self._wake.release()

    def _patience(self) -> bool:
        if self._impatient:
            self._impatient -= 1
            return False
        return True

    def write_to_socket(self, frame_data: bytes) -> None:
        """For amqpstorm's own calls: what they send should leave at once."""
        self.write(frame_data)
        self.flush()

    def shut(self) -> None:
        """End both threads. Idempotent, from any thread."""
        with self._lock:
            self._down = True
            self._out.clear()
            self._late.clear()
            wake, self._asleep = self._asleep, False
        if wake:
            self._wake.release()
        if self._alarm is not None:
            self._alarm.ring()
        if self.socket is not None:
            with suppress(OSError):
                # Not SSLSocket.shutdown: it drops its TLS object, and the reader would then read cipher text.
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Not from the reader or the writer: waits for both, so that nobody uses a descriptor that has a new owner."""
        self.shut()
        for thread in (self._inbound_thread, self._writer):
            if thread is not None:
                thread.join()
        self._inbound_thread = self._writer = None
        with self._duty:  # the guest has left
            for held in (self._in, self.socket, self._alarm):
                if held is not None:
                    held.close()
            self._in = self.socket = self._alarm = None

    @property
    def stands_in(self) -> bool:
        """The reader's thread has the duty, not a guest."""
        return self._alarm is None or self._duty.locked()

    def attend(self, guest: Guest, timeout_s: float | None, patient: bool = False) -> bool | None:
        """Send what is held, and read until the guest has something to do, is rung for, or `timeout_s` has passed.

        `patient`: what was written late may wait for LINGER_S, to leave with what comes then.
        True if it was rung for. None if it cannot have the duty: it is rung for when it can.
        """
        if not self._duty.acquire(blocking=False):
            self._waiting = guest
            self.flush()  # what it held may be what RabbitMQ waits for before it sends more
            return None
        try:
            if self._down or self._alarm is None:
                return None
            self._alarm.cancel()
            try:
                return self._attend(guest, timeout_s, patient)
            except Exception as e:  # broad on purpose: as in _read
                self._end(e)
                return True
            finally:
                self._alarm.set()
        finally:
            self._duty.release()

    def _attend(self, guest: Guest, timeout_s: float | None, patient: bool) -> bool:
        assert self.socket is not None
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        poll = self._guest_poll
        if poll is None:
            poll = self._guest_poll = select.poll()
            poll.register(guest.fileno(), select.POLLIN)
            poll.register(self.socket.fileno(), select.POLLIN)
        while True:
            lingers = patient and bool(self._late) and not self._out and self._patience()
            if not lingers:
                self.flush()
            wait_s = LINGER_S if lingers else self._tick_s / 2 if self._tick_s else None
            if ends is not None:
                left_s = max(0.0, ends - time.monotonic())
                wait_s = left_s if wait_s is None else min(wait_s, left_s)
            found = poll.poll(None if wait_s is None else wait_s * 1000)
            if lingers and not found:
                self._impatient = _IMPATIENCE
                self.flush()
            rung = len(found) > 1 or (len(found) == 1 and found[0][0] == guest.fileno())
            if len(found) > rung:
                self._take(self._receive_now())
            self._tick()
            if rung or guest or (ends is not None and time.monotonic() >= ends):
                return rung

    def _read(self) -> None:
        receive = self._receive_plain if self._in is not None else self._receive_tls
        self._due = time.monotonic() + self._tick_s if self._tick_s else 0.0
        self._duty.acquire()
        try:
            while True:
                self._take(receive())
                self.flush()
                self._tick()
                if self._waiting is not None:
                    self._sleep(self._waiting)
        except Exception as e:  # broad on purpose: whatever it was, those who wait must hear of it
            self._end(e)
        finally:
            self._duty.release()

    def _sleep(self, guest: Guest) -> None:
        """Until the guest is away for too long, or the connection's end."""
        self._waiting = None
        if self._alarm is None:
            self._alarm = Alarm(ABSENT_S)
        self._alarm.set()
        self._duty.release()
        guest.ring()
        on_duty = False
        while not on_duty:
            if not self._down:
                self._alarm.wait()
            on_duty = self._duty.acquire(blocking=self._down)
        self.flush()

    def _take(self, data: bytes | None) -> None:
        if data:
            self._reader_id = threading.get_ident()
            self._on_data(data)
            self._reader_id = None
        elif data is not None:
            raise ConnectionResetError("closed by the other side")

    def _tick(self) -> None:
        # After a long stop of this process, what waits in the socket was read before the silence is judged.
        if self._tick_s and time.monotonic() >= self._due:
            self._due = time.monotonic() + self._tick_s
            self._on_tick()

    def _end(self, error: Exception) -> None:
        self._reader_id = None
        self.shut()
        if not self._lost:
            self._lost = True
            self._on_lost(error)

    def _receive_plain(self) -> bytes | None:
        """None: silence, for half a tick; empty: the other side has closed, or we have."""
        assert self._in is not None
        if self._down:
            return b""
        try:
            return self._in.recv(_READ_BYTES)
        except TimeoutError:
            return None

    def _receive_tls(self) -> bytes | None:
        """As `_receive_plain`. No two threads at once may use a TLS object, so the waiting is outside of it."""
        assert self.socket is not None
        poll = select.poll()
        poll.register(self.socket.fileno(), select.POLLIN)
        while not self._down:
            data = self._receive_now()
            if data is not None:
                return data
            if not poll.poll(self._tick_s * 500 if self._tick_s else None):
                return None
        return b""

    def _receive_now(self) -> bytes | None:
        """None: nothing is there. All of a TLS record is taken at once, so none of it waits where nobody looks."""
        assert self.socket is not None
        try:
            if not self.use_ssl:
                return self.socket.recv(_READ_BYTES)
            with self._tls_lock:
                return self.socket.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None

    def _write(self) -> None:
        assert self.socket is not None
        poll = select.poll()
        poll.register(self.socket.fileno(), select.POLLOUT)
        while True:
            with self._lock:
                if self._down:
                    return
                full = bool(self._out or self._late) and not self._busy
                if not full:
                    self._asleep = True
            if not full:
                self._wake.acquire()
                if self._lingers:
                    self._lingers = False
                    time.sleep(LINGER_S)
                    if self._out or self._late:
                        self._impatient = _IMPATIENCE
                continue
            self.flush()
            with self._lock:
                left = bool(self._out or self._late) and not self._busy
            if left:  # the socket is full
                poll.poll()

    def _send(self, data: bytes) -> bytes:
        """Returns what the socket did not take."""
        assert self.socket is not None
        view = memoryview(data)
        while view:
            try:
                if self.use_ssl:
                    with self._tls_lock:
                        sent = self.socket.send(view)
                else:
                    sent = self.socket.send(view)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return bytes(view)
            view = view[sent:]
        return b""

    def _get_socket_addresses(self) -> list[Any]:
        try:
            return super()._get_socket_addresses()
        except AMQPConnectionError as e:
            if e.args and isinstance(e.args[0], OSError):
                raise e.args[0] from None
            raise

    def _find_address_and_connect(self, addresses: list[Any]) -> socket.socket:
        """amqpstorm's keeps only the text of the error, and leaves failed sockets open."""
        error: OSError = OSError("no address")
        for family, _, _, _, address in addresses:
            sock = self._create_socket(family)
            try:
                # amqpstorm never sets it; with Nagle on, a reply waits for the acknowledgement of the one before
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
            except OSError as e:
                error = e
                sock.close()
            else:
                return sock
        raise error
