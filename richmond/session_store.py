"""The open sessions on disk, so that they outlive the master: SQLite in the installation's own directory.

Survives a kill of the process, not of the machine: nothing waits for the disk (`synchronous = off`), since a USSD
session is over long before a machine is up again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from richmond.ssmi.sessions import Pages, Saved

log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Pages).decode

_SCHEMA = """
CREATE TABLE IF NOT EXISTS open_session (
    account TEXT NOT NULL, msisdn TEXT NOT NULL, token TEXT NOT NULL, code TEXT, touched REAL NOT NULL,
    pages BLOB, PRIMARY KEY (account, msisdn)
) WITHOUT ROWID
"""


class SessionStore:
    """A file that cannot be used is said once and then done without: sessions then end with the master."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        try:
            self._db = self._open()
        except (sqlite3.Error, OSError) as e:
            self._give_up(e)

    def load(self, account: str) -> list[Saved]:
        """What was open there, the longest idle first."""
        if self._db is None:
            return []
        try:
            rows = self._db.execute(
                "SELECT msisdn, token, code, touched, pages FROM open_session WHERE account = ? ORDER BY touched",
                (account,),
            ).fetchall()
            return [
                Saved(msisdn, token, code, touched, pages and _decode(pages))
                for msisdn, token, code, touched, pages in rows
            ]
        except (sqlite3.DatabaseError, msgspec.DecodeError) as e:
            self._give_up(e)
            return []

    def save(self, account: str, opened: Iterable[Saved], closed: Iterable[str]) -> None:
        """Write what has changed, in one transaction."""
        if self._db is None:
            return
        try:
            with self._db:
                self._db.executemany(
                    "DELETE FROM open_session WHERE account = ? AND msisdn = ?",
                    [(account, msisdn) for msisdn in closed],
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO open_session VALUES (?, ?, ?, ?, ?, ?)",
                    [(account, s.msisdn, s.token, s.code, s.touched, s.pages and _encode(s.pages)) for s in opened],
                )
        except sqlite3.Error as e:
            self._give_up(e)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _open(self) -> sqlite3.Connection:
        self._path.touch(mode=0o600)
        try:
            return _connect(self._path)
        except sqlite3.DatabaseError as e:
            log.warning("%s is damaged (%s): starting an empty one, its sessions are forgotten", self._path, e)
            self._path.unlink()
            self._path.touch(mode=0o600)
            return _connect(self._path)

    def _give_up(self, error: Exception) -> None:
        log.error("%s: %s; sessions will not outlive this process", self._path, error)
        self.close()


def _connect(path: Path) -> sqlite3.Connection:
    # one caller at a time, from whichever thread or greenlet
    db = sqlite3.connect(path, isolation_level="DEFERRED", check_same_thread=False, timeout=1.0)
    db.execute("PRAGMA journal_mode = memory")
    db.execute("PRAGMA synchronous = off")
    db.execute(_SCHEMA)
    db.commit()
    return db
