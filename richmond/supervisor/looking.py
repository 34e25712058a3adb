"""What a look at the workers means: who hangs, who is worn out, and when to look again. Pure."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from dataclasses import replace

from richmond.supervisor import lifecycle, liveness, recycling
from richmond.supervisor.fleet import Action, Fleet, Log, Looked, Result, WorkerClass
from richmond.supervisor.lifecycle import Slot, State
from richmond.supervisor.liveness import Look
from richmond.supervisor.reconcile import move, reconcile

LOOK_S = 2.0  # between two looks at the workers, at most
LOOK_AGAIN_S = 0.1  # and at least
LATE_S = 1.0  # a look that comes so late, or a quarter of the shortest limit, tells that the master itself did not run


def looked(fleet: Fleet, event: Looked, now: float, jitter: float) -> Result:
    actions: list[Action] = []
    late_s = 0.0 if fleet.look_due is None else now - fleet.look_due
    shortest_s = min((liveness.limit_s(cls.spec) for cls in fleet.classes.values()), default=math.inf)
    late = late_s > min(LATE_S, shortest_s / 4)
    if late:
        text = f"the master did not run for {late_s:.1f} s: that workers were silent meanwhile proves nothing"
        actions.append(Log("warning", text))
    if late or not fleet.amqp_up:  # a handler may wait for RabbitMQ
        fleet = replace(fleet, silent_since=now)
    # A stop as long as a limit makes a look late by half of it, at least.
    due = now + min(LOOK_S, shortest_s / 2)
    idle: dict[str, liveness.Idle] = {}
    for cls in list(fleet.classes.values()):
        for slot, look in _seen(cls, State.STOPPING, event):
            if why := recycling.too_big(look, cls.spec):
                cls, more = move(cls, slot, lifecycle.Recycle(why, signal.SIGKILL), now, jitter)
                actions += more
        seen = _seen(cls, State.RUNNING, event)
        for slot, look in seen:
            if (since := liveness.idle(look, fleet.idle.get(slot.name), now)) is not None:
                idle[slot.name] = since
            if why := liveness.judge(look, now, cls.spec, fleet.silent_since):
                cls, more = move(cls, slot, lifecycle.Hung(why, look.stopped), now, jitter)
                actions += more
            elif why := recycling.too_big(look, cls.spec):
                cls, more = move(cls, slot, lifecycle.Recycle(why, signal.SIGKILL), now, jitter)
                cls = replace(cls, recycled=cls.recycled + 1, last_recycled=f"{slot.name}: {why}")
                actions += more
            else:
                due = min(due, liveness.hung_at(look, cls.spec, fleet.silent_since))
        fleet, more = _recycle_one(fleet.put(cls), cls, seen, idle, now)
        actions += more
    return replace(fleet, idle=idle, look_due=max(due, now + LOOK_AGAIN_S)), actions


def _seen(cls: WorkerClass, state: State, event: Looked) -> list[tuple[Slot, Look]]:
    """Those in `state` of whom there is a look at the process that they have now, and who are to be judged."""
    slots = (slot for slot in cls.slots if slot.state is state and not slot.doomed)
    looks = ((slot, event.looks.get(slot.name)) for slot in slots)
    return [(slot, look) for slot, look in looks if look is not None and look.pid == slot.pid]


def _recycle_one(
    fleet: Fleet, cls: WorkerClass, seen: list[tuple[Slot, Look]], idle: Mapping[str, liveness.Idle], now: float
) -> Result:
    """One at a time, and only in a class where all is well. Its successor comes first where max-workers allows it."""
    if not cls.settled or any(slot.doomed for slot in cls.slots):
        return fleet, []
    for slot, look in seen:
        why = recycling.worn_out(look, slot.since, now, cls.spec, slot.draw)
        if not why and slot.name in idle:
            ready = [(sample.at, sample.ready) for sample in cls.samples]
            why = liveness.starved(max(idle[slot.name].since, fleet.silent_since), ready, now)
        if not why:
            continue
        cls = replace(cls, recycled=cls.recycled + 1, last_recycled=f"{slot.name}: {why}")
        if fleet.workers >= fleet.settings.richmond.max_workers:
            cls, actions = move(cls, slot, lifecycle.Recycle(why, signal.SIGTERM), now, 0.0)
            return fleet.put(cls), actions
        leaving = replace(slot, leaving=why, generation=slot.generation - 1)
        cls = replace(cls, slots=tuple(leaving if s is slot else s for s in cls.slots))
        fleet, actions = reconcile(fleet.put(cls), cls.spec.name, now)
        return fleet, [Log("info", f"{slot.name} (pid {slot.pid}) is replaced: {why}"), *actions]
    return fleet, []
