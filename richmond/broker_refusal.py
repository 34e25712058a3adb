"""Why something from a worker was not sent, for the dead-letter queue. No I/O."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec


class Refused(msgspec.Struct, frozen=True):
    """`reason`: short and stable; `detail`: never quotes the message."""

    reason: str
    detail: str


def dead_letter_headers(
    refused: Refused, queue: str, headers: dict[str, Any], wall: float, writer: str = ""
) -> dict[str, Any]:
    """`queue`: where it came from, if from one. `headers`: its own; a worker may have put its name there.

    `writer`: the class that it names as its own, or empty.
    """
    dead: dict[str, Any] = {
        "x-richmond-reason": refused.reason,
        "x-richmond-exception": refused.detail,
        "x-richmond-time": datetime.fromtimestamp(wall, UTC).isoformat(),
    }
    if queue:
        dead["x-richmond-queue"] = queue
    worker = headers.get("x-richmond-worker", writer)
    if isinstance(worker, str) and worker:
        dead["x-richmond-worker"] = worker
    return dead
