"""What was read from the gateway while RabbitMQ was away, on disk until RabbitMQ has confirmed it: SQLite.

Torn writes, entries that are done out of order, the use of their space for the next, and the size limit all come with
SQLite. A plain file with an fsync a batch has none of that and is no faster for batches of ten, since the disk is what
takes the time. For a thousand it is, but 200,000 messages a second are more than a gateway sends (`bench/journal.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from richmond.database import Database

_LEAST_PAGES = 64  # a journal has to take at least what one read brings
_SMALL_PAGES = 256  # an empty file of no more is left as it is

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, exchange TEXT NOT NULL, routing_key TEXT NOT NULL,
    body BLOB NOT NULL, wall REAL NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message on its way to RabbitMQ. `wall`: Unix seconds, when it was read. `id`: the journal's, rising."""

    kind: str
    exchange: str
    routing_key: str
    body: bytes
    wall: float
    id: int = 0


class Journal:
    """In order; every call takes as long as the disk, for a batch some milliseconds.

    What `append` took survives kill -9 and a power failure. What is `done` may come once more after one.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        """`max_bytes`: on disk; some megabytes that wait to be merged into the file come on top."""
        self._max_bytes = max_bytes
        self._count = 0
        self._last = 0  # id
        self._undone: list[int] = []  # done, but the disk did not take it
        self._database = Database(
            path,
            _SCHEMA,
            durable=True,
            without="no SMS is read from the gateway while RabbitMQ is away",
            opened=self._load,
        )
        self._database.attempt(lambda db: None, None)

    def __len__(self) -> int:
        return self._count

    @property
    def last(self) -> int:
        """The id of the newest; those of one batch follow each other."""
        return self._last

    def append(self, batch: Sequence[Entry]) -> bool:
        """All of it, on the disk when this returns. False: nothing of it, the journal or the disk is full."""

        def insert(db: sqlite3.Connection) -> bool:
            rows = [(i, e.kind, e.exchange, e.routing_key, e.body, e.wall) for i, e in enumerate(batch, self._last + 1)]
            with db:
                db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", rows)
            return True

        if not self._database.attempt(insert, False):
            return False
        self._last += len(batch)
        self._count += len(batch)
        return True

    def peek(self, limit: int, after: int = 0) -> list[Entry]:
        """The oldest that are not done, of those with an id above `after`."""
        if self._undone:
            self.done(())
        rows: list[tuple[Any, ...]] = self._database.attempt(
            lambda db: db.execute(
                "SELECT kind, exchange, routing_key, body, wall, id FROM entry WHERE id > ? ORDER BY id LIMIT ?",
                (after, limit + len(self._undone)),
            ).fetchall(),
            [],
        )
        undone = set(self._undone)
        return [entry for row in rows if (entry := Entry(*row)).id not in undone][:limit]

    def done(self, ids: Iterable[int]) -> None:
        """RabbitMQ has them."""
        self._undone += ids
        if not self._undone:
            return

        def delete(db: sqlite3.Connection) -> int:
            db.execute("PRAGMA synchronous = normal")  # twice is better than waiting for the disk once more
            try:
                with db:
                    return db.executemany("DELETE FROM entry WHERE id = ?", [(id,) for id in self._undone]).rowcount
            finally:
                db.execute("PRAGMA synchronous = full")

        deleted = self._database.attempt(delete, -1)
        if deleted >= 0:
            self._undone.clear()
            self._count -= deleted
            if not self._count:
                self._database.attempt(_shrink, None)

    def oldest(self) -> float | None:
        """When the oldest was read, Unix seconds; None if there is none."""
        if not self._count:
            return None
        return self._database.attempt(_oldest, None)

    def close(self) -> None:
        self._database.close()

    def _load(self, db: sqlite3.Connection) -> None:
        (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
        db.execute(f"PRAGMA max_page_count = {max(_LEAST_PAGES, self._max_bytes // page_bytes)}").fetchall()
        self._count, last = db.execute("SELECT count(*), max(id) FROM entry").fetchone()
        self._last = max(self._last, last or 0)  # an id is not given twice while somebody may still know it


def _oldest(db: sqlite3.Connection) -> float | None:
    wall: float | None = db.execute("SELECT min(wall) FROM (SELECT wall FROM entry ORDER BY id LIMIT 1)").fetchone()[0]
    return wall


def _shrink(db: sqlite3.Connection) -> None:
    """Give the disk its space back."""
    if db.execute("PRAGMA page_count").fetchone()[0] > _SMALL_PAGES:
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(truncate)").fetchall()
