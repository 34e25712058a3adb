"""Logging: one line a record, never in the way of the service.

Everything else calls `logging.getLogger(__name__)`; site code may call `msg` and `err`, as it did in 2010 when they
were Twisted's. Where the lines go is a sink's business: files (`log_files`), or in a worker the pipe to the master
(`log_pipe`). A line that cannot be written (disk full, directory gone, nobody reads the pipe) is counted, not raised
and not waited for: `dropped()`.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from pathlib import Path
from typing import Any, Protocol

from richmond import log_pipe
from richmond.log_files import Direct
from richmond.log_lines import Entry

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_site = logging.getLogger("richmond.site")
_handler: _Handler | None = None
_messages = False


class Sink(Protocol):
    """Where entries go. Nothing of it raises or waits."""

    dropped: int

    def put(self, entry: Entry) -> None: ...

    def lose(self, count: int) -> None:
        """Count lines that never got so far."""

    def reopen(self) -> None: ...

    def close(self) -> None: ...


def setup(to: Sink | Path | None, level: str, messages: bool, process: str = "master") -> None:
    """Send all records to a sink, or to a file or standard error (None), without a thread; may be called again.

    `messages`: whole numbers and texts of subscribers. `process`: who logs, as the lines show it. OSError if the file
    cannot be opened now; once open, nothing raises any more.
    """
    global _handler, _messages
    new = _Handler(Direct(to, process) if to is None or isinstance(to, Path) else to, process)
    root = logging.getLogger()
    if _handler is not None:
        root.removeHandler(_handler)
        if _handler.sink is not new.sink:
            new.sink.dropped += _handler.sink.dropped
            _handler.sink.close()
    root.addHandler(new)
    root.setLevel(logging.WARNING)  # of libraries; ours is below
    logging.getLogger("richmond").setLevel(LEVELS[level])
    _handler, _messages = new, messages


def reopen() -> None:
    """Open the files anew, as after a rotation. Does nothing for standard error."""
    if _handler is not None:
        _handler.sink.reopen()


def go_on_in(path: Path | None, as_json: bool) -> None:
    """The master that read what this worker says has died: what there is still to say goes into the file itself."""
    if _handler is not None and path is not None:
        with contextlib.suppress(OSError):
            log_pipe.redirect(path)
            _handler.sink = Direct(path, _handler.process, as_json)


def close() -> None:
    """Write what waits. What is said later is lost."""
    if _handler is not None:
        _handler.sink.close()


def dropped() -> int:
    """How many lines could not be written: of this process, and of those whose lines it writes."""
    return _handler.sink.dropped if _handler is not None else 0


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


def conceal_traceback(error: BaseException, msisdn: object, message: object) -> str:
    """Frames show code, but what the exception says may quote the subscriber."""
    return "".join(
        part if part.startswith('  File "') else conceal(part, msisdn, message)
        for part in traceback.format_exception(error)
    ).rstrip()


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


class _Handler(logging.Handler):
    def __init__(self, sink: Sink, process: str) -> None:
        super().__init__()
        self.sink = sink
        self.process = process
        self.setFormatter(logging.Formatter())  # for tracebacks

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if record.exc_info and self.formatter is not None:
                text = f"{text}\n{self.formatter.formatException(record.exc_info)}"
            if record.stack_info:
                text = f"{text}\n{record.stack_info}"
            self.sink.put(Entry(record.created, record.levelname, self.process, text))
        except Exception:  # meant: no logging call may ever raise, not even for a broken __str__
            self.sink.lose(1)


__all__ = ["conceal", "dropped", "err", "mask", "msg", "reopen", "setup", "text"]
