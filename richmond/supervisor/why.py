"""Why a class has the target that it has: the figures that the policy saw, and what was made of its wish. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from richmond.supervisor import protocol
from richmond.supervisor.fleet import Fleet, WorkerClass
from richmond.supervisor.lifecycle import State
from richmond.supervisor.targets import no_class


class Load(msgspec.Struct, frozen=True):
    """What the policy saw at the last sample."""

    waiting: int  # messages in the queue
    in_hand: int  # messages that this host's workers hold
    arrivals_per_s: float  # this host's part of them
    message_s: float  # in the handler
    utilisation: float  # of this host's workers, 0 to 1
    share: float  # of the queue's load that is this host's, 0 to 1
    needed: float  # workers, before any limit
    lately: int  # the most that were needed within the window
    window_s: float  # so long the load must have been lower before workers go


class Why(msgspec.Struct, frozen=True):
    """The answer to `richmond scale --why CLASS`."""

    name: str
    target: int
    reason: str
    pin: int | None
    wanted: int | None  # by the policy, before max-workers; null: it has not been asked yet
    limits: tuple[str, ...]  # what keeps the target from following the load
    running: int
    starting: int
    fatal: int
    consumers: int | None  # of the queue, on all hosts
    min: int
    max: int
    weight: int
    drain_target_s: float
    target_utilisation: float
    max_workers: int
    workers: int  # of all classes
    age_s: float | None  # of the last sample; null: there is none
    load: Load | None  # null: there are no fresh figures


def answer(fleet: Fleet, name: str, now: float) -> dict[str, Any]:
    cls = fleet.classes.get(name)
    if cls is None or cls.removed:
        return protocol.failure(no_class(fleet, name), usage=True)
    return {"ok": True, "why": msgspec.to_builtins(explain(fleet, cls, now))}


def explain(fleet: Fleet, cls: WorkerClass, now: float) -> Why:
    decision, newest = cls.decision, cls.samples[-1] if cls.samples else None
    figures = decision.figures if decision is not None else None
    return Why(
        name=cls.spec.name,
        target=cls.target,
        reason=cls.reason,
        pin=cls.pin,
        wanted=decision.target if decision is not None else None,
        limits=tuple(_limits(fleet, cls)),
        running=cls.count(State.RUNNING),
        starting=cls.count(State.STARTING),
        fatal=cls.count(State.FATAL),
        consumers=newest.consumers if newest is not None else None,
        min=cls.spec.min,
        max=cls.spec.max,
        weight=cls.spec.weight,
        drain_target_s=cls.spec.drain_target_s,
        target_utilisation=cls.spec.target_utilisation,
        max_workers=fleet.settings.richmond.max_workers,
        workers=sum(c.target for c in fleet.classes.values()),
        age_s=now - newest.at if newest is not None else None,
        load=None
        if figures is None
        else Load(
            figures.waiting,
            figures.in_hand,
            figures.arrivals_per_s,
            figures.message_s,
            figures.utilisation,
            figures.share,
            figures.raw,
            figures.lately,
            figures.window_s,
        ),
    )


def _limits(fleet: Fleet, cls: WorkerClass) -> list[str]:
    decision = cls.decision
    found = list(decision.figures.limits) if decision is not None and decision.figures is not None else []
    if decision is not None and decision.figures is None:
        found.append(decision.reason)
    if cls.pin is not None:
        found.insert(0, f"pinned to {cls.pin} by the operator, until richmond scale {cls.spec.name} auto")
    elif fatal := cls.count(State.FATAL):
        found.insert(0, f"{fatal} of its workers are FATAL: until they are not, the load is not asked")
    elif decision is not None and cls.target < decision.target:
        limit = fleet.settings.richmond.max_workers
        found.append(f"max-workers = {limit}: {decision.target - cls.target} less than wanted, by its weight and min")
    return found
