"""What is worth a line of `richmond events`: each change of state once, with its reason. No I/O.

A change is found by comparing two fleets, or two looks at links and counters, so that nothing that decides has to
report. As JSON (`richmond events --json`, hooks):

    {"number": 17, "time": 1790000000.0, "kind": "crash", "level": "warning", "class": "EchoWorker",
     "slot": "EchoWorker:0", "pid": 4711, "from": "RUNNING", "to": "STARTING", "reason": "killed by SIGKILL",
     "text": "EchoWorker:0 (pid 4711) RUNNING -> STARTING: killed by SIGKILL"}

`number`, `time` (Unix seconds), `kind`, `level` and `text` are there always; the others where they mean something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from richmond.supervisor.fleet import Fleet, WorkerClass
from richmond.supervisor.lifecycle import Slot, State

KINDS = {
    "master": "it starts, is up, stops",
    "spawner": "it died, and another one forks the workers",
    "slot": "a worker's state has changed as planned",
    "crash": "a worker ended unexpectedly",
    "hung": "a worker makes no progress and is ended",
    "recycled": "a worker has reached one of its limits and is replaced",
    "fatal": "a class keeps failing, in part or as a whole",
    "recovered": "a class that was FATAL works again",
    "scale": "the wanted number of workers has changed, with the reason",
    "rollout": "a class's workers are replaced one by one",
    "rollback": "the new ones did not come up: the old ones serve on",
    "class": "a class is new, or no longer in the ini",
    "reload": "the ini was taken over, or not, with the reason",
    "link": "the link to a gateway or to RabbitMQ has changed",
    "node": "the private RabbitMQ node died, or is back",
    "dead-letters": "messages went to the dead-letter queue, by reason, the first at once and then in bursts",
    "log": "lines of the log were lost",
}
BURST_S = 10.0  # what goes on and on is told so often, with how much it was
_FINE = ("up", "off", "gone", "connecting", "logging-in", "starting", "stopped", "closed")


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    number: int = 0  # from 1 on, in this master's life
    time: float = 0.0
    kind: str
    level: str  # info, warning or error
    text: str
    worker: str | None = msgspec.field(name="class", default=None)
    slot: str | None = None
    pid: int | None = None
    before: str | int | None = msgspec.field(name="from", default=None)
    after: str | int | None = msgspec.field(name="to", default=None)
    reason: str | None = None
    count: int | None = None
    name: str | None = None  # of a link, or of what a burst is of


def to_json(event: Event) -> bytes:
    return msgspec.json.encode(event)


def to_dict(event: Event) -> dict[str, object]:
    built: dict[str, object] = msgspec.to_builtins(event)
    return built


def from_dict(data: object) -> Event:
    return msgspec.convert(data, Event)


def to_text(event: Event) -> str:
    when = datetime.fromtimestamp(event.time).isoformat(" ", "milliseconds")
    text = event.text.replace("\n", "; ")
    return f"{when} {event.level.upper():<7} {event.kind:<12} {text}"


def happened(kind: str, text: str, level: str = "info", **facts: object) -> Event:
    return msgspec.convert({"kind": kind, "level": level, "text": text, **facts}, Event)


class FleetWatch:
    """Compares fleets. It knows which classes it has called FATAL, so that probes that fail are not told again."""

    def __init__(self) -> None:
        self._fatal: dict[str, int] = {}

    def changes(self, before: Fleet, after: Fleet) -> Iterator[Event]:
        if before.classes is after.classes:
            return
        for name in {**before.classes, **after.classes}:
            old, new = before.classes.get(name), after.classes.get(name)
            if old is new:
                continue
            if new is None:
                assert old is not None
                yield from _slots(name, old.slots, ())
                self._fatal.pop(name, None)
                continue
            yield from _plans(name, old, new)
            yield from _slots(name, old.slots if old else (), new.slots)
            yield from self._health(name, new)

    def _health(self, name: str, cls: WorkerClass) -> Iterator[Event]:
        fatal, running = cls.count(State.FATAL), cls.count(State.RUNNING)
        told = self._fatal.get(name, 0)
        found = 0 if not fatal else 1 if running else 2
        if found > told:
            self._fatal[name] = found
            why = next(slot.last_error for slot in cls.slots if slot.state is State.FATAL)
            serving = f"{running} still run" if running else "no worker runs"
            text = f"{name}: {fatal} of {cls.target} workers {'is' if fatal == 1 else 'are'} FATAL, {serving}: {why}"
            yield Event(kind="fatal", level="error", text=text, worker=name, reason=why, count=running)
        elif told and not fatal and any(s.state is State.RUNNING and not s.crashes for s in cls.slots):
            del self._fatal[name]
            yield Event(kind="recovered", level="info", text=f"{name}: it works again", worker=name)


def _plans(name: str, old: WorkerClass | None, new: WorkerClass) -> Iterator[Event]:
    if old is None:
        yield Event(kind="class", level="info", text=f"{name}: a new class", worker=name)
        return
    if new.removed and not old.removed:
        yield Event(kind="class", level="info", text=f"{name}: no longer in the ini", worker=name)
    elif new.target != old.target:
        text = f"{name}: {old.target} -> {new.target} worker{'' if new.target == 1 else 's'}: {new.reason}"
        yield Event(
            kind="scale", level="info", text=text, worker=name, before=old.target, after=new.target, reason=new.reason
        )
    if new.rolled_back and not old.rolled_back:
        text = f"{name}: rolled back: {new.rolled_back}"
        yield Event(kind="rollback", level="error", text=text, worker=name, reason=new.rolled_back)
    elif new.generation != old.generation:
        why = new.rollout
        text = f"{name}: its workers are replaced one by one: {why}"
        count = sum(slot.generation < new.generation for slot in new.slots)
        yield Event(kind="rollout", level="info", text=text, worker=name, reason=why, count=count)


def _slots(name: str, old: tuple[Slot, ...], new: tuple[Slot, ...]) -> Iterator[Event]:
    before = {slot.name: slot for slot in old}
    after = {slot.name: slot for slot in new}
    for key in {**before, **after}:
        was, now = before.get(key), after.get(key)
        if was is now:
            continue
        if was is not None and (now is None or (was.state is State.STOPPING and now.state is not State.STOPPING)):
            yield _moved(name, was, was.state, State.STOPPED)  # and another one may have its place already
            was = None
        if now is None:
            continue
        if now.doomed and not (was and was.doomed) and now.state in (State.RUNNING, State.STARTING):
            text = f"{key} (pid {now.pid}): {now.doomed}; it is ended"
            yield Event(kind="hung", level="warning", text=text, worker=name, slot=key, pid=now.pid, reason=now.doomed)
        if was and was.state is now.state is State.STOPPING and now.doomed and not was.doomed:
            text = f"{key} (pid {now.pid}) is killed while it drains: {now.doomed}"
            yield Event(
                kind="recycled", level="warning", text=text, worker=name, slot=key, pid=now.pid, reason=now.doomed
            )
        if now.leaving and not (was and was.leaving):
            text = f"{key} (pid {now.pid}) is to be replaced: {now.leaving}"
            yield Event(
                kind="recycled", level="info", text=text, worker=name, slot=key, pid=now.pid, reason=now.leaving
            )
        if was is not None and now.crashes > was.crashes:
            level = "error" if now.state is State.FATAL else "warning"
            yield _moved(name, was, was.state, now.state, "crash", level, now.last_error)
        elif now.state is not (was.state if was else State.STOPPED):
            yield _moved(name, now, was.state if was else State.STOPPED, now.state)


def _moved(
    name: str,
    slot: Slot,
    before: State,
    after: State,
    kind: str = "slot",
    level: str = "info",
    reason: str | None = None,
) -> Event:
    pid = f" (pid {slot.pid})" if slot.pid is not None else ""
    text = f"{slot.name}{pid} {before} -> {after}{f': {reason}' if reason else ''}"
    return Event(
        kind=kind, level=level, text=text, worker=name, slot=slot.name, pid=slot.pid, before=str(before),
        after=str(after), reason=reason,
    )  # fmt: skip


class LinkLook(msgspec.Struct, frozen=True):
    """One link as it was seen. `since`: Unix seconds."""

    state: str
    since: float
    error: str = ""


def links(before: Mapping[str, LinkLook], after: Mapping[str, LinkLook]) -> Iterator[Event]:
    """Between two looks a link may have gone and come back: its `since` tells."""
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        was, now = old.state if old else "starting", new.state if new else "gone"
        again = old is not None and new is not None and new.since > old.since + 0.5 and was == now
        if was == now and not again:
            continue
        bad = now not in _FINE
        why = new.error if new and (bad or again) else ""
        text = f"{name}: {was} -> {now}{', after it was away' if again else ''}{f': {why}' if why else ''}"
        yield Event(
            kind="link", level="warning" if bad or again else "info", text=text, name=name, before=was, after=now,
            reason=why or None,
        )  # fmt: skip


class Bursts:
    """Counters that grow -> events: the first at once, what follows within `BURST_S` together."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str]] | None = None
        self._due: dict[tuple[str, str], float] = {}

    def grown(self, counters: Mapping[tuple[str, str], int], now: float) -> Iterator[tuple[str, str, int]]:
        """What, why and how many more. `counters`: by what and why; the first look tells nothing. `now`: monotonic."""
        if self._seen is None:
            self._seen = Counter(counters)
            return
        for key, count in counters.items():
            more = count - self._seen[key]
            if more < 0:  # it counts anew
                self._seen[key] = count
            elif more and now >= self._due.get(key, now):
                self._seen[key] = count
                self._due[key] = now + BURST_S
                yield (*key, more)
