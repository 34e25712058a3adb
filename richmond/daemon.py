"""`richmond start --daemon`: into the background, for those without systemd.

The operator's command forks before there is a thread or a hub. The child leaves the terminal's session, goes on as the
master, and keeps the terminal until it is up, so that whatever is wrong before that is said there. The parent returns
when the child is up, or has ended, or takes too long.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from richmond.log_files import LogFiles
from richmond.log_lines import OUTPUT, Entry

PATIENCE_S = 120.0  # RabbitMQ may be away; an init script must come to an end
TELL_S = 5.0


class Background:
    """What is left to be done once the master is up."""

    def __init__(self, up: int) -> None:
        self._up = up

    def leave_terminal(self, logs: LogFiles, log: Path) -> None:
        """Print into the log from now on, and let the parent return."""
        os.chdir("/")
        # What C code prints. It stays in this file if that is rotated; what Python prints does not.
        with contextlib.suppress(OSError):
            fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o640)
            for number in (1, 2):
                os.dup2(fd, number)
            os.close(fd)
        sys.stdout, sys.stderr = _Lines(logs), _Lines(logs)
        os.write(self._up, b".")
        os.close(self._up)


class _Lines(io.TextIOBase):
    """A stream whose lines go into the log."""

    def __init__(self, logs: LogFiles) -> None:
        self._logs = logs
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._logs.put(Entry(time.time(), OUTPUT, "master", line))
        return len(text)


def detach(trouble: Callable[[], str]) -> Background:
    """Returns in the child only. `trouble`: asked by the parent what is still missing."""
    read, write = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(write)
        _wait(child, read, trouble)
    os.close(read)
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return Background(write)


def _wait(child: int, up: int, trouble: Callable[[], str]) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM):  # the child has left the terminal: Ctrl-C is for us alone
        signal.signal(number, lambda *_: os.kill(child, signal.SIGTERM))
    ends = time.monotonic() + PATIENCE_S
    told = ""
    while not select.select([up], [], [], TELL_S)[0]:
        missing = trouble()
        if time.monotonic() > ends:
            print(f"richmond: not up after {PATIENCE_S:g} s; it goes on trying: see richmond status", file=sys.stderr)  # noqa: T201
            os._exit(1)
        if missing != told:
            told = missing
            print(missing, file=sys.stderr, flush=True)  # noqa: T201
    if os.read(up, 1):
        os._exit(0)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) or 1)
