"""What an ini that was read again means: classes come and go, workers stay, are replaced, or serve on. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import fields, replace
from typing import Any

from richmond.config_describe import key_of
from richmond.settings import Settings, SsmiSettings, WorkerSettings
from richmond.supervisor.fleet import (
    PROBE_FIRST_S,
    Action,
    Back,
    Fleet,
    Log,
    Reloaded,
    Reply,
    Result,
    Waiter,
    WorkerClass,
)
from richmond.supervisor.lifecycle import Slot, State
from richmond.supervisor.reconcile import reconcile, revive
from richmond.supervisor.targets import retarget

_MASTERS_OWN = (  # fields of a class's settings that mean nothing to a worker that runs
    "codes", "short_codes", "keywords", "sms", "accounts", "more_option", "more_text",
    "workers", "min", "max", "drain_target_s", "scale_down_s", "weight", "target_utilisation",
    "start_timeout_s", "start_retries", "stable_s",
    "stop_timeout_s", "task_timeout_s", "max_messages", "max_age_s", "max_memory", "max_memory_hard",
    "on_fatal",
)  # fmt: skip

# Of [richmond]: workers get them too. Where their log goes and how it looks is the master's affair: they write it
# themselves only after its death, and then their last words go where it went when they began.
_OF_WORKERS = ("log_level", "log_messages", "workers_path")
_FIXED = ("directory", "pid_file", "socket")


def new_class(spec: WorkerSettings) -> WorkerClass:
    return WorkerClass(spec, generation=1, target=spec.workers, reason="workers of the ini")


def next_generation(cls: WorkerClass, why: str) -> WorkerClass:
    """Its workers are to be replaced one by one. If no new one comes up, it goes back to those that serve now."""
    serves = any(slot.state is State.RUNNING and slot.generation == cls.generation for slot in cls.slots)
    return replace(
        cls,
        generation=cls.generation + 1,
        rollout=why,
        back=Back(cls.generation, cls.spec) if serves else cls.back,
        rolled_back="",
        rolled_back_traceback="",
        probe_due=None,
        probe_delay_s=PROBE_FIRST_S,
    )


def reloaded(fleet: Fleet, event: Reloaded, now: float, jitter: float) -> Result:
    before, old, new = fleet, fleet.settings, event.settings
    fleet = replace(fleet, settings=new)
    actions: list[Action] = []
    for spec in new.workers:
        cls = fleet.classes.get(spec.name)
        if cls is None:
            fleet = fleet.put(new_class(spec))
            workers = f"{spec.workers} worker{'' if spec.workers == 1 else 's'}"
            actions.append(Log("info", f"{spec.name}: a new class, {workers}"))
            continue
        why = _why_replace(cls, old, new, spec, event.files)
        if why:
            cls = next_generation(cls, why)
            actions.append(Log("info", f"{spec.name}: {why}: replacing its workers one by one"))
        if cls.pin is None:
            wanted = spec.workers if cls.removed or spec.workers != cls.spec.workers else cls.target
            target = min(max(wanted, spec.min), spec.max)
            if target != cls.target:
                cls = replace(cls, target=target, reason="bounds of the ini")
        cls = replace(cls, spec=spec, removed=False, reloaded=now, rolled_back="", rolled_back_traceback="")
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
    done = changes(before, fleet, event.notes)
    actions += [*more, Log("info", "reloaded: " + done.replace("\n", "; "))]
    if event.request is not None and event.wait:
        fleet = replace(fleet, waiters=(*fleet.waiters, Waiter(event.request, "", done, rollout=True)))
    elif event.request is not None:
        actions.append(Reply(event.request, True, done))
    return fleet, actions


def conclude(fleet: Fleet, now: float) -> Result:
    """End the rollouts that have come to an end: the last old worker has gone, or a new one is FATAL."""
    actions: list[Action] = []
    for cls in list(fleet.classes.values()):
        if cls.back is None:
            continue
        serving = {s.name for s in cls.slots if s.state is State.RUNNING and s.generation == cls.back.generation}
        broken = next((s for s in cls.slots if s.state is State.FATAL and s.generation == cls.generation), None)
        if all(slot.generation == cls.generation for slot in cls.slots):
            fleet = fleet.put(replace(cls, back=None))
        elif serving and broken is not None:
            fleet, more = _roll_back(fleet, cls, cls.back, serving, broken, now)
            actions += more
    return fleet, actions


def _roll_back(fleet: Fleet, cls: WorkerClass, back: Back, serving: Set[str], broken: Slot, now: float) -> Result:
    """The old workers are the present generation again, and what else there is of the new one makes room for them."""
    name = cls.spec.name
    why = f"{cls.rollout}, and the new worker {broken.name} did not come up: {broken.last_error}"
    cls = replace(
        cls,
        generation=cls.generation + 1,
        spec=_of_master(back.spec, cls.spec),
        slots=tuple(replace(s, generation=cls.generation + 1) if s.name in serving else s for s in cls.slots),
        back=None,
        rolled_back=why,
        rolled_back_traceback=broken.traceback,
        probe_delay_s=PROBE_FIRST_S,
    )
    actions: list[Action] = [Log("error", f"{name}: {why}; rolled back, the old workers serve on")]
    waiting = []
    for waiter in fleet.waiters:
        if waiter.rollout and waiter.name in ("", name):
            actions.append(Reply(waiter.request, False, f"{name} was rolled back: {why}"))
        else:
            waiting.append(waiter)
    fleet, more = reconcile(replace(fleet, waiters=tuple(waiting)).put(cls), name, now)
    return fleet, actions + more


def _of_master(spec: WorkerSettings, new: WorkerSettings) -> WorkerSettings:
    """`spec`, with what only the master needs from `new`."""
    own: dict[str, Any] = {name: getattr(new, name) for name in _MASTERS_OWN}
    return replace(spec, **own)


def _why_replace(cls: WorkerClass, old: Settings, new: Settings, spec: WorkerSettings, now: Mapping[str, str]) -> str:
    """Why workers of the present generation are not what the ini describes; empty: they are."""
    imported = [pair for slot in cls.slots if slot.generation == cls.generation for pair in slot.files.items()]
    changed = sorted({path for path, digest in imported if now.get(path, digest) != digest})
    if changed:
        return f"its code has changed ({', '.join(changed)})"
    if cls.removed:
        return "it is back in the ini"
    if keys := _changed_keys(_of_master(cls.spec, spec), spec):
        return f"its settings have changed ({keys})"
    if [account.name for account in old.accounts] != [account.name for account in new.accounts]:
        return "there are other accounts"  # it sends by the queues of those that it knows
    if keys := _changed_keys(replace(old.amqp, management=new.amqp.management), new.amqp):
        return f"[amqp] has changed ({keys})"
    if keys := _changed_keys(old.richmond, new.richmond, _OF_WORKERS):
        return f"[richmond] has changed ({keys})"
    return ""


def _changed_keys(old: Any, new: Any, among: Collection[str] = ()) -> str:
    """Names only: some of the values are secret. `among`: the fields that matter; empty: all."""
    names = (f.name for f in fields(new) if f.name in among or not among)
    return ", ".join(key_of(name) for name in names if getattr(old, name) != getattr(new, name))


def fixed(given: Settings, running: Settings) -> tuple[Settings, tuple[str, ...]]:
    """`given`, with what cannot change while the master runs as it was; and what is to be said of that."""
    notes = []
    if keys := _changed_keys(running.richmond, given.richmond, _FIXED):
        notes.append(f"[richmond]: to change {keys} needs richmond stop and richmond start")
        same: dict[str, Any] = {name: getattr(running.richmond, name) for name in _FIXED}
        given = replace(given, richmond=replace(given.richmond, **same))
    if keys := _changed_keys(running.rabbitmq, given.rabbitmq):
        notes.append(f"[rabbitmq]: to change {keys} needs richmond stop and richmond start")
        given = replace(given, rabbitmq=running.rabbitmq)
    if keys := _changed_keys(running.otel, given.otel):
        notes.append(f"[otel]: to change {keys} needs richmond stop and richmond start")
        given = replace(given, otel=running.otel)
    return given, tuple(notes)


def _accounts(settings: Settings) -> dict[str, SsmiSettings]:
    """By section, as the ini has them: without the address of a simulator, which may be another one each time."""
    first, *others = settings.accounts
    if settings.simulator.enabled:
        first = replace(first, host="", port=0, username="", password="")
    return {account.section: account for account in (first, *others)}


def changes(before: Fleet, after: Fleet, notes: Collection[str] = ()) -> str:
    """What a reload did, or would do, for the one who asked for it."""
    lines = []
    for name in sorted({*before.classes, *after.classes}):
        old, new = before.classes.get(name), after.classes.get(name)
        if old is None or (old.removed and new is not None and not new.removed):
            count = after.classes[name].target
            lines.append(f"{name}: new, {count} worker{'' if count == 1 else 's'}")
        elif new is None or new.removed:
            if not old.removed:
                lines.append(f"{name}: removed")
        else:
            if new.generation != old.generation:
                lines.append(f"{name}: its workers are replaced one by one: {new.rollout}")
            elif keys := _changed_keys(old.spec, new.spec):
                lines.append(f"{name}: changed ({keys}), its workers stay")
            if new.target != old.target:
                lines.append(f"{name}: {old.target} -> {new.target} worker{'' if new.target == 1 else 's'}")
    for section in ("richmond", "amqp", "simulator"):
        if keys := _changed_keys(getattr(before.settings, section), getattr(after.settings, section)):
            lines.append(f"[{section}]: changed ({keys})")
    olds, news = _accounts(before.settings), _accounts(after.settings)
    for section in sorted(olds.keys() | news.keys()):
        if section not in olds or section not in news:
            lines.append(f"[{section}]: {'new' if section in news else 'removed'}")
        elif keys := _changed_keys(olds[section], news[section]):
            lines.append(f"[{section}]: changed ({keys})")
    return "\n".join([*lines, *notes]) or "nothing has changed"
