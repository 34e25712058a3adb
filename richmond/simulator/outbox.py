"""What still has to go out on one socket, written by a greenlet of its own so that a slow reader blocks nobody."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event

# A peer that has been told that nothing more comes may take its time to read and close; then it is cut.
LINGER_S = 2.0

Pieces = Callable[[bytes], list[bytes]]


class Outbox:
    """`sock`: of gevent. `limit_bytes`: a peer that leaves more than this unread is cut off."""

    def __init__(self, sock: Any, limit_bytes: int) -> None:
        self._sock = sock
        self._limit = limit_bytes
        self._waiting: deque[tuple[float, bytes]] = deque()  # (monotonic time of its put, data)
        self._size = 0
        self._delay_s = 0.0
        self._pieces: Pieces | None = None
        self._changed = Event()
        self._finishing = False
        self.is_cut = False
        self._writer = gevent.spawn(self._write)
        self._timer: gevent.Greenlet | None = None

    def put(self, data: bytes) -> None:
        if self._finishing or self.is_cut:
            return
        self._waiting.append((time.monotonic(), data))
        self._size += len(data)
        if self._size > self._limit:
            self.cut()
        self._changed.set()

    def behave(self, delay_s: float, pieces: Pieces | None) -> None:
        """From now on, for what waits too. `delay_s`: how late data goes out. `pieces`: how it is cut; None: not."""
        self._delay_s = delay_s
        self._pieces = pieces
        self._changed.set()

    def finish(self) -> None:
        """Send what waits, then end of file. The socket's reader goes on until the peer closes, or is cut."""
        if not self._finishing:
            self._finishing = True
            self._timer = gevent.spawn_later(LINGER_S, self.cut)
            self._changed.set()

    def cut(self, *, reset: bool = False) -> None:
        """Now, with what waits unsent. The socket's reader wakes with an end of file or an OSError."""
        if self.is_cut:
            return
        self.is_cut = True
        self._changed.set()
        with contextlib.suppress(OSError):  # the peer was quicker
            if reset:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._sock.close()
            else:
                self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """For the reader, when it has ended: send what waits, at most for LINGER_S, and close."""
        self.finish()
        self._writer.join()
        if self._timer is not None:
            self._timer.kill()
        self._sock.close()

    def _write(self) -> None:
        try:
            while not self.is_cut:
                if data := self._due():
                    self._send(data)
                    self._size -= len(data)
                elif self._finishing:
                    self._sock.shutdown(socket.SHUT_WR)
                    return
                else:
                    self._changed.wait(self._due_in())
                    self._changed.clear()
        except OSError:
            self.cut()

    def _due(self) -> bytes:
        if not self._delay_s or self._finishing:
            data = b"".join(data for _, data in self._waiting)
            self._waiting.clear()
            return data
        due = []
        while (wait := self._due_in()) is not None and wait <= 0:
            due.append(self._waiting.popleft()[1])
        return b"".join(due)

    def _due_in(self) -> float | None:
        return self._waiting[0][0] + self._delay_s - time.monotonic() if self._waiting else None

    def _send(self, data: bytes) -> None:
        if self._pieces is None:
            self._sock.sendall(data)
            return
        for piece in self._pieces(data):
            self._sock.sendall(piece)
            gevent.sleep(0)  # so that the others run, and the reader may get it by itself
