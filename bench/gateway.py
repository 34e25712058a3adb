"""The load generator: plays the gateway, sends USSD sessions, checks each reply, measures what each took.

A session dials, answers ten times, the last time with 0, and begins again. One thread, and as little work for a line
as possible, since it shares the machine with what it measures: lines and the replies they must get are made
beforehand, a reply is one look-up of the whole line.
"""

from __future__ import annotations

import gc
import itertools
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

ANSWERS = 10
LOST_AFTER_S = 5.0
QUIET_S = 0.2  # for duplicates, after the last reply
GREETING = b"Hello, this is an echo service for testing. Reply with whatever. Reply '0' to end session."
GOODBYE = b"quitting, goodbye!"

_clock = time.perf_counter
_runs = itertools.count()


class HungUp(Exception):
    """The client has closed the connection, or takes nothing from it any more."""


class Session:
    """One telephone. `lines[step]` is to be answered with `replies[step]`."""

    __slots__ = ("due", "lines", "msisdn", "replies", "step")

    def __init__(self, msisdn: bytes, index: int) -> None:
        texts = [b"m%d.%d, how are you today" % (index, step) for step in range(ANSWERS)]
        self.msisdn = msisdn
        self.step = 0
        self.due = 0.0
        self.lines = [
            b"SSMI,110,%b,1,2,*120*663#\r" % msisdn,
            *(b"SSMI,110,%b,2,2,%b\r" % (msisdn, text) for text in texts[1:]),
            b"SSMI,110,%b,2,2,0\r" % msisdn,
        ]
        self.replies = [
            b"SSMI,110,%b,2,%b" % (msisdn, GREETING),
            *(b"SSMI,110,%b,2,%b" % (msisdn, text) for text in texts[1:]),
            b"SSMI,110,%b,3,%b" % (msisdn, GOODBYE),
        ]


@dataclass(slots=True)
class Result:
    """Latencies are those of the measured time, lost ones in it with `LOST_AFTER_S`; counts are of the whole run."""

    rate: float = 0.0  # messages answered a second
    measured: int = 0  # messages that the rate counts
    sent: int = 0
    replied: int = 0
    lost: int = 0  # no reply within LOST_AFTER_S
    late: int = 0  # of these, came after all
    wrong: int = 0
    duplicate: int = 0
    latencies_s: list[float] = field(default_factory=list)

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else float("nan")


