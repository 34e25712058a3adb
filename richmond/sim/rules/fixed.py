"""A fixed count: what supervisord and a systemd template give."""

from __future__ import annotations

from collections.abc import Sequence

from richmond.sim.rule import View


class Fixed:
    interval_s = 60.0
    at_messages = False

    def __init__(self, counts: Sequence[int]) -> None:
        self._counts = counts

    def targets(self, views: Sequence[View]) -> Sequence[int]:
        return self._counts
