"""How many workers each class is to have, within the budget that all of them share. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from richmond.supervisor import policy
from richmond.supervisor.fleet import Action, Fleet, Log, Result, WorkerClass
from richmond.supervisor.lifecycle import State
from richmond.supervisor.reconcile import reconcile_all


def retarget(before: Fleet, fleet: Fleet, now: float) -> Result:
    """Other targets than `before`: fit them into max-workers, tell of them, and make the slots follow."""
    fleet = share(fleet)
    actions: list[Action] = []
    for name, cls in fleet.classes.items():
        was = before.classes.get(name, cls).target
        if cls.target != was:
            workers = f"{cls.target} worker{'' if cls.target == 1 else 's'}"
            actions.append(Log("info", f"{name}: {was} -> {workers}: {cls.reason}"))
    fleet, more = reconcile_all(fleet, now)
    return fleet, actions + more


def share(fleet: Fleet) -> Fleet:
    """Fit the targets into max-workers. A pin comes before what the policy wants above a class's min.

    A class with FATAL workers needs room for those that live and for a probe; it keeps more only where nobody wants it.
    """
    limit = fleet.settings.richmond.max_workers
    classes = fleet.classes
    wanted = {n: c.target if c.pin is None else c.pin for n, c in classes.items()}
    needed = {n: _needed(c, wanted[n]) for n, c in classes.items()}
    granted = _cut(fleet, {n: min(least(c), needed[n]) for n, c in classes.items()}, needed, limit)
    # Still too many after a reload with less room for what was pinned before: then pins give way.
    granted = _cut(fleet, {n: 0 if c.pin else c.spec.min for n, c in classes.items()}, granted, limit)
    room = limit - sum(granted.values())
    for name, cls in classes.items():
        more = min(wanted[name] - needed[name], max(0, room)) if granted[name] == needed[name] else 0
        granted[name] += more
        room -= more
        if granted[name] != cls.target:
            reason = f"{cls.reason}; held by max-workers" if granted[name] < wanted[name] else cls.reason
            fleet = fleet.put(replace(cls, target=granted[name], reason=reason))
    return fleet


def _cut(fleet: Fleet, leasts: Mapping[str, int], wanted: Mapping[str, int], limit: int) -> dict[str, int]:
    weights = {name: cls.spec.weight for name, cls in fleet.classes.items()}
    return policy.shares({n: policy.Ask(leasts[n], wanted[n], weights[n]) for n in fleet.classes}, limit)


def _needed(cls: WorkerClass, wanted: int) -> int:
    """What it can make use of."""
    fatal = cls.count(State.FATAL)
    if not fatal:
        return wanted
    probe = len([s for s in cls.slots if s.state not in (State.FATAL, State.STOPPING)]) + 1
    return min(wanted, max(probe, cls.spec.min if cls.pin is None else 0))


def least(cls: WorkerClass) -> int:
    """What it has a right to."""
    return 0 if cls.removed else cls.spec.min if cls.pin is None else cls.pin


def no_class(fleet: Fleet, name: str) -> str:
    return f"no worker class {name}; there are: {', '.join(present(fleet))}"


def present(fleet: Fleet) -> list[str]:
    return sorted(name for name, cls in fleet.classes.items() if not cls.removed)
