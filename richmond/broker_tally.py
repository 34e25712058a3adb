"""The broker's counters, and the log line that the first of a burst is worth. What they mean stands in `broker`."""

from __future__ import annotations

import logging
import re
from collections import Counter

from richmond import log
from richmond.ssmi.codec import HEADER

_log = logging.getLogger(__name__)

_NUMBER = re.compile(r"\d{6,}")
_BURST_S = 5.0  # of quiet, after which the same is worth a line in the log again


class Tally(Counter[str]):
    def __init__(self) -> None:
        super().__init__()
        self._bursts: dict[str, float] = {}

    def note(self, what: str, reason: str, now: float, line: str, detail: str) -> None:
        """Count, and log the first of a burst."""
        self[what] += 1
        key = f"{what}:{reason}"
        self[key] += 1
        last = self._bursts.get(key)
        self._bursts[key] = now
        if last is None or now - last > _BURST_S:
            _log.warning(line + " (%s)", detail, reason)


def excerpt(raw: bytes) -> str:
    """An ignored line as the log may show it: escaped, what may be a number masked, and of an SSMI line no text."""
    header, comma, rest = raw.decode("latin-1").partition(",")
    id, more, fields = rest.partition(",")
    shown = f"{header},{id},{log.text(fields)}" if header == HEADER and more else f"{header}{comma}{rest}"
    return ascii(_NUMBER.sub(lambda number: log.mask(number[0]), shown))
