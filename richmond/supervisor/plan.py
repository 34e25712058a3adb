"""The one decider: what has happened in, the fleet as it is to be and the actions for it out. Pure.

Whatever happens only changes targets and slots; `reconcile` turns the difference into actions, so that
scaling, reloading, crashing and stopping all go the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from richmond.settings import Settings
from richmond.supervisor import jobs, lifecycle
from richmond.supervisor.fleet import (
    Action,
    AmqpChanged,
    Event,
    Fleet,
    Kill,
    Log,
    Looked,
    Reloaded,
    Reply,
    Restart,
    RestartSpawner,
    Result,
    Sampled,
    Scale,
    Shutdown,
    Started,
    Tick,
    Waiter,
    Woken,
    WorkerClass,
)
from richmond.supervisor.guard import hold_back
from richmond.supervisor.lifecycle import State
from richmond.supervisor.looking import LOOK_S, looked
from richmond.supervisor.reconcile import free_row, move, reconcile, reconcile_all, revive, spread_fatal
from richmond.supervisor.reloading import conclude, new_class, next_generation, reloaded
from richmond.supervisor.scaling import sampled, woken
from richmond.supervisor.targets import least, no_class, present, retarget, share


def begin(settings: Settings) -> Fleet:
    """The fleet of a master that has just started: every class, and no worker before `Started`."""
    return share(Fleet(settings, {spec.name: new_class(spec) for spec in settings.workers}))


def step(fleet: Fleet, event: Event, now: float, jitter: float) -> Result:
    """What `event` makes of `fleet`. `now`: monotonic seconds. `jitter`: 0 to 1, drawn by the caller."""
    fleet, actions = _HANDLERS[type(event)](fleet, event, now, jitter)
    fleet, ended = conclude(fleet, now)
    fleet, actions = hold_back(fleet, actions + ended, now)
    fleet, answers = _answer_waiters(_forget(fleet))
    return fleet, actions + answers


def deadline(fleet: Fleet) -> float | None:
    """When `Tick` is due, monotonic; None: nothing waits for the clock."""
    dues = [slot.due for cls in fleet.classes.values() for slot in cls.slots if slot.due is not None]
    dues += [cls.probe_due for cls in fleet.classes.values() if cls.probe_due is not None]
    return min(dues, default=None)


def gone(fleet: Fleet) -> bool:
    return not any(cls.slots for cls in fleet.classes.values())


def _on_slot(fleet: Fleet, name: str, event: lifecycle.Event, now: float, jitter: float) -> Result:
    found = fleet.find(name)
    if found is None:
        return fleet, []
    cls, slot = found
    cls, actions = move(cls, slot, event, now, jitter)
    if slot.state is State.STARTING and slot.since < cls.reloaded:
        # If that made it FATAL: it may have imported what its files were before, or one that was half written.
        cls, more = revive(cls, now, jitter)
        actions += more
    cls, more = spread_fatal(cls, now)
    fleet, rest = reconcile(fleet.put(cls), cls.spec.name, now)
    return fleet, actions + more + rest


def _started(fleet: Fleet, event: Started, now: float, _jitter: float) -> Result:
    return reconcile_all(replace(fleet, settings=event.settings, started=True, look_due=now + LOOK_S), now)


def _forked(fleet: Fleet, event: jobs.Forked, now: float, jitter: float) -> Result:
    if fleet.find(event.slot) is None:
        return fleet, [Kill(event.slot, event.pid, 15)]
    return _on_slot(fleet, event.slot, lifecycle.Forked(event.pid), now, jitter)


def _spawn_failed(fleet: Fleet, event: jobs.SpawnFailed, now: float, jitter: float) -> Result:
    return _on_slot(fleet, event.slot, lifecycle.SpawnFailed(event.error), now, jitter)


def _exited(fleet: Fleet, event: jobs.Exited, now: float, jitter: float) -> Result:
    found = fleet.find(event.slot)
    if found is None or found[1].pid != event.pid:
        return fleet, []
    return _on_slot(fleet, event.slot, lifecycle.Exited(event.code, event.signal), now, jitter)


def _ready(fleet: Fleet, event: jobs.Ready, now: float, jitter: float) -> Result:
    found = fleet.find(event.slot)
    if found is None or found[1].pid != event.pid:
        return fleet, []
    cls, slot = found
    if event.files and slot.since < cls.reloaded:
        # It was starting when the files were compared, and may have imported what they were before.
        stale = replace(slot, generation=cls.generation - 1)
        fleet = fleet.put(replace(cls, slots=tuple(stale if s is slot else s for s in cls.slots)))
    return _on_slot(fleet, event.slot, lifecycle.Ready(event.files), now, jitter)


def _failed(fleet: Fleet, event: jobs.Failed, now: float, _jitter: float) -> Result:
    """A report with a traceback. It and the exit of its process may come in either order."""
    found = fleet.find(event.slot)
    if found is None:
        return fleet, []
    cls, slot = found
    last_line = event.error.strip().rsplit("\n", 1)[-1]
    cause = "" if event.handler or slot.pid != event.pid else last_line
    told = replace(slot, last_error=last_line, traceback=event.error, cause=cause)
    slots = tuple(told if s.name == slot.name else s for s in cls.slots)
    level = "warning" if event.handler else "error"
    return fleet.put(replace(cls, slots=slots)), [Log(level, f"{slot.name} (pid {event.pid}): {last_line}")]


def _spawner_died(fleet: Fleet, event: jobs.SpawnerDied, now: float, jitter: float) -> Result:
    """Its workers got SIGTERM and drain; their slots are filled anew, on other rows of the scoreboard.

    What it was told to fork and had not forked comes back as SpawnFailed, one for each.
    """
    actions: list[Action] = [Log("error", f"the spawner has ended ({event.status}): filling its slots again")]
    if not fleet.stopping:
        actions.append(RestartSpawner())
    for cls in list(fleet.classes.values()):
        for slot in cls.slots:
            if slot.pid is not None:
                fleet, row = free_row(fleet)
                slot = replace(slot, row=row)
                cls, more = move(cls, slot, lifecycle.Orphaned(), now, jitter)
                actions += more
        fleet = fleet.put(cls)
    fleet, more = reconcile_all(fleet, now)
    return fleet, actions + more


def _tick(fleet: Fleet, _event: Tick, now: float, jitter: float) -> Result:
    actions: list[Action] = []
    for cls in list(fleet.classes.values()):
        for slot in cls.slots:
            if slot.due is None or slot.due > now:
                continue
            if slot.state is State.STARTING and not fleet.amqp_up:
                later = replace(slot, due=now + cls.spec.start_timeout_s)
                cls = replace(cls, slots=tuple(later if s.name == slot.name else s for s in cls.slots))
            else:
                cls, more = move(cls, slot, lifecycle.Due(), now, jitter)
                actions += more
                if slot.state is State.RUNNING:
                    cls, more = revive(cls, now, jitter)  # one is stable: what was FATAL may start again
                    actions += more
        if cls.probe_due is not None and cls.probe_due <= now:
            cls = replace(cls, probe_due=None)
            probe = next((s for s in cls.slots if s.state is State.FATAL), None)
            if probe is not None:
                cls, more = move(cls, probe, lifecycle.Start(), now, jitter)
                actions += more
        fleet, more = reconcile(fleet.put(cls), cls.spec.name, now)
        actions += more
    return fleet, actions


# Requests of the operator.


def _scale(fleet: Fleet, event: Scale, now: float, jitter: float) -> Result:
    cls = fleet.classes.get(event.name)
    error = _scale_error(fleet, cls, event)
    if error or cls is None:
        return fleet, [Reply(event.request, False, error, usage=not fleet.stopping)]
    before, actions = fleet, list[Action]()
    fleet = replace(fleet, held=event.held)
    if event.count is None:
        target = min(max(cls.target, cls.spec.min), cls.spec.max)
        cls = replace(cls, pin=None, target=target, reason="handed back to the policy")
        text = f"{event.name}: the count follows the queue again ({cls.spec.min} to {cls.spec.max}, now {target})"
        cls, actions = revive(cls, now, jitter)
    else:
        cls = replace(cls, pin=event.count, target=event.count, reason="pinned by the operator")
        workers = f"{event.count} worker{'' if event.count == 1 else 's'}"
        text = f"{event.name}: {workers}, until richmond scale {event.name} auto"
    fleet, more = retarget(before, fleet.put(cls), now)
    actions += [Log("info", text), *more]
    return _reply(fleet, actions, Waiter(event.request, event.name, text), event.wait)


def _scale_error(fleet: Fleet, cls: WorkerClass | None, event: Scale) -> str:
    if fleet.stopping:
        return "richmond is stopping"
    if cls is None or cls.removed:
        return no_class(fleet, event.name)
    limit = fleet.settings.richmond.max_workers
    if event.count is None:
        return ""
    others = sum(least(c) for c in fleet.classes.values() if c is not cls)
    if event.count < 0:
        return f"{event.count} is below 0"
    if event.count > limit:
        return f"{event.count} is above max-workers = {limit} of [richmond]"
    if event.count > limit - others:
        return f"{event.count} is above {limit - others}: max-workers = {limit} less what the others keep"
    return ""


def _reply(fleet: Fleet, actions: list[Action], waiter: Waiter, wait: bool) -> Result:
    if not wait:
        return fleet, [*actions, Reply(waiter.request, True, waiter.text)]
    return replace(fleet, waiters=(*fleet.waiters, waiter)), actions


def _restart(fleet: Fleet, event: Restart, now: float, jitter: float) -> Result:
    if fleet.stopping:
        return fleet, [Reply(event.request, False, "richmond is stopping")]
    names = [event.name] if event.name is not None else present(fleet)
    for name in names:
        if name not in fleet.classes or fleet.classes[name].removed:
            return fleet, [Reply(event.request, False, no_class(fleet, name), usage=True)]
    actions: list[Action] = []
    for name in names:
        fleet, more = reconcile(fleet.put(next_generation(fleet.classes[name], "restarted")), name, now)
        actions += [Log("info", f"{name}: replacing its workers one by one"), *more]
    text = f"{', '.join(names)}: workers are replaced one by one"
    waiter = Waiter(event.request, names[0] if len(names) == 1 else "", text, rollout=True)
    return _reply(fleet, actions, waiter, event.wait)


def _amqp_changed(fleet: Fleet, event: AmqpChanged, now: float, _jitter: float) -> Result:
    if event.up and not fleet.amqp_up:  # workers connect now: the time before was not theirs
        for cls in fleet.classes.values():
            slots = (
                replace(s, due=now + cls.spec.start_timeout_s) if s.state is State.STARTING and not s.doomed else s
                for s in cls.slots
            )
            fleet = fleet.put(replace(cls, slots=tuple(slots)))
    return replace(fleet, amqp_up=event.up), []


def _shutdown(fleet: Fleet, event: Shutdown, now: float, jitter: float) -> Result:
    fleet = replace(fleet, stopping=True, look_due=None)
    fleet, actions = reconcile_all(fleet, now)
    if event.now:
        for cls in list(fleet.classes.values()):
            for slot in cls.slots:
                cls, more = move(cls, slot, lifecycle.KillNow(), now, jitter)
                actions += more
            fleet = fleet.put(cls)
    return fleet, actions


def _forget(fleet: Fleet) -> Fleet:
    """Drop the classes that are no longer in the ini and have no slot left."""
    left = {name: cls for name, cls in fleet.classes.items() if cls.slots or not cls.removed}
    return fleet if len(left) == len(fleet.classes) else replace(fleet, classes=left)


def _answer_waiters(fleet: Fleet) -> Result:
    answers: list[Action] = []
    waiting = []
    for waiter in fleet.waiters:
        classes = [fleet.classes[waiter.name]] if waiter.name in fleet.classes else list(fleet.classes.values())
        broken = next((s for c in classes for s in c.slots if s.state is State.FATAL), None)
        if fleet.stopping:
            answers.append(Reply(waiter.request, False, "richmond is stopping"))
        elif waiter.name and (waiter.name not in fleet.classes or fleet.classes[waiter.name].removed):
            answers.append(Reply(waiter.request, False, f"{waiter.name} is no longer in the ini"))
        elif broken is not None:
            answers.append(Reply(waiter.request, False, f"{broken.name} is FATAL: {broken.last_error}"))
        elif all(c.settled for c in classes if not c.removed):
            answers.append(Reply(waiter.request, True, waiter.text))
        else:
            waiting.append(waiter)
    if not answers:
        return fleet, []
    return replace(fleet, waiters=tuple(waiting)), answers


_HANDLERS: dict[type, Callable[..., Result]] = {
    Started: _started,
    jobs.Forked: _forked,
    jobs.SpawnFailed: _spawn_failed,
    jobs.Exited: _exited,
    jobs.SpawnerDied: _spawner_died,
    jobs.Ready: _ready,
    jobs.Failed: _failed,
    Tick: _tick,
    Scale: _scale,
    Restart: _restart,
    Reloaded: reloaded,
    Sampled: sampled,
    Woken: woken,
    Looked: looked,
    AmqpChanged: _amqp_changed,
    Shutdown: _shutdown,
}
