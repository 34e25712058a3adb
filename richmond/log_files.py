"""The log's files: appended to, rotated and opened anew by a thread of its own, so that no disk is ever waited for.

Whoever has something to say puts it into a queue and goes on. A file that cannot be written (disk full, directory
gone) costs lines, and one that hangs costs the oldest that wait: they are counted (`dropped`), and the file says how
many there were as soon as it can.

The thread is the system's, also where gevent has patched threads: a greenlet that waits for a disk would stop them all.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import stat
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from richmond.log_lines import Entry, to_json, to_text
from richmond.settings import RichmondSettings

QUEUE_BYTES = 4 << 20  # of lines that wait for the disk: some 40,000
BATCH_BYTES = 256 << 10  # written at once
LAST_WORDS_S = 1.0  # a process that ends waits no longer for the disk
_TOO_FAST = "they came faster than they could be written"


class LogFile:
    """One file, or standard error. Nothing but `open` raises; not for several threads.

    `note` makes a record of what the file itself has to say. `patient`: standard error may be waited for.
    """

    def __init__(
        self,
        path: Path | None,
        note: Callable[[str], bytes],
        *,
        max_bytes: int = 0,
        backups: int = 0,
        patient: bool = True,
    ) -> None:
        self.path = path
        self.lost = 0  # records, since it last worked
        self.why = ""
        self._note = note
        self._limit = self._max_bytes = max_bytes  # 0: it is never rotated by us
        self._backups = backups
        self._patient = patient
        self._fd = -1
        self._owned = False
        self._identity = (0, 0)
        self._cut = False  # the last record got only partly out

    def open(self) -> None:
        """Open it, or open it anew. OSError if that cannot be; then what was open is still used."""
        if self.path is None:
            fd, owned = (2, False) if self._patient else _open_stderr()
        else:
            fd, owned = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640), True
        self.close()
        self._fd, self._owned = fd, owned
        self._identity = _identity(os.fstat(fd))

    def close(self) -> None:
        if self._owned:
            self._owned = False
            os.close(self._fd)
        self._fd = -1

    def isatty(self) -> bool:
        return self._fd >= 0 and os.isatty(self._fd)

    def append(self, records: Sequence[bytes]) -> int:
        """Write them with one system call, so that processes that share a file do not mix theirs.

        Returns how many of them are lost.
        """
        try:
            self._follow(sum(map(len, records)))
            head = b"\n" if self._cut else b""
            if self.lost:
                head += self._note(f"{self.lost} log lines are lost: {self.why}")
            data = head + b"".join(records)
            written = os.write(self._fd, data)
        except OSError as e:
            lost, self.why = len(records), e.strerror or str(e)
        else:
            if written == len(data):
                self.lost, self._cut = 0, False
                return 0
            ends = itertools.accumulate(map(len, records), initial=len(head))
            lost = len(records) - sum(end <= written for end in itertools.islice(ends, 1, None))
            if written >= len(head):
                self.lost = 0
            self._cut = written > 0 or self._cut
            self.why = "the file takes no more"
        self.lost += lost
        return lost

    def _follow(self, more: int) -> None:
        """Have the right file open: the one that has the name now, and with room for `more` bytes."""
        if self.path is None:
            if self._fd < 0:
                self.open()
            return
        try:
            found = self.path.stat()
        except FileNotFoundError:
            found = None
        if found is None or self._fd < 0 or _identity(found) != self._identity:
            self._cut = False
            self.open()
            found = os.fstat(self._fd)
        if self._limit and found.st_size + more > self._limit and found.st_size and stat.S_ISREG(found.st_mode):
            self._rotate(found.st_size)

    def _rotate(self, size: int) -> None:
        assert self.path is not None
        place = self.path.resolve()
        try:
            for number in range(self._backups - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    rotated(place, number).replace(rotated(place, number + 1))
            if self._backups:
                place.replace(rotated(place, 1))
            else:
                place.unlink()
            self._limit = self._max_bytes
        except OSError as e:
            self._limit = size + self._max_bytes  # it grows on meanwhile
            with contextlib.suppress(OSError):
                os.write(self._fd, self._note(f"{place} cannot be rotated: {e.strerror}"))
            return
        self.open()


class LogFiles:
    """All files of an installation. `put` never waits and never raises; `dropped` counts what became of nothing."""

    def __init__(self, settings: RichmondSettings) -> None:
        """OSError if the main file cannot be opened now."""
        self.dropped = 0
        self._settings = settings
        self._colour = False
        self._files: dict[str, LogFile] = {}  # by worker class, the main one ""; the thread's
        self._lock = _original("allocate_lock")()  # for a few lines that never wait, and so for greenlets too
        self._queue: deque[tuple[str, bytes]] = deque()
        self._queued_bytes = 0
        self._overflown: Counter[str] = Counter()  # by file, since the thread last looked
        self._awake = False
        self._reopen = False
        self._closing = False
        self._try(settings)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._done = _original("allocate_lock")()
        self._done.acquire()
        _original("start_new_thread")(self._run, ())
        atexit.register(self.close)

    def configure(self, settings: RichmondSettings) -> None:
        """From now on, as these say. OSError if another main file cannot be opened: then nothing has changed."""
        if settings.log != self._settings.log:
            self._try(settings)
        self._settings = settings

    def put(self, entry: Entry) -> None:
        slot = entry.slot if self._settings.log_files == "per-class" else None
        name, data = slot[0] if slot else "", self._render(entry)
        with self._lock:
            self._queue.append((name, data))
            self._queued_bytes += len(data)
            while self._queued_bytes > QUEUE_BYTES and len(self._queue) > 1:
                self._overflow(*self._queue.popleft())
            asleep, self._awake = not self._awake, True
        if asleep:
            self._ring()

    def reopen(self) -> None:
        """As after a rotation by somebody else, who need not tell: a file that has been moved is noticed."""
        self._reopen = True
        self._ring()

    def lose(self, count: int) -> None:
        """Count what somebody else could not hand over."""
        with self._lock:
            self.dropped += count

    def close(self, timeout_s: float = LAST_WORDS_S) -> None:
        """Write what waits, unless that takes too long. What is said later is lost."""
        if self._closing:
            return
        self._closing = True
        atexit.unregister(self.close)
        self._ring()
        if self._done.acquire(timeout=timeout_s):
            os.close(self._wake)

    def _try(self, settings: RichmondSettings) -> None:
        main = self._make("", settings)
        main.open()
        self._colour = settings.log is None and main.isatty() and not os.getenv("NO_COLOR")
        main.close()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # closed
            os.eventfd_write(self._wake, 1)

    def _overflow(self, name: str, data: bytes) -> None:
        self._queued_bytes -= len(data)
        self._overflown[name] += 1
        self.dropped += 1

    # The thread.

    def _run(self) -> None:
        settings = self._settings
        while True:
            os.eventfd_read(self._wake)
            while True:
                if settings is not self._settings:
                    settings = self._settings
                    self._renew(settings)
                if self._reopen:
                    self._reopen = False
                    for file in self._files.values():
                        with contextlib.suppress(OSError):
                            file.open()
                batch = self._take(settings)
                if not batch:
                    break
                for name, records in itertools.groupby(batch, lambda pair: pair[0]):
                    self._append(name, [data for _, data in records], settings)
            if self._closing:
                for file in self._files.values():
                    file.close()
                self._done.release()
                return

    def _take(self, settings: RichmondSettings) -> list[tuple[str, bytes]]:
        room = min(BATCH_BYTES, settings.log_max_bytes or BATCH_BYTES)
        batch: list[tuple[str, bytes]] = []
        with self._lock:
            while self._queue and (not batch or len(self._queue[0][1]) <= room):
                name, data = self._queue.popleft()
                self._queued_bytes -= len(data)
                room -= len(data)
                batch.append((name, data))
            self._awake = bool(batch)
        return batch

    def _append(self, name: str, records: Sequence[bytes], settings: RichmondSettings) -> None:
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = self._make(name, settings)
        with self._lock:
            overflown = self._overflown.pop(name, 0)
        if overflown:
            file.lost, file.why = file.lost + overflown, file.why or _TOO_FAST
        lost = file.append(records)
        if lost:
            self.lose(lost)

    def _renew(self, settings: RichmondSettings) -> None:
        old, self._files = self._files, {}
        for name, before in old.items():
            before.close()
            if before.lost:
                file = self._files[name] = self._make(name, settings)
                file.lost, file.why = before.lost, before.why

    def _make(self, name: str, settings: RichmondSettings) -> LogFile:
        path = settings.log
        if path is not None and name:
            path = class_file(path, name)
        return LogFile(path, self._note, max_bytes=settings.log_max_bytes, backups=settings.log_backups)

    def _note(self, text: str) -> bytes:
        return self._render(Entry(time.time(), "WARNING", "master", text))

    def _render(self, entry: Entry) -> bytes:
        return _rendered(entry, self._settings.log_format == "json", self._colour)


class Direct:
    """One file without a thread, for a process that has nothing else to do: the programs that run alone."""

    def __init__(self, path: Path | None, process: str, as_json: bool = False) -> None:
        """OSError if it cannot be opened now."""
        self.dropped = 0
        self._process = process
        self._as_json = as_json
        self._colour = False
        self._file = LogFile(path, self._note, patient=False)
        self._file.open()
        self._colour = self._file.isatty() and not os.getenv("NO_COLOR")

    def put(self, entry: Entry) -> None:
        self.dropped += self._file.append([self._render(entry)])

    def reopen(self) -> None:
        with contextlib.suppress(OSError):
            self._file.open()

    def lose(self, count: int) -> None:
        self.dropped += count

    def close(self) -> None:
        self._file.close()

    def _note(self, text: str) -> bytes:
        return self._render(Entry(time.time(), "WARNING", self._process, text))

    def _render(self, entry: Entry) -> bytes:
        return _rendered(entry, self._as_json, self._colour)


def rotated(file: Path, number: int) -> Path:
    """The more, the older."""
    return file.with_name(f"{file.name}.{number}")


def class_file(log: Path, name: str) -> Path:
    """var/richmond.log -> var/richmond.EchoWorker.log"""
    return log.with_name(f"{log.stem}.{name}{log.suffix}")


def file_of(settings: RichmondSettings, name: str) -> Path | None:
    """Where the lines of a worker class go; None: to standard error."""
    if settings.log is None or settings.log_files == "one":
        return settings.log
    return class_file(settings.log, name)


def _rendered(entry: Entry, as_json: bool, colour: bool) -> bytes:
    return (to_json(entry) if as_json else to_text(entry, colour)).encode("utf-8", "backslashreplace")


def _original(name: str) -> Any:
    """Of the module `_thread`, whatever gevent has made of it."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original("_thread", name)
    import _thread

    return getattr(_thread, name)


def _open_stderr() -> tuple[int, bool]:
    """Standard error through a file description of our own, so that it can be non-blocking for us alone.

    Sockets (systemd's journal) and another user's terminal cannot be opened that way: then it is plain descriptor 2.
    """
    try:
        return os.open("/proc/self/fd/2", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), True
    except OSError:
        return 2, False


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
