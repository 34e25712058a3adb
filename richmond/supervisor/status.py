"""One Snapshot of the whole: `richmond status`, its --json and the web serve from it. No I/O.

`richmond status --json` prints a Snapshot as one object, its fields under their names below. Fields may be added, none
is renamed or removed. Durations are seconds, sizes bytes, times (`started`, `since`) Unix seconds; null is what cannot
be known now. Where no master answers, the object has `phase` ("stopped", "dead" with a pid file left behind, or
"silent"), `problems` and `warnings` only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec


class Slot(msgspec.Struct, frozen=True):
    name: str
    state: str
    pid: int | None
    uptime_s: float  # in this state
    cpu_percent: float | None  # of one core, since the status before
    memory_bytes: int | None  # resident
    handled: int  # by this process
    failed: int
    generation: int
    crashes: int  # in a row
    last_error: str  # why its last process died, or its last message failed
    traceback: str  # of last_error, if there was one
    leaving: str = ""  # why a fresh worker takes its place


class WorkerClass(msgspec.Struct, frozen=True):
    name: str
    class_path: str
    queue: str
    codes: tuple[str, ...]
    target: int
    running: int
    min: int
    max: int
    pinned: bool
    reason: str  # of the target
    handled: int  # by all processes that it ever had, while this master runs
    failed: int
    slots: tuple[Slot, ...]
    answered: int = 0  # messages acknowledged, since the installation's first start: each one of these three
    unanswered: int = 0  # handled without a reply
    dead_lettered: int = 0
    redelivered: int = 0  # of those, delivered before, by RabbitMQ's word: they may have been counted then too
    recycled: int = 0  # workers replaced for their age, their work or their memory, while this master runs
    last_recycled: str = ""  # which one, and why
    rolled_back: str = ""  # why the last reload was, until the next one
    rolled_back_traceback: str = ""


class Queue(msgspec.Struct, frozen=True):
    name: str
    purpose: str  # the class that takes from it, or "replies", or "dead letters"
    ready: int | None  # None: RabbitMQ does not answer
    unacked: int | None  # with our own workers or broker
    in_rate: float | None  # messages/s between the last two samples
    out_rate: float | None
    consumers: int | None


class Link(msgspec.Struct, frozen=True):
    name: str  # gateway or rabbitmq
    address: str
    state: str
    since: float
    last_error: str


class Messages(msgspec.Struct, frozen=True):
    """What became of the subscribers' messages since the installation's first start:

        received = answered + unanswered + dead_lettered + refused + waiting

    True whenever nothing is on its way. A crash may make a message count twice on the right, once for each time that
    it was handled: the right side is then larger by at most `repeated`. A master killed with -9 forgets what it and
    its workers have counted since the last sample.
    """

    received: int = 0
    answered: int = 0
    unanswered: int = 0  # by choice of the worker
    dead_lettered: int = 0
    refused: int = 0  # by the broker: it sent the apology, or nobody was there to read one
    waiting: int | None = 0  # in a queue, in a worker's hands or on the way to RabbitMQ; None: RabbitMQ does not answer
    repeated: int = 0  # delivered again to workers, or sent again to RabbitMQ


class Snapshot(msgspec.Struct, frozen=True):
    version: str
    pid: int
    ini: str
    phase: str  # "starting", or what that is about, such as "starting the private RabbitMQ node"; "running", "stopping"
    started: float
    links: tuple[Link, ...]
    classes: tuple[WorkerClass, ...]
    queues: tuple[Queue, ...]
    counters: dict[str, int]  # of the broker
    simulator: str  # its address; empty: a real gateway
    private_node: str  # its address; empty: your RabbitMQ
    log_lines_dropped: int
    last_reload_error: str
    private_node_problem: str = ""  # why it does not run
    messages: Messages = Messages()
    problems: tuple[str, ...] = ()  # what is wrong, in plain words; none: healthy
    warnings: tuple[str, ...] = ()  # what waits for somebody's decision, and stops no service


REPLIES = "replies"
DEAD_LETTERS = "dead letters"
_GOOD_LINKS = ("up", "off")


def judged(snapshot: Snapshot) -> Snapshot:
    """With its problems and warnings."""
    warnings = [
        f"dead letters in {queue.name}: {queue.ready}; their header x-richmond-reason says why"
        for queue in snapshot.queues
        if queue.purpose == DEAD_LETTERS and queue.ready
    ]
    return msgspec.structs.replace(snapshot, problems=tuple(_problems(snapshot)), warnings=tuple(warnings))


def counted(snapshot: Snapshot, classes: Mapping[str, Mapping[str, int]]) -> Snapshot:
    """With its `messages`. `classes`: the counters of every class that there ever was."""
    done: Counter[str] = Counter()
    for counters in classes.values():
        done.update(counters)
    ours = {cls.queue for cls in snapshot.classes}
    depths = [(queue.ready, queue.unacked or 0) for queue in snapshot.queues if queue.name in ours]
    broker = Counter(snapshot.counters)
    messages = Messages(
        received=broker["ussd"],
        answered=done["answered"],
        unanswered=done["unanswered"],
        dead_lettered=done["dead_lettered"],
        refused=broker["ussd-refused"],
        waiting=None
        if any(ready is None for ready, _ in depths)
        else broker["ussd-waiting"] + sum((ready or 0) + unacked for ready, unacked in depths),
        repeated=done["redelivered"] + broker["repeated"],
    )
    return msgspec.structs.replace(snapshot, messages=messages)


def healthy(snapshot: Snapshot) -> bool:
    return not snapshot.problems


def _problems(snapshot: Snapshot) -> Iterator[str]:
    """What an operator who is woken at night has to know first."""
    if snapshot.phase != "running":
        yield f"richmond is {snapshot.phase}"
    if snapshot.private_node_problem:
        yield snapshot.private_node_problem
    if not snapshot.phase.startswith("starting"):
        for link in snapshot.links:
            if link.state not in _GOOD_LINKS:
                why = f": {link.last_error}" if link.last_error else ""
                yield f"{link.name} {link.address} is {link.state}{why}"
        yield from _silence(snapshot)
        for cls in snapshot.classes:
            yield from _problems_of(cls)
    if snapshot.last_reload_error:
        yield f"the ini was not taken over: {snapshot.last_reload_error}"
    if snapshot.log_lines_dropped:
        yield f"{snapshot.log_lines_dropped} log lines could not be written"


def _silence(snapshot: Snapshot) -> Iterator[str]:
    connected = any(link.name == "rabbitmq" and link.state in ("up", "blocked") for link in snapshot.links)
    if connected and all(queue.ready is None for queue in snapshot.queues):
        yield "rabbitmq is connected, but does not answer how long the queues are: does it hang?"


def _problems_of(cls: WorkerClass) -> Iterator[str]:
    """One line for all slots that fail in the same way."""
    if cls.rolled_back:
        yield f"{cls.name}: {cls.rolled_back}; rolled back, the old workers serve on"
    failing = Counter((slot.state, slot.last_error) for slot in cls.slots if slot.state in ("FATAL", "BACKOFF"))
    for (state, why), count in failing.items():
        yield f"{cls.name}: {count} of {cls.target} workers {'is' if count == 1 else 'are'} {state}: {why}"
    if cls.running < min(cls.min, cls.target):  # pinned below its min is what the operator wants
        if cls.running:
            yield f"{cls.name}: only {cls.running} of {cls.target} workers run"
        else:
            codes = ", ".join(cls.codes) or "a code that no other class has"
            yield f"{cls.name}: no worker runs: who dials {codes} gets no answer"


def to_dict(snapshot: Snapshot) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(snapshot)
    return built


def from_dict(data: dict[str, Any]) -> Snapshot:
    return msgspec.convert(data, Snapshot)
