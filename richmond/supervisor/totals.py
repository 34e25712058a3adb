"""What was counted so far, on disk, so that it outlives the master: one small JSON file, replaced as a whole."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)


class Totals(msgspec.Struct, frozen=True):
    """Counters by name: the broker's, and those of each class."""

    broker: dict[str, int] = {}
    classes: dict[str, dict[str, int]] = {}


class TotalsFile:
    """A file that cannot be used is said once and done without: the counters then begin with this master."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved = Totals()
        self._failed = False

    def load(self) -> Totals:
        try:
            self._saved = msgspec.json.decode(self._path.read_bytes(), type=Totals)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as e:
            log.warning("%s: %s; counters begin at 0", self._path, e)
        return self._saved

    def save(self, totals: Totals) -> None:
        """If anything has changed."""
        if totals == self._saved:
            return
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            new.write_bytes(msgspec.json.encode(totals))
            new.replace(self._path)
        except OSError as e:
            if not self._failed:
                log.error("%s: %s; counters are not kept over the end of this process", self._path, e.strerror)
            self._failed = True
            return
        self._saved = totals
        self._failed = False
