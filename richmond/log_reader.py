"""The log's files, read: the last lines of them and of those that were rotated away, and what is added from then on."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from richmond.log_files import class_file, rotated
from richmond.log_lines import INDENT, Entry, join, parse
from richmond.settings import RichmondSettings

BLOCK_BYTES = 64 << 10
SLACK_S = (
    60.0  # lines of a process that was stopped, or of a clock that was set back, may stand that far from their time
)
_SETTLE_S = 0.02  # for the rest of a record that is being written

Wanted = Callable[[Entry], bool]


def families(settings: RichmondSettings, name: str | None) -> list[Path]:
    """The files that may hold lines of the class `name` (None: of anybody), without the rotated ones."""
    assert settings.log is not None
    main = settings.log
    if name is not None:
        own = class_file(main, name)
        return [main, own] if own.exists() else [main]
    return [main, *sorted(main.parent.glob(class_file(main, "*").name))]


def generations(path: Path) -> list[Path]:
    """A file and those that it was, the newest first."""
    found = [path]
    place = path.resolve()
    while (older := rotated(place, len(found))).exists():
        found.append(older)
    return found


class Tail:
    """One file and its rotated ones: first `last`, then `more` as often as wanted. OSError if it cannot be read."""

    def __init__(self, path: Path, at_end: bool = True) -> None:
        """`at_end`: all that is there now is for `last`, not for `more`."""
        self._path = path
        self._fd = -1
        self._end = 0
        self._rest = b""
        with contextlib.suppress(FileNotFoundError):
            self._open(path)
            if at_end:
                self._end = _whole(self._fd)
                os.lseek(self._fd, self._end, os.SEEK_SET)

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def exists(self) -> bool:
        return self._fd >= 0

    def last(self, wanted: Wanted, count: int | None, since: float | None, word: str = "") -> list[Entry]:
        """At most `count` entries that are wanted, not before `since` (Unix seconds), the oldest first.

        `word` stands in every line that is wanted: most of the others then need no closer look.
        """
        found: list[Entry] = []
        if not self.exists:
            return found
        here = os.dup(self._fd)  # shares its position, which pread does not touch
        older = _after(self._identity(), generations(self._path))
        for fd, end in self._open_all(here, older):
            for record in _backwards(fd, end):
                if count is not None and len(found) >= count:
                    return found[::-1]
                entry = parse(record) if word in record else None
                if entry is None:
                    continue
                if since is not None and entry.at < since - SLACK_S:
                    return found[::-1]
                if (since is None or entry.at >= since) and wanted(entry):
                    found.append(entry)
        return found[::-1]

    def more(self) -> list[Entry]:
        """What has been added since; follows the file where it was rotated away."""
        data = self._read()
        if data:
            time.sleep(_SETTLE_S)
            data += self._read()
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [e for e in map(parse, join(line.decode("utf-8", "replace") for line in lines)) if e is not None]

    def _read(self) -> bytes:
        found = b""
        if self.exists:
            found = _read_on(self._fd)
            newer = _before(self._identity(), generations(self._path))
            if not newer:
                return found
            found += _read_on(self._fd)  # written between the two looks
        else:
            newer = [self._path]
        for path in reversed(newer):
            with contextlib.suppress(FileNotFoundError):
                self._open(path)
                found += _read_on(self._fd)
        return found

    def _open(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._close()
        self._fd = fd

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _identity(self) -> tuple[int, int]:
        found = os.fstat(self._fd)
        return found.st_dev, found.st_ino

    def _open_all(self, here: int, older: Sequence[Path]) -> Iterator[tuple[int, int]]:
        """Descriptors, each closed when the next one is asked for, with where to begin to read backwards."""
        try:
            yield here, self._end
        finally:
            os.close(here)
        for path in older:
            with contextlib.suppress(FileNotFoundError):
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    yield fd, os.fstat(fd).st_size
                finally:
                    os.close(fd)


def _index(identity: tuple[int, int], paths: Sequence[Path]) -> int | None:
    for index, path in enumerate(paths):
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            if (found.st_dev, found.st_ino) == identity:
                return index
    return None


def _after(identity: tuple[int, int], paths: Sequence[Path]) -> Sequence[Path]:
    """Those that are older than the one of this identity."""
    index = _index(identity, paths)
    return paths[1:] if index is None else paths[index + 1 :]


def _before(identity: tuple[int, int], paths: Sequence[Path]) -> Sequence[Path]:
    """Those that are newer. If it was removed, only the present one is."""
    index = _index(identity, paths)
    return paths[:1] if index is None else paths[:index]


def _whole(fd: int) -> int:
    """Where the last whole line ends."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _backwards(fd: int, end: int) -> Iterator[str]:
    """The records up to `end`, the last one first."""
    indented: list[str] = []
    for line in _lines_backwards(fd, end):
        if line.startswith(INDENT):
            indented.append(line)
        else:
            yield "\n".join([line, *reversed(indented)])
            indented = []


def _lines_backwards(fd: int, end: int) -> Iterator[str]:
    rest = b""
    while end > 0:
        start = max(0, end - BLOCK_BYTES)
        lines = (os.pread(fd, end - start, start) + rest).split(b"\n")
        rest = lines.pop(0)
        end = start
        yield from (line.decode("utf-8", "replace") for line in reversed(lines) if line)
    if rest:
        yield rest.decode("utf-8", "replace")


def _read_on(fd: int) -> bytes:
    found = b""
    while data := os.read(fd, 1 << 20):
        found += data
    return found
