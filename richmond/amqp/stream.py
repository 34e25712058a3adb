"""The socket of a connection: one thread reads, whoever has something to say writes. No polling.

No AMQP: bytes in, bytes out. The socket does not block; waiting is for its readiness, so that the reader can keep
the heartbeat and a TLS object is never used by two threads at once.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from amqpstorm.exception import AMQPConnectionError
from amqpstorm.io import IO

_READ_BYTES = 65536


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
        """`on_data` and `on_tick` (every `tick_s`) run in the reader; what they raise ends the connection.

        `on_lost` runs once, in the reader, as the last thing it does.
        """
        super().__init__(parameters)
        self._on_data = on_data
        self._on_tick = on_tick
        self._on_lost = on_lost
        self._tick_s = tick_s
        self._lock = threading.Lock()  # the seven that follow
        self._out: list[bytes] = []
        self._late: list[Callable[[], bytes]] = []
        self._busy = False  # somebody is in send()
        self._asleep = False  # the writer waits for _wake
        self._down = False
        self._wake = threading.Lock()
        self._wake.acquire()
        self._tls_lock = threading.Lock()
        self._writer: threading.Thread | None = None
        self._reader_id: int | None = None  # while it handles what it has read
        self._in: socket.socket | None = None  # the same connection, for the reader: with another timeout

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

    def flush_soon(self) -> None:
        """Have the writer send what is held."""
        with self._lock:
            wake = self._asleep and bool(self._out or self._late)
            if wake:
                self._asleep = False
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
        for sock in (self._in, self.socket):
            if sock is not None:
                sock.close()
        self._in = self.socket = None

    def _read(self) -> None:
        receive = self._receive_plain if self._in is not None else self._receive_tls
        due = time.monotonic() + self._tick_s if self._tick_s else None
        me = threading.get_ident()
        try:
            while True:
                data = receive()
                if data:
                    self._reader_id = me
                    self._on_data(data)
                    self._reader_id = None
                    self.flush()
                elif data is not None:
                    raise ConnectionResetError("closed by the other side")
                # After a long stop of this process, what waits in the socket was read before the silence is judged.
                if due is not None and self._tick_s and time.monotonic() >= due:
                    due = time.monotonic() + self._tick_s
                    self._on_tick()
        except Exception as e:  # broad on purpose: whatever it was, those who wait must hear of it
            self._reader_id = None
            self.shut()
            self._on_lost(e)

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
            try:
                with self._tls_lock:
                    return self.socket.recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                if not poll.poll(self._tick_s * 500 if self._tick_s else None):
                    return None
        return b""

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
