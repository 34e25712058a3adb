"""Logging: one line a record, to a file or to standard error, never in the way of the service.

Everything else calls `logging.getLogger(__name__)`; site code may call `msg` and `err`, as it did in 2010 when they
were Twisted's. A line that cannot be written (disk full, directory gone, nobody reads the pipe) is counted, not
raised and not waited for: `dropped()`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31m"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_site = logging.getLogger("richmond.site")
_handler: _Handler | None = None
_messages = False


def setup(path: Path | None, level: str, messages: bool, process: str = "master") -> None:
    """Send all records to `path` (None: standard error); may be called again, and in a forked child.

    `messages`: whole numbers and texts of subscribers. `process`: who logs, as the lines show it. OSError if the file
    cannot be opened now; once open, nothing raises any more.
    """
    global _handler, _messages
    new = _Handler(path, process)
    root = logging.getLogger()
    if _handler is not None:
        new.dropped = _handler.dropped
        root.removeHandler(_handler)
        _handler.close()
    root.addHandler(new)
    root.setLevel(logging.WARNING)  # of libraries; ours is below
    logging.getLogger("richmond").setLevel(LEVELS[level])
    _handler, _messages = new, messages


def reopen() -> None:
    """Open the file anew, as after a rotation. Does nothing for standard error."""
    if _handler is not None:
        _handler.reopen()


def dropped() -> int:
    """How many records of this process could not be written."""
    return _handler.dropped if _handler is not None else 0


def mask(msisdn: str) -> str:
    """A number as the log may show it: 2783•••2222."""
    if _messages:
        return msisdn
    keep = 4 if len(msisdn) >= 10 else 2 if len(msisdn) >= 6 else 0
    return f"{msisdn[:keep]}•••{msisdn[len(msisdn) - keep :]}"


def text(message: str) -> str:
    """A subscriber's or a worker's text as the log may show it: its length."""
    if _messages:
        return message
    return f"({len(message)} character{'' if len(message) == 1 else 's'})"


def conceal(line: str, msisdn: object, message: object) -> str:
    """What may quote a subscriber, as an exception does, with `mask` and `text` instead.

    A message of up to three characters stays: a menu's "1" is everywhere and tells nothing.
    """
    if _messages:
        return line
    if isinstance(message, str) and len(message) > 3:
        for quoted in (message, repr(message)[1:-1]):
            line = line.replace(quoted, text(message))
    if isinstance(msisdn, str) and len(msisdn) > 3:
        line = line.replace(msisdn, mask(msisdn))
    return line


def msg(*message: object, **kw: Any) -> None:
    """Log at INFO (or `logLevel`), the arguments joined by spaces, or `format % kw`. As Twisted's `log.msg`."""
    line = kw["format"] % kw if "format" in kw else " ".join(map(str, message))
    level = kw.get("logLevel", logging.INFO)
    _site.log(level, "%s", line)


def err(failure: object = None, why: str | None = None, **kw: Any) -> None:
    """Log at ERROR an exception with its traceback (None: the one being handled). As Twisted's `log.err`."""
    error: object = sys.exc_info()[1] if failure is None else failure
    if isinstance(error, BaseException):
        _site.error("%s", why or "Unhandled error", exc_info=error)
    else:
        _site.error("%s", ": ".join(str(part) for part in (why, error) if part is not None) or "Unhandled error")


class _Formatter(logging.Formatter):
    """`2026-01-31 12:00:00.000 INFO    EchoWorker:0  text`; what follows on further lines is indented.

    So a text from outside can neither forge a record nor drive the terminal.
    """

    def __init__(self, process: str, colour: bool) -> None:
        super().__init__()
        self._process = process
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        body = record.getMessage()
        if record.exc_info:
            body = f"{body}\n{self.formatException(record.exc_info)}"
        if record.stack_info:
            body = f"{body}\n{record.stack_info}"
        body = _CONTROL.sub(lambda c: f"\\x{ord(c[0]):02x}", body).replace("\n", "\n    ")
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        level = f"{record.levelname:<7}"
        if self._colour and record.levelno in _COLOURS:
            level = f"{_COLOURS[record.levelno]}{level}\x1b[0m"
        return f"{when}.{int(record.msecs):03d} {level} {self._process}  {body}\n"


class _Handler(logging.Handler):
    """Writes whole lines with one system call, so processes that share a file do not mix theirs."""

    def __init__(self, path: Path | None, process: str) -> None:
        super().__init__()
        self._path = path
        self.dropped = 0
        self._cut = False  # the last line got only partly out
        self._fd, self._owned = _open_stderr() if path is None else (_open(path), True)
        self._identity = _identity(os.fstat(self._fd))
        colour = os.isatty(self._fd) and not os.getenv("NO_COLOR")
        self.setFormatter(_Formatter(process, colour))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "backslashreplace")
            self._follow_rotation()
            if self._cut:
                line = b"\n" + line
            written = os.write(self._fd, line)
            self._cut = written < len(line)
            self.dropped += self._cut
        except Exception:  # meant: no logging call may ever raise, be it a full disk or a broken __str__
            self.dropped += 1

    def handleError(self, record: logging.LogRecord) -> None:
        self.dropped += 1

    def reopen(self) -> None:
        """Keep the open file if a new one cannot be had: better there than nowhere."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            fd = _open(self._path)
            self.acquire()
            try:
                old, self._fd = self._fd, fd
                self._identity = _identity(os.fstat(fd))
            finally:
                self.release()
            os.close(old)

    def close(self) -> None:
        super().close()
        if self._owned:
            self._owned = False
            os.close(self._fd)

    def _follow_rotation(self) -> None:
        if self._path is None:
            return
        try:
            current = _identity(self._path.stat())
        except FileNotFoundError:
            current = None
        if current == self._identity:
            return
        fd = _open(self._path)  # OSError: the record counts as dropped, the next one tries again
        os.close(self._fd)
        self._fd = fd
        self._identity = _identity(os.fstat(fd))


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _open_stderr() -> tuple[int, bool]:
    """Standard error through a file description of our own, so that it can be non-blocking for us alone.

    Sockets (systemd's journal) and another user's terminal cannot be opened that way: then it is plain descriptor 2.
    """
    try:
        return os.open("/proc/self/fd/2", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), True
    except OSError:
        return 2, False


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


__all__ = ["conceal", "dropped", "err", "mask", "msg", "reopen", "setup", "text"]
