"""The socket to the gateway: dial, read, write, hang up, as `ssmi.link` says. Greenlets.

One driver dials, waits for deadlines and ends connections. Each connection has a reader, which stops reading while
its owner has no room, and a writer, which sends in one go all that waits; nobody else touches the socket.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from typing import Any, Protocol

import gevent
from gevent.event import Event as Signal

from richmond.broker_socket import Unconfirmed, dialled, unreachable
from richmond.settings import DEFAULT_ACCOUNT, SsmiSettings
from richmond.ssmi.codec import Ack, Event, EventDecoder, Nack, RemoteLogout
from richmond.ssmi.link import Action, Dial, Hangup, Link, LinkState, Send

_log = logging.getLogger(__name__)

_READ_BYTES = 32768  # some 800 lines: few calls under load, and writers wait no longer than it takes to handle them
_SIP_BYTES = 4096  # who sends no more than that at a time keeps nobody from the processor
_UNSENT_BYTES = 1 << 20  # lines of our own that a gateway does not take: then we do not read from it either
_LINK_EVENTS = (Ack, Nack, RemoteLogout)
_LATE_S = 1.0  # a deadline missed by more: this process was stopped, and unread answers may wait in the socket
_FAILED_S = 1.0  # after a failure of our own: no hot loop
_TURN_S = 15.0  # beside dialling, a turn may wait for RabbitMQ to end a consumer
_LAST_WORDS_S = 2.0  # from our logout to the end of file
_LEVELS = {
    LinkState.AUTH_FAILED: logging.ERROR,
    LinkState.REMOTE_LOGOUT: logging.ERROR,
    LinkState.BACKOFF: logging.WARNING,
}


class Owner(Protocol):
    """What the gateway's socket is for. Every call comes from one of its greenlets."""

    def on_events(self, events: Sequence[Event]) -> None:
        """All that one read completed. Must not block."""

    def has_room(self) -> bool:
        """Whether to read on; `resume` says that there is room again."""

    def take_replies(self) -> tuple[bytes, Any]:
        """What waits to be sent, and what to call it in `replies_done`."""

    def replies_done(self, batch: Any, sent: bool) -> Any:
        """`sent`: the socket took it all. Else it may have taken some. Returns what of it has to arrive, or None."""

    def replies_arrived(self, batch: Any, arrived: bool) -> None:
        """What `replies_done` has returned. False: nobody will ever know."""

    def reconcile(self, up: bool) -> None:
        """The link's state may have changed. May block: nobody dials meanwhile."""


class _Connection:
    __slots__ = (
        "closing", "decoder", "end", "reader", "receiving", "sock", "stalled", "stopped", "unconfirmed", "writable",
        "writer",
    )  # fmt: skip

    def __init__(self, sock: Any, decoder: EventDecoder, unconfirmed: Unconfirmed) -> None:
        self.sock = sock
        self.unconfirmed = unconfirmed
        self.decoder = decoder
        self.writable = Signal()
        self.closing = False  # write what is left, then end
        self.receiving = False  # the reader waits in recv and can be killed without losing what it has read
        self.stopped = False  # read no more
        self.stalled = False  # its reader waits for its owner
        self.end: str | None = None  # why it is over
        self.reader: Any = None
        self.writer: Any = None


