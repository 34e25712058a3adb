"""A SQLite file of the installation which may be damaged, unwritable or on a full disk at any time: its user goes on.

A damaged file is put aside under another name, for whoever wants to look into it, and an empty one takes its place.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY_S = 0.1  # we are the only writer; an operator's shell may hold a lock for a moment
_BURST_S = 60.0  # without it, after which the same error is worth a line in the log again


class Database:
    """One connection; one caller at a time, from whichever thread or greenlet."""

    def __init__(
        self,
        path: Path,
        schema: str,
        *,
        durable: bool,
        without: str,
        opened: Callable[[sqlite3.Connection], object] = lambda db: None,
    ) -> None:
        """`durable`: what is committed outlives the machine, at an fsync a commit; else only the process.

        `without`: what it means when the file cannot be used, for the log. `opened`: called with each new connection.
        """
        self._path = path
        self._schema = schema
        self._synchronous = "full" if durable else "normal"
        self._without = without
        self._opened = opened
        self._db: sqlite3.Connection | None = None
        self._error = ""
        self._failed = 0.0

    @property
    def dirty(self) -> bool:
        """Something is not committed yet."""
        return self._db is not None and self._db.in_transaction

    def attempt(self, work: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """What `work` returns, or `otherwise` if the file does not allow it, which is logged."""
        try:
            try:
                return work(self._db or self._open())
            except sqlite3.DatabaseError as e:
                if not _is_damage(e):
                    raise
                self._put_aside(e)
                return work(self._open())
        except (sqlite3.Error, OSError) as e:
            self._fail(e)
            return otherwise

    def close(self) -> None:
        """Commits."""
        if self._db is not None:
            self.attempt(sqlite3.Connection.commit, None)
        self._drop()

    def _open(self) -> sqlite3.Connection:
        self._path.touch(mode=0o600)
        db = sqlite3.connect(self._path, isolation_level="DEFERRED", check_same_thread=False, timeout=_BUSY_S)
        self._db = db
        try:
            db.execute("PRAGMA journal_mode = wal").fetchall()
            db.execute(f"PRAGMA synchronous = {self._synchronous}")
            db.executescript(self._schema)
            self._opened(db)
        except BaseException:
            self._drop()
            raise
        return db

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        self._drop()
        aside = self._path.with_name(f"{self._path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
        for suffix in ("", "-wal", "-shm"):
            file = self._path.with_name(self._path.name + suffix)
            if file.exists():
                file.rename(f"{aside}{suffix}")
        _log.error("%s is damaged (%s): it was put aside as %s, and an empty one begun", self._path, error, aside.name)

    def _fail(self, error: Exception) -> None:
        now = time.monotonic()
        if str(error) != self._error or now - self._failed > _BURST_S:
            _log.error("%s: %s; %s", self._path, error, self._without)
        self._error, self._failed = str(error), now

    def _drop(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    # an extended code has its primary one in the lowest byte; our own mistakes in SQL have one that is neither
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
