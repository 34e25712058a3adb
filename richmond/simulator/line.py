"""The other end of the simulator's unix socket: requests out, events in. Plain sockets and select."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from pathlib import Path

import msgspec

from richmond.errors import ControlError, NotRunning, UsageError
from richmond.simulator import wire

ANSWER_S = 10.0


class Line:
    """The connection to the simulator. Closing it hangs up."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(path))
        except OSError as e:
            self._socket.close()
            raise NotRunning(
                f"no simulator answers at {path} ({e.strerror or e}): start one with `richmond start`"
            ) from e
        self._half = b""
        self._events: deque[wire.Event] = deque()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def waiting(self) -> bool:
        """Whether `next` has an event without reading."""
        return bool(self._events)

    def send(self, request: wire.Request) -> None:
        try:
            self._socket.sendall(wire.encode(request))
        except UnicodeEncodeError:
            raise UsageError("the text is not UTF-8") from None
        except OSError as e:
            raise ControlError(f"the simulator has gone: {e.strerror or e}") from e

    def next(self, timeout_s: float | None) -> wire.Event | None:
        """The next event; None if none comes within `timeout_s` (None: wait for ever)."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._events:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._socket], [], [], left)[0]:
                return None
            try:
                data = self._socket.recv(65536)
            except OSError:
                data = b""
            if not data:
                raise ControlError("the simulator has gone: it closed the connection")
            *lines, self._half = (self._half + data).split(b"\n")
            self._events.extend(self._decoded(line) for line in lines)
        return self._events.popleft()

    def _decoded(self, line: bytes) -> wire.Event:
        try:
            return wire.decode_event(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            raise ControlError(f"the simulator's answer makes no sense: {e}") from e

    def ask(self, request: wire.Request) -> wire.Event:
        """Send it and wait for its answer; ControlError with the simulator's words if that is an error.

        For connections to which nothing else comes meanwhile.
        """
        self.send(request)
        answer = self.next(ANSWER_S)
        if answer is None:
            raise ControlError(f"the simulator has not answered within {ANSWER_S:g} s")
        if isinstance(answer, wire.Error):
            raise ControlError(answer.text)
        return answer