class Gateway:
    """The link to one SSMI gateway."""

    def __init__(self, settings: SsmiSettings, owner: Owner) -> None:
        self.link = Link(settings, time.monotonic())
        self._owner = owner
        self._settings = settings
        self._conn: _Connection | None = None
        self._lines: list[bytes] = []
        self._unsent_bytes = 0
        self._wake = Signal()
        self._room = Signal()
        self._paused = False
        self._renewed: SsmiSettings | None = None
        self._driver: Any = None
        self._owes_since: float | None = None  # a turn, to who looks after it
        self._logged = (self.link.state, "")

    @property
    def up(self) -> bool:
        return self.link.state is LinkState.UP

    def start(self) -> None:
        self._driver = gevent.spawn(self._drive)

    def write(self, line: bytes) -> bool:
        """Queue a line. False when there is no logged-in connection to send it on."""
        conn = self._conn
        if conn is None or conn.closing or not self.up:
            return False
        self._put(conn, line)
        return True

    def replies_wait(self) -> None:
        """There is something for `take_replies`."""
        if self._conn is not None:
            self._conn.writable.set()

    def resume(self) -> None:
        """There is room again."""
        self._room.set()

    def stuck(self, now: float) -> bool:
        """Ask the driver for a turn; True: it has owed one for longer than anything that it does may take."""
        self._owes_since = since = self._owes_since or now
        self._wake.set()
        return now - since > self._settings.login_timeout_s + _TURN_S

    def poke(self) -> None:
        """Have the driver call `reconcile`."""
        self._wake.set()

    def reconfigure(self, settings: SsmiSettings) -> None:
        """Log out and dial anew if it is another account or another encoding, else only take the new times."""
        if _account(settings) == _account(self._settings):
            self.link.take(settings, time.monotonic())
        else:
            self._renewed = settings
        self._settings = settings
        self._wake.set()

    def stop_reading(self) -> None:
        """Take no more input, and do not dial again. What waits in the socket is read by `stop`."""
        self._paused = True
        self._room.set()
        self._wake.set()
        if self._conn is not None:
            self._stop_reader(self._conn)

    def stop(self, timeout_s: float) -> None:
        """Log out, read to the end of file, at most `timeout_s`, and close."""
        self.stop_reading()
        if self._driver is not None:
            self._driver.kill()
        self._goodbye(min(timeout_s, _LAST_WORDS_S))

    # The driver.

    def _drive(self) -> None:
        self._perform(self.link.start(time.monotonic()))
        while True:
            try:
                self._turn()
            except Exception:  # broad on purpose: a greenlet's top; without its driver the link would be dead for good
                _log.exception("the SSMI driver failed")
                gevent.sleep(_FAILED_S)

    def _turn(self) -> None:
        """Until something happens, and what it asks for."""
        self._owes_since = None
        self._note_state()
        self._owner.reconcile(self.up)
        deadline = self._deadline()
        self._wake.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        self._wake.clear()
        if deadline is not None and time.monotonic() - deadline > _LATE_S:
            self.link.resumed(time.monotonic())
        conn = self._conn
        if conn is not None and conn.end is not None:
            self._hang_up(conn, conn.end)
        elif self._renewed is not None and not self._paused:
            self._renew(self._renewed)
        elif self._deadline() is not None:
            self._perform(self.link.tick(time.monotonic()))

    def _deadline(self) -> float | None:
        """None while silence says nothing about the gateway because we do not read."""
        if self._paused or (self._conn is not None and self._conn.stalled):
            return None
        return self.link.deadline()

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Dial():
                    self._dial()
                case Send(data) if self._conn is not None:
                    self._put(self._conn, data)
                case Hangup(reason) if self._conn is not None:
                    self._conn.end = reason
                    self._wake.set()

    def _dial(self) -> None:
        settings = self.link.settings
        self._note_state()
        try:
            sock = dialled(settings)
        except OSError as e:
            self._perform(self.link.lost(unreachable(e, settings), time.monotonic(), random.random()))  # noqa: S311
            return
        self._lines.clear()
        self._unsent_bytes = 0
        decoder = EventDecoder(settings.encoding, settings.max_line_bytes)
        conn = self._conn = _Connection(sock, decoder, Unconfirmed(sock, self._owner.replies_arrived))
        conn.reader = gevent.spawn(self._read, conn)
        conn.writer = gevent.spawn(self._write, conn)
        self._perform(self.link.connected(time.monotonic()))

    def _hang_up(self, conn: _Connection, reason: str) -> None:
        self._conn = None
        self._stop_reader(conn)
        conn.writer.kill()
        try:
            self._read_to_the_end(conn, time.monotonic() + _LAST_WORDS_S, wait=False)  # the writer may have noticed
        finally:
            conn.unconfirmed.end()
            conn.sock.close()
            self._perform(self.link.lost(reason, time.monotonic(), random.random()))  # noqa: S311

    def _renew(self, settings: SsmiSettings) -> None:
        self._renewed = None
        self._goodbye(_LAST_WORDS_S)
        counters = self.link.counters
        self.link = Link(settings, time.monotonic())
        self.link.counters = counters
        self._note_state()
        self._owner.reconcile(False)
        self._perform(self.link.start(time.monotonic()))

    def _goodbye(self, timeout_s: float) -> None:
        """Closing a socket with unread bytes resets it, and what was in it is lost: so read to the end first."""
        conn, was_up = self._conn, self.up
        deadline = time.monotonic() + timeout_s
        if conn is not None:
            self._stop_reader(conn)
        self._perform(self.link.stop(time.monotonic()))
        self._note_state()
        if conn is None:
            return
        conn.closing = True
        conn.writable.set()
        if was_up:
            conn.writer.join(timeout_s / 2)
            self._read_to_the_end(conn, deadline, wait=True)
        conn.writer.kill()
        conn.unconfirmed.end()
        conn.sock.close()
        self._conn = None

    def _read_to_the_end(self, conn: _Connection, deadline: float, *, wait: bool) -> None:
        try:
            while (left := deadline - time.monotonic()) > 0:
                conn.sock.settimeout(left if wait else 0.0)
                data = conn.sock.recv(_READ_BYTES)
                if not data:
                    break
                self._take(conn, data)
                gevent.sleep(0)
        except OSError:  # its end, whatever it was
            pass

    # A connection's reader and writer.

    def _read(self, conn: _Connection) -> None:
        try:
            while self._wait_for_room(conn):
                conn.receiving = True
                data = conn.sock.recv(_READ_BYTES)
                conn.receiving = False
                if not data:
                    self._over(conn, "the gateway closed the connection")
                    return
                self._take(conn, data)
                if len(data) > _SIP_BYTES:
                    gevent.sleep(0)  # a recv that finds bytes does not switch: a flood would starve everybody else
        except OSError as e:
            self._over(conn, f"the connection to the gateway broke: {e.strerror or e}")
        except Exception:  # broad on purpose: a greenlet's top; whatever it was, the link comes back
            _log.exception("the SSMI reader failed")
            self._over(conn, "the reader failed; its traceback is in the log")

    def _take(self, conn: _Connection, data: bytes) -> None:
        conn.unconfirmed.look()  # before what the gateway says of it
        events = conn.decoder.feed(data)
        for event in events:
            if isinstance(event, _LINK_EVENTS):
                self._perform(self.link.received(event, time.monotonic()))
                self._wake.set()
        if events:
            self._owner.on_events(events)

    def _wait_for_room(self, conn: _Connection) -> bool:
        """False when there is nothing more to read here."""
        while not (self._paused or conn.stopped or conn.end is not None):
            owner_has = self._owner.has_room()
            if conn.stalled and owner_has:
                self.link.resumed(time.monotonic())
                self._wake.set()
            conn.stalled = not owner_has
            if owner_has and self._unsent_bytes < _UNSENT_BYTES:
                return True
            self._room.clear()
            self._room.wait()
        return False

    def _write(self, conn: _Connection) -> None:
        try:
            while not (conn.closing and not self._lines):
                conn.writable.wait()
                conn.writable.clear()
                self._write_what_waits(conn)
        except OSError as e:
            self._over(conn, f"the connection to the gateway broke: {e.strerror or e}")
        except Exception:  # broad on purpose: as in _read
            _log.exception("the SSMI writer failed")
            self._over(conn, "the writer failed; its traceback is in the log")

    def _write_what_waits(self, conn: _Connection) -> None:
        lines, self._lines = self._lines, []
        batch = None
        if self.up and not conn.closing:
            replies, batch = self._owner.take_replies()
            lines.append(replies)
        data = b"".join(lines)
        sent = False
        try:
            if data:
                taken = conn.sock.send(data)
                if taken < len(data):  # rarely; sendall asks for the size of the socket's buffer each time
                    conn.sock.sendall(data[taken:])
            sent = True
        finally:  # also when killed
            self._unsent_bytes = sum(map(len, self._lines))
            left = self._owner.replies_done(batch, sent) if batch is not None else None
        conn.unconfirmed.wrote(len(data), left)
        self._room.set()

    def _put(self, conn: _Connection, line: bytes) -> None:
        self._lines.append(line)
        self._unsent_bytes += len(line)
        conn.writable.set()

    def _over(self, conn: _Connection, reason: str) -> None:
        if conn.end is None:
            conn.end = reason
        self._wake.set()

    def _stop_reader(self, conn: _Connection) -> None:
        """Without losing what it has read: it is killed only where it waits for more."""
        conn.stopped = True
        self._room.set()
        if conn.receiving:
            conn.reader.kill()
        else:
            conn.reader.join()

    def _note_state(self) -> None:
        state, error = self.link.state, self.link.last_error
        if (state, error) == self._logged:
            return
        old, old_error = self._logged
        self._logged = (state, error)
        if state is LinkState.CONNECTING or (state is LinkState.BACKOFF and error == old_error):
            level = logging.DEBUG  # dialling in vain says the same every minute
        else:
            level = _LEVELS.get(state, logging.INFO)
        settings = self.link.settings
        of = "" if settings.name == DEFAULT_ACCOUNT else f" of {settings.name}"
        where = f"{settings.host}:{settings.port}"
        reason = f": {error}" if error and state in _LEVELS else ""
        _log.log(level, "SSMI link%s to %s: %s -> %s%s", of, where, old.value, state.value, reason)


def _account(s: SsmiSettings) -> tuple[object, ...]:
    return s.host, s.port, s.username, s.password, s.encoding, s.max_line_bytes
