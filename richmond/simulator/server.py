"""The simulator at work: SSMI clients on TCP, telephones on a unix socket, one clock. On gevent, patched or not.

`richmond start` has one inside its master; `serve` runs one alone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer

from richmond.errors import UsageError
from richmond.settings import SimulatorSettings
from richmond.simulator import wire
from richmond.simulator.control import ControlPort
from richmond.simulator.gateway import Action, Close, Gateway, Send
from richmond.simulator.outbox import LINGER_S, Outbox
from richmond.ssmi.codec import CommandDecoder, encode

HOST = "127.0.0.1"  # for development: the account's password is in an ini that many can read
LOGIN_TIMEOUT_S = 30.0
MAX_CONNECTIONS = 256  # of SSMI clients
MAX_LINE_BYTES = 65536
UNREAD_BYTES = 4 * 1024 * 1024  # of lines, before a client that does not read is cut off


class Simulator:
    """Start and stop once. Its failures are RichmondErrors with the remedy."""

    def __init__(self, settings: SimulatorSettings, encoding: str = "iso-8859-1") -> None:
        self.gateway = Gateway(
            username=settings.username,
            password=settings.password,
            session_timeout_s=settings.session_timeout_s,
            extended=settings.extended,
        )
        self.address: tuple[str, int] = (HOST, settings.port)  # the real port from `start` on
        self._settings = settings
        self._encoding = encoding
        self._control = ControlPort(settings.socket, self)
        self._server: StreamServer | None = None
        self._outboxes: dict[int, Outbox] = {}
        self._last_connection = 0
        self._session_opened = Event()
        self._clock: gevent.Greenlet | None = None

    def start(self) -> tuple[str, int]:
        """Listen; returns the host and port for SSMI clients."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, self._settings.port))
            listener.listen(128)
            self._control.start()
        except OSError as e:
            listener.close()
            raise UsageError(
                f"[simulator] port = {self._settings.port}: {e.strerror or e}; set port = 0 for a free one"
            ) from e
        except BaseException:
            listener.close()
            raise
        self.address = listener.getsockname()
        self._server = StreamServer(listener, self._serve, spawn=Pool(MAX_CONNECTIONS))
        self._server.start()
        self._clock = gevent.spawn(self._run_clock)
        return self.address

    def stop(self) -> None:
        """Hang up everywhere, send what waits, close; at most LINGER_S. The telephones' socket is removed."""
        self._control.close()
        if self._server is not None:
            self._server.close()
            for outbox in tuple(self._outboxes.values()):
                outbox.finish()
            self._server.stop(timeout=LINGER_S)
        self._control.stop()
        if self._clock is not None:
            self._clock.kill()

    # ---- what the control port needs ----

    def now(self) -> float:
        return time.monotonic()

    def perform(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                if (outbox := self._outboxes.get(action.connection)) is not None:
                    outbox.put(encode(action.line, self._encoding))
            elif isinstance(action, Close):
                if (outbox := self._outboxes.get(action.connection)) is not None:
                    outbox.finish()
            else:
                self._control.tell(action.news)
        if len(self.gateway.subscribers):
            self._session_opened.set()

    def drop(self, *, reset: bool) -> None:
        for outbox in tuple(self._outboxes.values()):
            outbox.cut(reset=reset)

    def inject(self, data: bytes) -> None:
        """As if the gateway had said it. Refused without a client."""
        self._outboxes[self.gateway.client()].put(data)

    def status(self, telephones: int) -> wire.Status:
        now = self.now()
        clients = [
            wire.Client(c.ip, number == self.gateway.logged_in, round(now - c.since, 3))
            for number, c in self.gateway.connections.items()
        ]
        return wire.Status(
            address="{}:{}".format(*self.address),
            clients=clients,
            sessions=len(self.gateway.subscribers),
            telephones=telephones,
            counters=dict(self.gateway.counters),
        )

    # ---- greenlets ----

    def _serve(self, sock: Any, address: tuple[str, int]) -> None:
        self._last_connection += 1
        number = self._last_connection
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        outbox = self._outboxes[number] = Outbox(sock, UNREAD_BYTES)
        self.gateway.connected(number, address[0], self.now())
        no_login = gevent.spawn_later(LOGIN_TIMEOUT_S, self._cut_unless_logged_in, number)
        decoder = CommandDecoder(self._encoding, MAX_LINE_BYTES)
        try:
            while not outbox.is_cut and (data := sock.recv(65536)):
                now = self.now()
                for line in decoder.feed(data):
                    self.perform(self.gateway.received(number, line, now))
                # A socket that always has data never makes its greenlet wait: let the others run.
                gevent.sleep(0)
        except OSError:
            pass  # gone without a word, or cut by us
        finally:
            no_login.kill()
            self.gateway.disconnected(number)
            outbox.close()
            del self._outboxes[number]

    def _cut_unless_logged_in(self, number: int) -> None:
        if number != self.gateway.logged_in:
            self._outboxes[number].cut()

    def _run_clock(self) -> None:
        while True:
            deadline = self.gateway.subscribers.deadline()
            if deadline is None:
                self._session_opened.clear()
                self._session_opened.wait()
            else:
                gevent.sleep(max(0.0, deadline - self.now()))
                self.perform(self.gateway.tick(self.now()))


def serve(
    settings: SimulatorSettings,
    *,
    encoding: str = "iso-8859-1",
    on_ready: Callable[[str, int], None] | None = None,
    until: Event | None = None,
) -> None:
    """Run a simulator in the foreground until `until` is set (None: for ever, or Ctrl-C)."""
    simulator = Simulator(settings, encoding)
    host, port = simulator.start()
    try:
        if on_ready is not None:
            on_ready(host, port)
        with contextlib.suppress(KeyboardInterrupt):
            (until or Event()).wait()
    finally:
        simulator.stop()
