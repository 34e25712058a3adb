"""Which SMS were sent, so that the gateway's sequences and reports find them, and IMSI replies their look-up: SQLite.

Writes wait for `commit`, which the owner calls within a second of one: a kill -9 costs what was written since, that is,
reports of SMS sent in the last second are unmatched. Commits do not wait for the disk; a power failure may cost more of
the last ones. Look-ups are committed at once, for a sequence given twice would give an answer to the wrong one.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from richmond.database import Database

KEPT_S = 8 * 86400.0  # the gateway tries for a week
EXPIRED_AT_ONCE = 5000  # takes some 20 ms
_LIMIT = 1_000_000  # SMS, some 200 MB
_EVERY = 100  # SMS sent, after which the oldest beyond the limit are forgotten

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sent (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, part INTEGER NOT NULL, parts INTEGER NOT NULL, account TEXT NOT NULL,
    msisdn TEXT NOT NULL, report_to TEXT, wall REAL NOT NULL, sequence TEXT
);
CREATE INDEX IF NOT EXISTS sent_to ON sent (msisdn, account, sequence);
CREATE TABLE IF NOT EXISTS lookup (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, account TEXT NOT NULL, msisdn TEXT NOT NULL,
    report_to TEXT, wall REAL NOT NULL
);
"""
_SENT = "SELECT number, id, part, parts, account, msisdn, report_to, wall, sequence FROM sent"
_UNSEQUENCED = f"{_SENT} WHERE msisdn = ? AND account = ? AND sequence IS NULL ORDER BY number LIMIT ?"
_EXPIRE = (
    "DELETE FROM sent WHERE number IN (SELECT number FROM sent ORDER BY number LIMIT ?) AND wall < ?",
    "DELETE FROM lookup WHERE sequence IN (SELECT sequence FROM lookup ORDER BY sequence LIMIT ?) AND wall < ?",
)
_SEQUENCED = f"{_SENT} WHERE msisdn = ? AND account = ? AND sequence = ? ORDER BY number DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class Sent:
    """One part of an SMS, 1 of 1 if it was not split. `wall`: Unix seconds. `sequence`: the gateway's, once known."""

    id: str
    part: int
    parts: int
    account: str
    msisdn: str
    report_to: str | None
    wall: float
    sequence: str | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    id: str
    account: str
    msisdn: str
    report_to: str | None
    wall: float


class SmsStore:
    """Nothing here waits for the disk. One that is full costs what cannot be committed: its reports are unmatched."""

    def __init__(self, path: Path, limit: int = _LIMIT) -> None:
        """`limit`: so many SMS are remembered, and so many look-ups."""
        self._limit = limit
        self._database = Database(
            path,
            _SCHEMA,
            durable=False,
            without="reports of SMS sent now will not find their SMS, IMSI cannot be asked",
        )
        self._database.attempt(lambda db: None, None)

    @property
    def dirty(self) -> bool:
        """`commit` has something to do."""
        return self._database.dirty

    def commit(self) -> None:
        self._database.attempt(sqlite3.Connection.commit, None)

    def close(self) -> None:
        self._database.close()

    def sent(
        self, id: str, part: int, parts: int, account: str, msisdn: str, report_to: str | None, wall: float
    ) -> None:
        """It went to the gateway."""

        def insert(db: sqlite3.Connection) -> None:
            number = db.execute(
                "INSERT INTO sent (id, part, parts, account, msisdn, report_to, wall) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (id, part, parts, account, msisdn, report_to, wall),
            ).lastrowid
            assert number is not None
            if number % _EVERY == 0:
                db.execute("DELETE FROM sent WHERE number <= ?", (number - self._limit,))

        self._database.attempt(insert, None)

    def sequence(self, account: str, msisdn: str, sequence: str) -> Sent | None:
        """The gateway has given a sequence: to the oldest SMS to that number that has none yet.

        Not every SMS gets one, and it does not say which did: the one that got this may be a later one.
        """
        return self._database.attempt(lambda db: _sequence(db, account, msisdn, sequence), None)

    def report(self, account: str, msisdn: str, sequence: str) -> Sent | None:
        """The SMS that a report is about: that with the sequence, else the only one to that number without one."""
        return self._database.attempt(lambda db: _report(db, account, msisdn, sequence), None)

    def looked_up(self, lookup_id: str, account: str, msisdn: str, report_to: str | None, wall: float) -> str | None:
        """The sequence to ask with, never given before. None: it cannot be remembered, so do not ask."""

        def insert(db: sqlite3.Connection) -> str:
            with db:
                sequence = db.execute(
                    "INSERT INTO lookup (id, account, msisdn, report_to, wall) VALUES (?, ?, ?, ?, ?)",
                    (lookup_id, account, msisdn, report_to, wall),
                ).lastrowid
                assert sequence is not None
                db.execute("DELETE FROM lookup WHERE sequence <= ?", (sequence - self._limit,))
            return str(sequence)

        return self._database.attempt(insert, None)

    def imsi(self, sequence: str) -> Lookup | None:
        """What a reply answers."""
        row = self._database.attempt(
            lambda db: db.execute(
                "SELECT id, account, msisdn, report_to, wall FROM lookup WHERE sequence = ?", (sequence,)
            ).fetchone(),
            None,
        )
        return row and Lookup(*row)

    def expire(self, wall: float) -> int:
        """Forget what is older than KEPT_S, of the oldest EXPIRED_AT_ONCE; how many those were."""
        return self._database.attempt(
            lambda db: sum(db.execute(sql, (EXPIRED_AT_ONCE, wall - KEPT_S)).rowcount for sql in _EXPIRE), 0
        )


def _sequence(db: sqlite3.Connection, account: str, msisdn: str, sequence: str) -> Sent | None:
    rows = db.execute(_UNSEQUENCED, (msisdn, account, 1)).fetchall()
    return _assign(db, rows[0], sequence) if rows else _known(db, account, msisdn, sequence)


def _report(db: sqlite3.Connection, account: str, msisdn: str, sequence: str) -> Sent | None:
    if sequence and (known := _known(db, account, msisdn, sequence)) is not None:
        return known
    rows = db.execute(_UNSEQUENCED, (msisdn, account, 2)).fetchall()
    return _assign(db, rows[0], sequence) if len(rows) == 1 else None


def _known(db: sqlite3.Connection, account: str, msisdn: str, sequence: str) -> Sent | None:
    row = db.execute(_SEQUENCED, (msisdn, account, sequence)).fetchone()
    return row and Sent(*row[1:])


def _assign(db: sqlite3.Connection, row: tuple[Any, ...], sequence: str) -> Sent:
    db.execute("UPDATE sent SET sequence = ? WHERE number = ?", (sequence, row[0]))
    return Sent(*(*row[1:-1], sequence))
