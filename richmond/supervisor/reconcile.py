"""From targets to actions: the one place where workers are started, replaced and stopped. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from richmond.settings import WorkerSettings
from richmond.supervisor import lifecycle
from richmond.supervisor.fleet import (
    PROBE_FIRST_S,
    PROBE_MAX_S,
    ROWS,
    Action,
    Fleet,
    Kill,
    Log,
    Result,
    Spawn,
    WorkerClass,
)
from richmond.supervisor.lifecycle import Slot, State

_LIVE = (State.STARTING, State.RUNNING, State.BACKOFF, State.FATAL)


def reconcile_all(fleet: Fleet, now: float) -> Result:
    actions: list[Action] = []
    for name in list(fleet.classes):
        fleet, more = reconcile(fleet, name, now)
        actions += more
    return fleet, actions


def reconcile(fleet: Fleet, name: str, now: float) -> Result:
    """Bring the slots of a class to its target and its generation.

    Workers of an old generation are replaced one by one: one of them leaves only when the new ones that
    run, with the old ones that still do, are more than the target. A new generation that does not come up
    therefore leaves the old one serving.
    """
    cls = fleet.classes[name]
    want = cls.target if fleet.started and not fleet.stopping else 0
    actions: list[Action] = []

    def stop(slots: Iterable[Slot]) -> None:
        nonlocal cls
        for slot in slots:
            cls, more = move(cls, slot, lifecycle.Stop(), now, 0.0)
            actions.extend(more)

    live = [s for s in cls.slots if s.state in _LIVE or s.keeps_place]
    stop(s for s in live if s.generation != cls.generation and s.state is not State.RUNNING)
    old = [s for s in cls.slots if s.state is State.RUNNING and s.generation != cls.generation]
    current = [s for s in live if s.generation == cls.generation]
    running = sum(s.state is State.RUNNING for s in current)
    coming = len(current) - running
    excess = min(len(old), max(0, running + len(old) - want))
    stop(sorted(old, key=lambda s: s.index)[:excess])  # lowest first: the next new one takes its number

    surplus = max(0, len(current) - want)
    if excess < len(old):  # the target has fallen: one that takes over is enough
        surplus = max(surplus, min(coming, len(current) + len(old) - excess - want - 1))
    stop(sorted(current, key=lambda s: _first_to_go(s, fleet.held.get(s.name, 0)))[:surplus])

    missing = max(0, want - len(current))
    if old:
        missing = min(missing, max(want - len(current) - len(old), 0 if coming else 1))
    for _ in range(missing):
        fleet, slot = _free_slot(fleet.put(cls), cls, now)
        cls, more = move(replace(cls, slots=(*cls.slots, slot)), slot, lifecycle.Start(), now, 0.0)
        actions.extend(more)
    if cls.count(State.FATAL) == 0:
        cls = replace(cls, probe_due=None)
    return fleet.put(cls), actions


def _first_to_go(slot: Slot, held: int) -> tuple[int, int, int]:
    """What does not serve leaves before what does; then who holds the fewest messages; then the highest number."""
    order = (State.STOPPING, State.FATAL, State.BACKOFF, State.STARTING, State.RUNNING)
    return order.index(slot.state), held, -slot.index


def _free_slot(fleet: Fleet, cls: WorkerClass, now: float) -> tuple[Fleet, Slot]:
    used = {slot.index for slot in cls.slots}
    index = next(i for i in range(len(used) + 1) if i not in used)
    fleet, row = free_row(fleet)
    return fleet, Slot(f"{cls.spec.name}:{index}", index, row, cls.generation, since=now)


def free_row(fleet: Fleet) -> tuple[Fleet, int]:
    """Rows are taken in turn, so that a worker that drains unseen has its row to itself for a while."""
    used = {slot.row for cls in fleet.classes.values() for slot in cls.slots}
    row = next(r for r in ((fleet.next_row + i) % ROWS for i in range(ROWS)) if r not in used)
    return replace(fleet, next_row=(row + 1) % ROWS), row


def move(
    cls: WorkerClass, slot: Slot, event: lifecycle.Event, now: float, jitter: float
) -> tuple[WorkerClass, list[Action]]:
    """Apply `event` to `slot` of `cls`; each change of state is logged with its reason."""
    after, moves = lifecycle.step(slot, event, now, rules(cls.spec), jitter)
    actions: list[Action] = []
    for todo in moves:
        if isinstance(todo, lifecycle.Spawn):
            actions.append(Spawn(slot.name, slot.row, slot.generation, cls.spec))
        else:
            actions.append(Kill(slot.name, todo.pid, todo.signal))
    if after.state is not slot.state or isinstance(event, lifecycle.Exited | lifecycle.Hung | lifecycle.Recycle):
        actions.append(_story(slot, after, event))
    slots = tuple(after if s.name == slot.name else s for s in cls.slots)
    return replace(cls, slots=tuple(s for s in slots if s.state is not State.STOPPED)), actions


def _story(before: Slot, after: Slot, event: lifecycle.Event) -> Log:
    pid = before.pid or after.pid
    text = f"{before.name} {f'(pid {pid}) ' if pid else ''}{before.state} -> {after.state}"
    if isinstance(event, lifecycle.Hung):
        return Log("warning", f"{before.name} (pid {pid}) {before.state}: {event.why}; it is ended")
    if isinstance(event, lifecycle.Recycle) and before.state is State.STOPPING:
        return Log("warning", f"{before.name} (pid {pid}) {before.state}: {after.doomed}; it is killed")
    if not isinstance(event, lifecycle.Exited | lifecycle.SpawnFailed):
        if after.state is State.STOPPING and after.leaving:
            return Log("warning" if after.doomed else "info", f"{text}: {after.leaving}")
        return Log("info", text)
    if before.state is State.STOPPING:
        if isinstance(event, lifecycle.Exited):
            text = f"{text}: {lifecycle.exit_text(event.code, event.signal)}"
        return Log("info", text)
    text = f"{text}: {after.last_error}"
    if after.state is State.FATAL:
        return Log("error", f"{text}, {after.crashes} times in a row; see richmond status")
    return Log("warning", text)


def spread_fatal(cls: WorkerClass, now: float) -> tuple[WorkerClass, list[Action]]:
    """A class that fails as a whole fails once: where no slot is stable, the failing ones follow the first FATAL."""
    fatal = [s for s in cls.slots if s.state is State.FATAL]
    if not fatal:
        return cls, []
    actions: list[Action] = []
    if not any(s.stable for s in cls.slots):
        slots = []
        for slot in cls.slots:
            if slot.state is State.BACKOFF:
                actions.append(Log("error", f"{slot.name} BACKOFF -> FATAL: as {fatal[0].name}"))
                slot = replace(slot, state=State.FATAL, since=now, due=None)
            slots.append(slot)
        cls = replace(cls, slots=tuple(slots))
    if cls.probe_due is None and cls.count(State.STARTING) == 0:
        cls = replace(cls, probe_due=now + cls.probe_delay_s, probe_delay_s=min(2 * cls.probe_delay_s, PROBE_MAX_S))
    return cls, actions


def revive(cls: WorkerClass, now: float, jitter: float) -> tuple[WorkerClass, list[Action]]:
    """Start what is FATAL, with a clean record."""
    actions: list[Action] = []
    cls = replace(cls, probe_due=None, probe_delay_s=PROBE_FIRST_S)
    for slot in cls.slots:
        if slot.state is State.FATAL:
            slots = tuple(replace(s, crashes=0) if s.name == slot.name else s for s in cls.slots)
            cls, more = move(replace(cls, slots=slots), replace(slot, crashes=0), lifecycle.Start(), now, jitter)
            actions += more
    return cls, actions


def rules(spec: WorkerSettings) -> lifecycle.Rules:
    return lifecycle.Rules(spec.start_timeout_s, spec.start_retries, spec.stable_s, spec.stop_timeout_s)
