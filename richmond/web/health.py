"""/healthz and /readyz: whether the master is alive, and whether a message would be answered now. The decision is pure.

For load balancers and Kubernetes. `status` "ok" comes with 200, "failing" with 503 and the reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bottle

from richmond.supervisor.status import Snapshot, WorkerClass, link_problem
from richmond.web.recent import Recent
from richmond.web.site import Site

PATIENCE_S = 2.0  # for the loop to come by


def unready(snapshot: Snapshot) -> list[str]:
    """Why a message would find nobody now; empty: it would be answered."""
    return list(_reasons(snapshot))


def report(reasons: list[str]) -> tuple[int, dict[str, Any]]:
    """HTTP status and body."""
    return (503 if reasons else 200), {"status": "failing" if reasons else "ok", "reasons": reasons}


def _reasons(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.phase != "running":
        yield f"richmond is {snapshot.phase}"
    yield from filter(None, map(link_problem, snapshot.links))
    consumers = {queue.name: queue.consumers for queue in snapshot.queues}
    for cls in snapshot.classes:
        if why := _missing(cls, consumers.get(cls.queue)):
            yield f"{cls.name}: {why}"


def _missing(cls: WorkerClass, consumers: int | None) -> str:
    """`consumers` of its queue; None: RabbitMQ does not say."""
    if not cls.target and (cls.pinned or not cls.min):
        return ""  # none by choice, be it an operator's or the ini's
    if not cls.running:
        errors = {slot.last_error for slot in cls.slots if slot.last_error}
        return f"no worker is RUNNING{f': {min(errors)}' if errors else ''}"
    if consumers is None:
        return f"RabbitMQ does not say whether anybody consumes {cls.queue}"
    return "" if consumers else f"nobody consumes {cls.queue}"


def routes(app: bottle.Bottle, site: Site) -> None:
    snapshot = Recent(site.snapshot)

    def answer(reasons: list[str]) -> dict[str, Any]:
        bottle.response.status, body = report(reasons)
        return body

    app.get("/healthz", callback=lambda: answer(list(filter(None, [site.stuck(PATIENCE_S)]))))
    app.get("/readyz", callback=lambda: answer(unready(snapshot())))
