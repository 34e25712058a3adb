"""The simulator at work: SSMI clients on TCP, telephones on a unix socket, one clock. On gevent, patched or not.

`richmond start` has one inside its master; `serve` runs one alone.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gevent
from gevent import socket
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer

from richmond.errors import UsageError
from richmond.settings import SimulatorSettings
from richmond.simulator import wire
from richmond.simulator.control import ControlPort
from richmond.simulator.faults import GARBAGE, MOST_IN_A_CHUNK, cut, long_line
from richmond.simulator.gateway import Action, Close, Connection, Gateway, Send
from richmond.simulator.outbox import LINGER_S, Outbox
from richmond.simulator.ring import Ring, Tap
from richmond.ssmi.codec import CommandDecoder, Login, encode

HOST = "127.0.0.1"  # for development: the account's password is in an ini that many can read
LOGIN_TIMEOUT_S = 30.0
MAX_CONNECTIONS = 256  # of SSMI clients
MAX_LINE_BYTES = 65536
UNREAD_BYTES = 4 * 1024 * 1024  # of lines, before a client that does not read is cut off


@dataclass(frozen=True, slots=True)
class _Client:
    """One SSMI connection. `known` outlives the gateway's own record of it: its last lines are still to be sent."""

    number: int
    outbox: Outbox
    known: Connection


