from datetime import datetime

import pytest

from richmond.errors import UsageError
from richmond.since import moment

NOW = datetime(2026, 1, 31, 12, 0, 30)


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("90s", datetime(2026, 1, 31, 11, 59, 0)),
        ("10m", datetime(2026, 1, 31, 11, 50, 30)),
        ("2d", datetime(2026, 1, 29, 12, 0, 30)),
        ("11:59", datetime(2026, 1, 31, 11, 59)),
        ("9:05", datetime(2026, 1, 31, 9, 5)),
        ("9:05:07", datetime(2026, 1, 31, 9, 5, 7)),
        ("12:00:30", NOW),
        ("12:01", datetime(2026, 1, 30, 12, 1)),  # later than now: yesterday
        ("2026-01-30", datetime(2026, 1, 30)),
        ("2026-01-30 14:05", datetime(2026, 1, 30, 14, 5)),
        ("2026-01-30T14:05:06", datetime(2026, 1, 30, 14, 5, 6)),
    ],
)
def test_a_moment_is_said_as_an_age_a_time_or_a_date(text, then):
    assert moment(text, NOW.timestamp()) == then.timestamp()


def test_a_zone_counts():
    assert moment("2026-01-30T14:05:00+00:00", 0.0) == 1769781900.0


@pytest.mark.parametrize("text", ["", "soon", "10", "25:00", "12:60", "2026-02-30", "2026-13-01 00:00", "-5m", "9:5"])
def test_anything_else_is_explained(text):
    with pytest.raises(UsageError, match="is no moment: say 10m, 2h or 7d"):
        moment(text, NOW.timestamp())
