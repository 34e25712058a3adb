"""Who has asked for no more SMS from an account: in memory, and on disk before the question is answered."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from richmond.database import Database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS out (
    account TEXT NOT NULL, msisdn TEXT NOT NULL, PRIMARY KEY (account, msisdn)
) WITHOUT ROWID
"""
_AROUND = " \t\n\r.,!?'\"“”‘’"  # noqa: RUF001 - what telephones put there

Key = tuple[str, str]  # account and msisdn


class OptOut:
    """Without a usable file it goes on in memory, and writes what it heard once there is one."""

    def __init__(self, path: Path) -> None:
        self._out: set[Key] = set()
        self._unwritten: dict[Key, bool] = {}  # True: out
        self._database = Database(
            path, _SCHEMA, durable=True, without="opt-outs are not kept over the end of this process", opened=self._load
        )
        self._database.attempt(lambda db: None, None)

    def __len__(self) -> int:
        return len(self._out)

    def hear(
        self, account: str, msisdn: str, text: str, stop_words: Collection[str], start_words: Collection[str]
    ) -> Literal["out", "in"] | None:
        """What an SMS from a subscriber asks for, if it is one of the words and nothing else; and remember it.

        Neither case, space nor punctuation around it matter. Said as often as it comes.
        """
        said = _normal(text)
        out = said in map(_normal, stop_words)
        if not said or not (out or said in map(_normal, start_words)):
            return None
        self._set((account, msisdn), out)
        self._unwritten[account, msisdn] = out
        self._database.attempt(self._write, None)
        return "out" if out else "in"

    def is_out(self, account: str, msisdn: str) -> bool:
        return (account, msisdn) in self._out

    def close(self) -> None:
        if self._unwritten:
            self._database.attempt(self._write, None)
        self._database.close()

    def _set(self, key: Key, out: bool) -> None:
        if out:
            self._out.add(key)
        else:
            self._out.discard(key)

    def _load(self, db: sqlite3.Connection) -> None:
        """Also where the file was put aside under us, or could not be opened before: it gets what we know."""
        stored = set(db.execute("SELECT account, msisdn FROM out"))
        self._unwritten = dict.fromkeys(self._out - stored, True) | self._unwritten
        self._out |= stored
        for key, out in self._unwritten.items():
            self._set(key, out)

    def _write(self, db: sqlite3.Connection) -> None:
        with db:
            db.executemany("INSERT OR IGNORE INTO out VALUES (?, ?)", [k for k, out in self._unwritten.items() if out])
            db.executemany(
                "DELETE FROM out WHERE account = ? AND msisdn = ?", [k for k, out in self._unwritten.items() if not out]
            )
        self._unwritten = {}


def _normal(text: str) -> str:
    return " ".join(text.strip(_AROUND).casefold().split())
