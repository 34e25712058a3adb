"""The last lines that passed on the SSMI connections, for people. No I/O. Bounded, and without the password."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from richmond.simulator.wire import Line

LINES = 5000
# Of text in all. Every character may take six in JSON, and a telephone is cut off that leaves 4 MiB unread.
TEXT = 400_000
SHOWN_BYTES = 4096  # of one line: more than any message has

_LOGIN = re.compile(rb"\A(\W*ssmi\W+0*1\b[^,]*,[^,]*,).*", re.IGNORECASE | re.DOTALL)


class Ring:
    def __init__(self, lines: int = LINES, text: int = TEXT) -> None:
        self._most_lines = lines
        self._most_text = text
        self._lines: deque[Line] = deque()
        self._text = 0

    def __iter__(self) -> Iterator[Line]:
        """Oldest first."""
        return iter(self._lines)

    def add(self, line: Line) -> None:
        self._lines.append(line)
        self._text += len(line.text)
        while len(self._lines) > self._most_lines or (self._text > self._most_text and len(self._lines) > 1):
            self._text -= len(self._lines.popleft().text)


class Tap:
    """Bytes as they come to lines as they are shown. Holds at most SHOWN_BYTES of an unfinished line."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self._half = bytearray()
        self._length = 0

    def feed(self, data: bytes) -> list[str]:
        *ends, rest = data.split(b"\r")
        lines = []
        for end in ends:
            self._keep(end)
            lines.append(self._shown())
        self._keep(rest)
        return lines

    def rest(self) -> list[str]:
        """What was left without its carriage return, if anything."""
        return [self._shown()] if self._length else []

    def _keep(self, data: bytes) -> None:
        self._length += len(data)
        self._half += data[: SHOWN_BYTES - len(self._half)]

    def _shown(self) -> str:
        text = _LOGIN.sub(rb"\1***", bytes(self._half)).decode(self.encoding, "backslashreplace")
        if self._length > SHOWN_BYTES:
            text += f"... ({self._length} bytes)"
        self._half.clear()
        self._length = 0
        return text
