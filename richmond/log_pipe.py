"""What a worker says on its way to the master: a pipe, its writing end, and what the master makes of what comes out.

The pipe is the worker's standard output and error. Its log travels there too, each record marked with a word that
only the two know, so that nothing printed can pass for one:

    a line that somebody printed
    \\x1e<mark>[1790000000.0,"INFO","consuming richmond.receive",0]

Who reads is the master. While it is stopped (SIGSTOP), or a flood comes faster than it reads, the pipe fills up.
`print` and the log then wait for a tenth of a second at most, and no more than a tenth of the time; what found no room
is dropped and counted, and the next line that finds some says how many there were. Only what writes to descriptors 1
and 2 by itself (C code, programs that a handler starts) waits until the master reads again. When the master has been
killed, nobody does: the worker then goes on in the file, as `redirect` says.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from richmond.log_lines import LONGEST, OUTPUT, Entry, shorten

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PIPE_BYTES = 256 << 10  # instead of 64 KiB; the kernel grants a user without privileges 64 MiB in all
PATIENCE_S = 0.1  # the longest wait for room
PATIENCE = 0.1  # of the time
_BEGIN = b"\x1e"
_LONGEST_BYTES = 4 * LONGEST + 1024  # of a line: nothing that we write ourselves is longer


class _Said(msgspec.Struct, frozen=True, array_like=True):
    at: float
    level: str
    text: str
    lost: int = 0  # lines that found no room before this one


_decoder = msgspec.json.Decoder(_Said)


def open_pipe() -> tuple[int, int]:
    """The reading end, which does not block, and the writing end, which does. OSError if there can be none."""
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    with contextlib.suppress(OSError):  # more than a user may have: then it is a smaller one
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return read, write


# The worker's side.


class Outlet:
    """The writing end in a worker, for its log (as a log.Sink) and for what it prints. Threads may share it."""

    def __init__(self, fd: int, mark: str) -> None:
        """`fd`: the pipe; it stays as it is, since a file description that does not block is for us alone."""
        self.dropped = 0
        self._mark = _BEGIN + mark.encode()
        self._fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self._lock = threading.RLock()  # a signal handler may print while its thread does
        self._patience_s = PATIENCE_S
        self._waited = time.monotonic()
        self._unsaid = 0  # of the dropped
        self._cut = False  # the last line got only partly out

    def put(self, entry: Entry) -> None:
        self._write(self._frame(_Said(entry.at, entry.level, shorten(entry.text))))

    def print(self, data: bytes) -> None:
        """As it is, whole lines or not."""
        self._write(data)

    def lose(self, count: int) -> None:
        self.dropped += count
        self._unsaid += count

    def reopen(self) -> None:
        """The files are the master's."""

    def close(self) -> None:
        """Say what was dropped, if nothing else has since."""
        if self._unsaid:
            self._write(b"")

    def _frame(self, said: _Said) -> bytes:
        return self._mark + msgspec.json.encode(said) + b"\n"

    def _write(self, data: bytes) -> None:
        with self._lock:
            head = b"\n" if self._cut else b""
            if self._unsaid:
                text = f"{self._unsaid} lines of output are lost: nobody read them in time"
                head += self._frame(_Said(time.time(), "WARNING", text, self._unsaid))
            left = self._push(head)
            if not left:
                if head:
                    self._unsaid, self._cut = 0, False
                left = self._push(data)
                self._cut = 0 < len(left) < len(data)
            else:
                left = memoryview(data)
            if left:
                self.lose(max(1, bytes(left).count(b"\n")))

    def _push(self, data: bytes) -> memoryview:
        """What did not get out."""
        left = memoryview(data)
        with contextlib.suppress(BrokenPipeError):  # the master has died
            while left:
                try:
                    left = left[os.write(self._fd, left) :]
                except BlockingIOError:
                    if not self._wait():
                        break
        return left

    def _wait(self) -> bool:
        now = time.monotonic()
        self._patience_s = min(PATIENCE_S, self._patience_s + PATIENCE * (now - self._waited))
        found = bool(self._patience_s > 0.001 and self._poll.poll(self._patience_s * 1000))
        self._waited = time.monotonic()
        self._patience_s -= self._waited - now
        return found


class _Raw(io.RawIOBase):
    def __init__(self, outlet: Outlet, fd: int) -> None:
        self._outlet = outlet
        self._fd = fd

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: ReadableBuffer) -> int:
        found = bytes(data)
        self._outlet.print(found)
        return len(found)


def take_over(fd: int, mark: str) -> Outlet:
    """Make the pipe `fd` standard output and error of this process, and closes `fd`. OSError if that cannot be."""
    outlet = Outlet(fd, mark)
    for number in (1, 2):
        os.dup2(fd, number)
    os.close(fd)
    sys.stdout, sys.stderr = _stream(outlet, 1), _stream(outlet, 2)
    return outlet


def redirect(path: Path) -> None:
    """Nobody reads the pipe any more: what is printed from now on goes to the end of the file. OSError if it cannot."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    for number in (1, 2):
        os.dup2(fd, number)
    os.close(fd)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115


def _stream(outlet: Outlet, fd: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(_Raw(outlet, fd)), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


# The master's side.


class Splitter:
    """Bytes that come out of one pipe -> entries. `lost` counts the lines that found no room in the pipe."""

    def __init__(self, process: str, mark: str = "") -> None:
        """`mark`: empty where nothing but plain lines can come."""
        self.lost = 0
        self._process = process
        self._mark = _BEGIN + mark.encode() if mark else b""
        self._rest = b""

    def feed(self, data: bytes, now: float) -> Iterator[Entry]:
        """`now`: Unix seconds, of lines that do not know themselves when they were said."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield from self._line(line, now)
        while len(self._rest) > _LONGEST_BYTES:
            line, self._rest = self._rest[:LONGEST], self._rest[LONGEST:]
            yield from self._line(line, now)

    def end(self, now: float) -> Iterator[Entry]:
        """Nothing comes any more."""
        if self._rest:
            yield from self._line(self._rest, now)
            self._rest = b""

    def _line(self, line: bytes, now: float) -> Iterator[Entry]:
        printed, mark, said = line.partition(self._mark) if self._mark else (line, b"", b"")
        if printed or not mark:
            text = printed.removesuffix(b"\r").decode("utf-8", "backslashreplace")
            yield Entry(now, OUTPUT, self._process, text)
        if mark:
            try:
                found = _decoder.decode(said)
            except (msgspec.DecodeError, UnicodeDecodeError):  # it got only partly into the pipe, as the next one says
                return
            self.lost += found.lost
            yield Entry(found.at, found.level, self._process, found.text)