class Gateway:
    """Listens on a free port; `port` is it. One client, any user and password."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._prefix = b"27%03d" % (next(_runs) % 1000)  # so that what an earlier run left is recognised
        self._numbers = itertools.count()
        self._sessions: dict[bytes, Session] = {}  # by msisdn
        self._waiting: dict[bytes, Session] = {}  # by the reply that must come, the oldest first
        self._asked: set[bytes] = set()  # every reply that may come in this run
        self._lost: set[bytes] = set()
        self._out: list[bytes] = []
        self._rest = b""
        self._look_for_lost = 0.0
        self._measuring = False
        self._result = Result()

    def accept(self, timeout_s: float) -> None:
        """Wait for the client and its login."""
        self._listener.settimeout(timeout_s)
        self._socket, _ = self._listener.accept()
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Not settimeout, which polls before each call.
        self._socket.settimeout(None)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(LOST_AFTER_S), 0))
        if not self._read()[0].startswith(b"SSMI,1,"):
            raise HungUp("the client's first line is no login")
        self._socket.sendall(b"SSMI,101,1\r")

    def close(self) -> None:
        if hasattr(self, "_socket"):
            self._socket.close()
        self._listener.close()

    def probe(self, timeout_s: float) -> None:
        """Return when a message has been answered: the whole path works."""
        deadline = _clock() + timeout_s
        while _clock() < deadline:
            self._say(self._new_session(), _clock())
            self._drain()
            if not self._result.wrong and not self._result.lost:
                return
            self._result = Result()
        raise HungUp(f"no reply within {timeout_s:g} s")

    def closed(self, sessions: int, seconds: float, warmup_s: float, boundary: Callable[[], None]) -> Result:
        """`sessions` telephones, each sends its next message when the reply to the last one has come.

        `boundary` is called at the beginning and at the end of the measured time, with nothing under way.
        """
        return self._phases(lambda s: self._closed(sessions, s), seconds, warmup_s, boundary)

    def open(self, rate: float, seconds: float, warmup_s: float, boundary: Callable[[], None]) -> Result:
        """`rate` messages a second, whatever the replies do, each timed from when it was due to be sent."""
        return self._phases(lambda s: self._open(rate, s), seconds, warmup_s, boundary)

    def _phases(
        self, load: Callable[[float], int], seconds: float, warmup_s: float, boundary: Callable[[], None]
    ) -> Result:
        self._result = result = Result()
        gc.disable()
        try:
            load(warmup_s)
            boundary()
            self._measuring = True
            result.measured = load(seconds)
            self._measuring = False
            boundary()
            quiet = _clock() + QUIET_S
            while _clock() < quiet:
                self._receive(quiet)
        finally:
            gc.enable()
        result.rate = result.measured / seconds
        return result

    def _closed(self, sessions: int, seconds: float) -> int:
        """Returns how many were answered in this time."""
        before, end = self._result.replied, _clock() + seconds
        ready = [self._new_session() for _ in range(sessions)]
        while (now := _clock()) < end:
            for session in ready:
                self._say(session, now)
            ready = self._receive(end)
        answered = self._result.replied - before
        self._drain()
        return answered

    def _open(self, rate: float, seconds: float) -> int:
        """Returns how many were answered at all."""
        before, total, n = self._result.replied, int(rate * seconds), 0
        idle = deque(self._new_session() for _ in range(16 + int(rate / 10)))
        start = _clock()
        while n < total:
            now = _clock()
            while n < total and (due := start + n / rate) <= now:
                self._say(idle.popleft() if idle else self._new_session(), due)
                n += 1
            idle.extend(self._receive(start + n / rate))
        self._drain()
        return self._result.replied - before

    def _drain(self) -> None:
        """Until all have been answered or given up."""
        while self._waiting:
            self._receive(_clock() + LOST_AFTER_S)

    def _new_session(self) -> Session:
        index = next(self._numbers)
        session = Session(b"%b%06d" % (self._prefix, index), index)
        self._sessions[session.msisdn] = session
        self._asked.update(session.replies)
        return session

    def _say(self, session: Session, due: float) -> None:
        session.due = due
        self._waiting[session.replies[session.step]] = session
        self._out.append(session.lines[session.step])

    def _receive(self, until: float) -> list[Session]:
        """Send what was said; the sessions that may go on: theirs has been answered, or they replace a failed one."""
        if self._out:
            self._result.sent += len(self._out)
            self._send(b"".join(self._out))
            self._out.clear()
        ready: list[Session] = []
        now = _clock()
        if now >= self._look_for_lost:
            ready += self._give_up(now)
        # select, for its microseconds: poll and epoll round up to whole milliseconds.
        if not select.select([self._socket], [], [], max(0.0, min(until, self._look_for_lost) - now))[0]:
            return ready
        lines = self._read()
        now = _clock()
        took = self._result.latencies_s if self._measuring else []
        for line in lines:
            session = self._waiting.pop(line, None)
            if session is None:
                ready += self._unexpected(line)
                continue
            took.append(now - session.due)
            session.step = session.step + 1 if session.step < ANSWERS else 0
            self._result.replied += 1
            ready.append(session)
        return ready

    def _give_up(self, now: float) -> list[Session]:
        self._look_for_lost = now + 0.1
        lost = list(itertools.takewhile(lambda item: item[1].due < now - LOST_AFTER_S, self._waiting.items()))
        for reply, _ in lost:
            del self._waiting[reply]
            self._lost.add(reply)
        self._result.lost += len(lost)
        if self._measuring:
            self._result.latencies_s += [LOST_AFTER_S] * len(lost)
        return [self._new_session() for _ in lost]

    def _unexpected(self, line: bytes) -> list[Session]:
        """A link check, or what should not have come. A session that it fails goes on under a new number."""
        fields = line.split(b",", 3)
        if fields[:2] == [b"SSMI", b"3"]:
            self._send(b"SSMI,101,2\r")
        elif line in self._lost or not (len(fields) == 4 and fields[2].startswith(self._prefix)):
            self._lost.discard(line)
            self._result.late += 1  # also what was on its way when an earlier run ended
        elif line in self._asked:
            self._result.duplicate += 1
        else:
            self._result.wrong += 1
            session = self._sessions.get(fields[2])
            if session is not None and self._waiting.pop(session.replies[session.step], None):
                return [self._new_session()]
        return []

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as e:
            raise HungUp(f"the client takes nothing more: {e}") from e

    def _read(self) -> list[bytes]:
        """The whole lines of one read; none if it ended within the first."""
        try:
            data = self._socket.recv(1 << 18)
        except OSError as e:
            raise HungUp(f"the client sends nothing: {e}") from e
        if not data:
            raise HungUp("the client has hung up")
        *lines, self._rest = (self._rest + data).split(b"\r")
        return lines
