"""What an operator writes for a moment: 10m, 14:05, 2026-01-31 14:05. No I/O."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

from richmond.dead import seconds
from richmond.errors import UsageError

_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d)?")


def moment(text: str, now: float) -> float:
    """Unix seconds; times without a date are the last such, those without a zone are local. UsageError."""
    text = text.strip()
    try:
        if _CLOCK.fullmatch(text):
            today = datetime.fromtimestamp(now)
            then = datetime.fromisoformat(f"{date.isoformat(today)}T{text:0>{8 if text.count(':') == 2 else 5}}")
            return (then if then <= today else then - timedelta(days=1)).timestamp()
        if re.match(r"\d{4}-", text):
            return datetime.fromisoformat(text).timestamp()
        return now - seconds(text)
    except (ValueError, OverflowError, UsageError):
        raise UsageError(
            f"{text!r} is no moment: say 10m, 2h or 7d (ago), 14:05, 2026-01-31 or '2026-01-31 14:05'"
        ) from None