class Simulator:
    """Start and stop once. Its failures are RichmondErrors with the remedy.

    `accounts`: user name -> password, the first one being where telephones dial by default; without any, the pair of
    `settings`. `encodings`: user name -> that of its texts, where it is not `encoding`. `first_sequence`: of the first
    SMS; by default one that no simulator before has used.
    """

    def __init__(
        self,
        settings: SimulatorSettings,
        encoding: str = "iso-8859-1",
        *,
        accounts: Mapping[str, str] | None = None,
        encodings: Mapping[str, str] | None = None,
        first_sequence: int | None = None,
    ) -> None:
        self.gateway = Gateway(
            accounts or {settings.username: settings.password},
            session_timeout_s=settings.session_timeout_s,
            extended=settings.extended,
            first_sequence=int(time.time() * 1000) if first_sequence is None else first_sequence,
        )
        self.address: tuple[str, int] = (HOST, settings.port)  # the real port from `start` on
        self._settings = settings
        self._encoding = encoding
        self._encodings = dict(encodings or {})
        self._control = ControlPort(settings.socket, self)
        self._server: StreamServer | None = None
        self._clients: dict[int, _Client] = {}
        self._last_connection = 0
        self._ring = Ring()
        self._due: float | None = None  # what the clock waits for
        self._earlier = Event()
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
            for client in tuple(self._clients.values()):
                client.outbox.finish()
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
                if (client := self._clients.get(action.connection)) is not None:
                    self._say(action.connection, encode(action.line, self.encoding(client.known.account)))
            elif isinstance(action, Close):
                if (client := self._clients.get(action.connection)) is not None:
                    client.outbox.finish()
            else:
                self._control.tell(action.news)
        deadline = self.gateway.deadline()
        if deadline is not None and (self._due is None or deadline < self._due):
            self._earlier.set()

    def drop(self, account: str, *, reset: bool) -> None:
        # Also those that the gateway has closed already, and that have not closed yet.
        numbers = self.gateway.clients(account) if account else tuple(self._clients)
        for number in numbers:
            self._clients[number].outbox.cut(reset=reset)

    def encoding(self, account: str) -> str:
        return self._encodings.get(account, self._encoding)

    def inject(self, line: str | bytes, account: str) -> None:
        """As if the gateway had said it. Refused without a client."""
        number = self.gateway.client(account)
        if isinstance(line, str):
            line = line.encode(self.encoding(self._clients[number].known.account)) + b"\r"
        self._say(number, line)

    def garbage(self, account: str) -> None:
        for number in self.gateway.clients(account):
            for line in GARBAGE:
                self._say(number, line + b"\r")

    def long(self, length: int, account: str) -> None:
        for number in self.gateway.clients(account):
            self._say(number, long_line(length))

    def behave(self) -> None:
        """The gateway's faults have changed."""
        for client in self._clients.values():
            self._behave(client)

    def log(self) -> list[wire.Line]:
        return list(self._ring)

    def status(self, telephones: int) -> wire.Status:
        now = self.now()
        gateway = self.gateway
        clients = [
            wire.Client(c.ip, c.account, gateway.speaks(number), round(now - c.since, 3))
            for number, c in gateway.connections.items()
        ]
        return wire.Status(
            address="{}:{}".format(*self.address),
            accounts=list(gateway.accounts),
            clients=clients,
            sessions=len(gateway.subscribers),
            telephones=telephones,
            extended=gateway.subscribers.extended,
            faults=gateway.faults.listed(),
            reports=gateway.reports.listed(),
            reports_waiting=len(gateway.reports),
            counters=dict(gateway.counters),
        )

    # ---- within ----

    def _say(self, number: int, data: bytes) -> None:
        client = self._clients.get(number)
        if client is None:
            return
        tap = Tap(self.encoding(client.known.account))
        for text in [*tap.feed(data), *tap.rest()]:
            self._note(client, "S>", text)
        if data.endswith(b"\r") and self.gateway.faults.value("crlf", client.known.account):
            data += b"\n"
        client.outbox.put(data)

    def _behave(self, client: _Client) -> None:
        faults, account = self.gateway.faults, client.known.account
        pieces = None
        if faults.value("bytes", account):
            pieces = _in_bytes
        elif faults.value("chunks", account):
            pieces = _in_chunks
        client.outbox.behave(faults.value("delay", account), pieces)

    def _note(self, client: _Client, direction: Literal["C>", "S>", "--"], text: str) -> None:
        line = wire.Line(round(time.time(), 3), client.number, client.known.account, direction, text)
        self._ring.add(line)
        self._control.tell_line(line)

    # ---- greenlets ----

    def _serve(self, sock: Any, address: tuple[str, int]) -> None:
        self._last_connection += 1
        number = self._last_connection
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        known = self.gateway.connected(number, address[0], self.now())
        client = self._clients[number] = _Client(number, Outbox(sock, UNREAD_BYTES), known)
        no_login = gevent.spawn_later(LOGIN_TIMEOUT_S, self._cut_unless_logged_in, client)
        self._note(client, "--", f"connected from {known.ip}")
        self._behave(client)
        tap = Tap(self._encoding)
        try:
            self._listen(client, sock, tap)
        except OSError:
            pass  # gone without a word, or cut by us
        finally:
            no_login.kill()
            for text in tap.rest():
                self._note(client, "C>", text)
            self._note(client, "--", "closed")
            self.gateway.disconnected(number)
            client.outbox.close()
            del self._clients[number]

    def _listen(self, client: _Client, sock: Any, tap: Tap) -> None:
        decoder = CommandDecoder(self._encoding, MAX_LINE_BYTES)
        while not client.outbox.is_cut and (data := sock.recv(65536)):
            now = self.now()
            for text in tap.feed(data):
                self._note(client, "C>", text)
            for line in decoder.feed(data):
                self.perform(self.gateway.received(client.number, line, now))
                if isinstance(line, Login):  # its account may have faults, and an encoding, of its own
                    self._behave(client)
                    decoder.encoding = tap.encoding = self.encoding(client.known.account)
            # A socket that always has data never makes its greenlet wait: let the others run.
            gevent.sleep(0)

    def _cut_unless_logged_in(self, client: _Client) -> None:
        if not self.gateway.speaks(client.number):
            client.outbox.cut()

    def _run_clock(self) -> None:
        while True:
            self._due = self.gateway.deadline()
            self._earlier.clear()
            self._earlier.wait(None if self._due is None else max(0.0, self._due - self.now()))
            self.perform(self.gateway.tick(self.now()))


def _in_bytes(data: bytes) -> list[bytes]:
    return cut(data, lambda: 1)


def _in_chunks(data: bytes) -> list[bytes]:
    return cut(data, lambda: random.randint(1, MOST_IN_A_CHUNK))  # noqa: S311 - no secret


def serve(
    settings: SimulatorSettings,
    *,
    encoding: str = "iso-8859-1",
    on_ready: Callable[[str, int], None] | None = None,
    until: Event | None = None,
    accounts: Mapping[str, str] | None = None,
    encodings: Mapping[str, str] | None = None,
    first_sequence: int | None = None,
) -> None:
    """Run a simulator in the foreground until `until` is set (None: for ever, or Ctrl-C)."""
    simulator = Simulator(settings, encoding, accounts=accounts, encodings=encodings, first_sequence=first_sequence)
    host, port = simulator.start()
    try:
        if on_ready is not None:
            on_ready(host, port)
        with contextlib.suppress(KeyboardInterrupt):
            (until or Event()).wait()
    finally:
        simulator.stop()
