"""What an ini that was read again means: classes come and go, workers stay or are replaced. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from richmond.settings import Settings, WorkerSettings
from richmond.supervisor.fleet import PROBE_FIRST_S, Action, Fleet, Log, Reloaded, Result, WorkerClass
from richmond.supervisor.reconcile import revive
from richmond.supervisor.targets import retarget


def new_class(spec: WorkerSettings) -> WorkerClass:
    return WorkerClass(spec, generation=1, target=spec.workers, reason="workers of the ini")


def next_generation(cls: WorkerClass) -> WorkerClass:
    return replace(cls, generation=cls.generation + 1, probe_due=None, probe_delay_s=PROBE_FIRST_S)


def reloaded(fleet: Fleet, event: Reloaded, now: float, jitter: float) -> Result:
    before, old, new = fleet, fleet.settings, event.settings
    fleet = replace(fleet, settings=new)
    actions: list[Action] = []
    for spec in new.workers:
        cls = fleet.classes.get(spec.name)
        if cls is None:
            fleet = fleet.put(new_class(spec))
            actions.append(Log("info", f"{spec.name}: a new class, {spec.workers} workers"))
            continue
        why = _why_replace(cls, old, new, spec, event.files)
        if why:
            cls = next_generation(cls)
            actions.append(Log("info", f"{spec.name}: {why}: replacing its workers one by one"))
        if cls.pin is None:
            wanted = spec.workers if cls.removed or spec.workers != cls.spec.workers else cls.target
            target = min(max(wanted, spec.min), spec.max)
            if target != cls.target:
                cls = replace(cls, target=target, reason="bounds of the ini")
        cls = replace(cls, spec=spec, removed=False, reloaded=now)
        cls, more = revive(cls, now, jitter)
        actions += more
        fleet = fleet.put(cls)
    names, queues = {spec.name for spec in new.workers}, {spec.queue for spec in new.workers}
    for name, cls in list(fleet.classes.items()):
        if name not in names and not cls.removed:
            fleet = fleet.put(replace(cls, removed=True, pin=None, target=0, reason="no longer in the ini"))
            if cls.spec.queue not in queues:
                text = f"{name}: what is left in {cls.spec.queue} stays there: no class has this queue any more"
                actions.append(Log("warning", text))
    fleet, more = retarget(before, fleet, now)
    return fleet, actions + more


def _why_replace(cls: WorkerClass, old: Settings, new: Settings, spec: WorkerSettings, now: Mapping[str, str]) -> str:
    """Why workers of the present generation are not what the ini describes; empty: they are."""
    imported = [pair for slot in cls.slots if slot.generation == cls.generation for pair in slot.files.items()]
    changed = sorted({path for path, digest in imported if now.get(path, digest) != digest})
    if changed:
        return f"its code has changed ({', '.join(changed)})"
    if cls.removed:
        return "it is back in the ini"
    same_bounds = replace(
        cls.spec,
        workers=spec.workers, min=spec.min, max=spec.max, codes=spec.codes, drain_target_s=spec.drain_target_s,
        scale_down_s=spec.scale_down_s, start_timeout_s=spec.start_timeout_s, start_retries=spec.start_retries,
        stable_s=spec.stable_s, stop_timeout_s=spec.stop_timeout_s, task_timeout_s=spec.task_timeout_s,
        max_messages=spec.max_messages, max_age_s=spec.max_age_s, max_memory=spec.max_memory,
        max_memory_hard=spec.max_memory_hard,
    )  # fmt: skip
    if same_bounds != spec:
        return "its settings have changed"
    if old.amqp != new.amqp:
        return "[amqp] has changed"
    if (old.richmond.log, old.richmond.log_level, old.richmond.log_messages) != (
        new.richmond.log, new.richmond.log_level, new.richmond.log_messages,
    ):  # fmt: skip
        return "the log's settings have changed"
    return ""


def changes(before: Fleet, after: Fleet) -> str:
    """What a reload did, for the one who asked for it."""
    lines = []
    for name in sorted({*before.classes, *after.classes}):
        old, new = before.classes.get(name), after.classes.get(name)
        if old is None:
            lines.append(f"{name}: new")
        elif new is None or new.removed:
            lines.append(f"{name}: removed")
        elif new.generation != old.generation:
            lines.append(f"{name}: its workers are replaced one by one")
        elif new.target != old.target:
            lines.append(f"{name}: {old.target} -> {new.target} workers")
    for section in ("ssmi", "amqp", "simulator"):
        if getattr(before.settings, section) != getattr(after.settings, section):
            lines.append(f"[{section}]: changed")
    return "\n".join(lines) or "nothing has changed"
