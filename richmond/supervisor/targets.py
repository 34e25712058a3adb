"""How many workers each class is to have, within the budget that all of them share. Pure."""

from __future__ import annotations

from dataclasses import replace

from richmond.supervisor import policy
from richmond.supervisor.fleet import Action, Fleet, Log, Result, WorkerClass
from richmond.supervisor.reconcile import reconcile_all


def retarget(before: Fleet, fleet: Fleet, now: float) -> Result:
    """Other targets than `before`: fit them into max-workers, tell of them, and make the slots follow."""
    fleet = share(fleet)
    actions: list[Action] = []
    for name, cls in fleet.classes.items():
        was = before.classes.get(name, cls).target
        if cls.target != was:
            actions.append(Log("info", f"{name}: {was} -> {cls.target} workers: {cls.reason}"))
    fleet, more = reconcile_all(fleet, now)
    return fleet, actions + more


def share(fleet: Fleet) -> Fleet:
    """Fit the targets into max-workers. A pin comes before what the policy wants above a class's min."""
    limit = fleet.settings.richmond.max_workers
    wanted = {n: c.target if c.pin is None else c.pin for n, c in fleet.classes.items()}
    granted = policy.shares(
        {n: policy.Ask(least(c), wanted[n], c.spec.weight) for n, c in fleet.classes.items()}, limit
    )
    # Still too many after a reload with less room for what was pinned before: then pins give way.
    asks = {n: policy.Ask(0 if c.pin else c.spec.min, granted[n], c.spec.weight) for n, c in fleet.classes.items()}
    granted = policy.shares(asks, limit)
    for name, cls in fleet.classes.items():
        if granted[name] != cls.target:
            reason = f"{cls.reason}; held by max-workers" if granted[name] < wanted[name] else cls.reason
            fleet = fleet.put(replace(cls, target=granted[name], reason=reason))
    return fleet


def least(cls: WorkerClass) -> int:
    """What it has a right to."""
    return 0 if cls.removed else cls.spec.min if cls.pin is None else cls.pin
