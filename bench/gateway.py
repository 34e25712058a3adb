"""The gateway's side of a benchmark: USSD sessions in a closed loop, each reply checked.

A session dials, answers ten times, the last time with 0, and dials again; it sends its next message when the
reply to the last one has come. One socket, one thread.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field

ANSWERS = 10
GREETING = b"Hello, this is an echo service for testing. Reply with whatever. Reply '0' to end session."
GOODBYE = b"quitting, goodbye!"


@dataclass(slots=True)
class Result:
    replied: int = 0
    wrong: int = 0
    lost: int = 0  # no reply within the patience
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.replied / self.seconds

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Gateway:
    """Listens on a free port; `port` is it. One client at a time, any user and password."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._socket: socket.socket | None = None
        self._rest = b""

    def accept(self, timeout_s: float = 60) -> None:
        """Wait for the client and its login."""
        self._listener.settimeout(timeout_s)
        self._socket, _ = self._listener.accept()
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(timeout_s)
        self._rest = b""
        assert self._lines()[0].startswith(b"SSMI,1,")
        self._socket.sendall(b"SSMI,101,1\r")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._listener.close()

    def _lines(self) -> list[bytes]:
        assert self._socket is not None
        while True:
            data = self._socket.recv(1 << 18)
            assert data, "the client hung up"
            *lines, self._rest = (self._rest + data).split(b"\r")
            if lines:
                return lines

    def probe(self, timeout_s: float = 60) -> None:
        """Return when a message has come back: the whole path works."""
        assert self._socket is not None
        deadline = time.monotonic() + timeout_s
        self._socket.sendall(b"SSMI,110,27000000001,1,2,*120*663#\r")
        while time.monotonic() < deadline:
            for line in self._lines():
                if line == b"SSMI,3":
                    self._socket.sendall(b"SSMI,101,2\r")
                if line.startswith(b"SSMI,110,27000000001,"):
                    if b",3," in line:  # the apology: nobody was there yet
                        self._socket.sendall(b"SSMI,110,27000000001,1,2,*120*663#\r")
                        continue
                    return
        raise AssertionError("no reply to the probe")

    def closed(self, sessions: int, seconds: float, warmup_s: float = 1.0) -> Result:
        """`sessions` at once for `seconds`, after a warm-up that does not count."""
        assert self._socket is not None
        result = Result()
        step = [0] * sessions
        sent = [0.0] * sessions
        clock = time.perf_counter
        begin = clock() + warmup_s
        end = begin + seconds
        base = 27100000000

        def message(i: int) -> bytes:
            if step[i] == 0:
                return b"SSMI,110,%d,1,2,*120*663#\r" % (base + i)
            return b"SSMI,110,%d,2,2,%b\r" % (base + i, self._text(i, step[i]))

        now = clock()
        sent[:] = [now] * sessions
        self._socket.sendall(b"".join(message(i) for i in range(sessions)))
        open_ = sessions
        self._socket.settimeout(10)
        while open_:
            try:
                lines = self._lines()
            except TimeoutError:
                result.lost = open_
                break
            now = clock()
            out = []
            for line in lines:
                fields = line.split(b",", 4)
                if fields[1] != b"110":
                    if line == b"SSMI,3":
                        out.append(b"SSMI,101,2\r")
                    continue
                i = int(fields[2]) - base
                if not 0 <= i < sessions:
                    continue
                want = GREETING if step[i] == 0 else GOODBYE if step[i] == ANSWERS else self._text(i, step[i])
                if fields[4] != want:
                    result.wrong += 1
                if begin <= now < end:
                    result.replied += 1
                    result.latencies_ms.append((now - sent[i]) * 1000)
                step[i] = 0 if step[i] == ANSWERS else step[i] + 1
                if now < end:
                    sent[i] = now
                    out.append(message(i))
                else:
                    open_ -= 1
            if out:
                self._socket.sendall(b"".join(out))
        result.seconds = seconds
        return result

    @staticmethod
    def _text(i: int, step: int) -> bytes:
        return b"0" if step == ANSWERS else b"m%d.%d how are you today" % (i, step)
