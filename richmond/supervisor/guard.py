"""How fast the fleet may fork: a start beyond the rate waits for its turn, in BACKOFF. Pure.

Back-off holds one slot. This holds all of them together, so that a host with many classes that crash is not eaten up.
"""

from __future__ import annotations

from dataclasses import replace

from richmond.supervisor import lifecycle
from richmond.supervisor.fleet import Action, Fleet, Log, Result, Spawn
from richmond.supervisor.lifecycle import State
from richmond.supervisor.reconcile import move

STARTS_PER_S = 10.0
HELD = f"held back: the fleet starts {STARTS_PER_S:g} workers a second, after a first burst of max-workers"


def hold_back(fleet: Fleet, actions: list[Action], now: float) -> Result:
    """`actions`, without the starts that come too early (their slots have reserved theirs) or were taken back.

    The generic cell rate algorithm: `fleet.starts_until` is when all starts so far would have been made at the rate.
    """
    passed: list[Action] = []
    for action in actions:
        found = fleet.find(action.slot) if isinstance(action, Spawn) else None
        if found is None:
            passed.append(action)
            continue
        cls, slot = found
        if slot.state is not State.STARTING:  # stopped again in the same step
            cls, more = move(cls, slot, lifecycle.SpawnFailed("it is not wanted any more"), now, 0.0)
            fleet = fleet.put(cls)
            passed += more
            continue
        turn = slot.reserved
        if turn < now:  # it has none, or a master that was stopped has let it pass
            turn = max(fleet.starts_until, now) + 1 / STARTS_PER_S
            fleet = replace(fleet, starts_until=turn)
        due = turn - fleet.settings.richmond.max_workers / STARTS_PER_S
        if due > now:
            error = slot.last_error or HELD
            after = replace(slot, state=State.BACKOFF, since=now, due=due, reserved=turn, last_error=error)
            passed.append(Log("warning", f"{slot.name} {slot.state} -> {after.state}: {HELD}"))
        else:
            after = replace(slot, reserved=0.0)
            passed.append(action)
        fleet = fleet.put(replace(cls, slots=tuple(after if s is slot else s for s in cls.slots)))
    return fleet, passed
