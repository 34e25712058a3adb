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

from richmond.durations import NONE, Durations


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
    is_default: bool = False  # it takes the USSD that no other class does
    short_codes: tuple[str, ...] = ()  # whose premium SMS it takes
    keywords: tuple[str, ...] = ()  # with which SMS for it begin
    sms: bool = False  # it takes the SMS that no other class does
    accounts: tuple[str, ...] = ()  # of which it takes messages; none: of all
    waited: Durations = NONE  # messages, from the gateway's socket to the handler, while this master runs
    took: Durations = NONE  # handlers, while this master runs
    dead_by_reason: dict[str, int] = {}  # of the dead letters, while this master runs
    spans: int = 0  # that its workers exported ([otel]), while this master runs
    spans_dropped: int = 0


class Queue(msgspec.Struct, frozen=True):
    name: str
    purpose: str  # the class that takes from it, "replies", "SMS to send", either of an account, or "dead letters"
    ready: int | None  # None: RabbitMQ does not answer
    unacked: int | None  # with our own workers or broker
    in_rate: float | None  # messages/s between the last two samples
    out_rate: float | None
    consumers: int | None
    unacked_anywhere: int | None = None  # with others too, some seconds ago; None: no management API tells


class Throttled(msgspec.Struct, frozen=True):
    """Messages that wait because their account's rate is used up."""

    kind: str  # ussd or sms
    waiting: int
    since: float
    per_second: float  # the rate


class Link(msgspec.Struct, frozen=True):
    name: str  # gateway, "gateway NAME" where there are several accounts, or rabbitmq
    address: str
    state: str
    since: float
    last_error: str
    throttled: tuple[Throttled, ...] = ()
    unread: str = ""  # why nothing is read from the gateway, if that may last


class Journal(msgspec.Struct, frozen=True):
    """What was read from gateways and is no USSD, until RabbitMQ has it."""

    entries: int = 0  # on the disk
    oldest: float | None = None  # when it was read; null: there is none
    kept: int = 0  # in memory, since the disk takes nothing


class Messages(msgspec.Struct, frozen=True):
    """What became of the messages for workers since the installation's first start: USSD, SMS that a class takes, and
    what the gateway says of what was sent.

        received = answered + unanswered + dead_lettered + refused + waiting

    True whenever nothing is on its way. A crash may make a message count twice on the right, once for each time that
    it was handled: the right side is then larger by at most `repeated`. A master killed with -9 forgets what it and
    its workers have counted since the last sample.
    """

    received: int = 0
    answered: int = 0  # by a worker; of USSD also by the broker, with the next page
    unanswered: int = 0  # by choice of the worker
    dead_lettered: int = 0
    refused: int = 0  # by the broker: it sent the apology, or nobody was there to read one
    waiting: int | None = 0  # in a queue, in a worker's hands or on the way to RabbitMQ; None: RabbitMQ does not answer
    repeated: int = 0  # delivered again to workers, or sent again to RabbitMQ


class Sms(msgspec.Struct, frozen=True):
    """What became of SMS since the installation's first start. From subscribers:

        received = published + dead_lettered + lost + waiting

    and to them, with WAP pushes, MMS and look-ups:

        taken = sent + refused + to_send
    """

    received: int = 0
    published: int = 0
    dead_lettered: int = 0  # no queue takes them
    lost: int = 0  # at a stop, with RabbitMQ away and the disk full
    waiting: int = 0  # for RabbitMQ, in this process; what an earlier one has left is in the journal only
    taken: int = 0
    sent: int = 0
    refused: int = 0  # dead letters, or void: with the reason in their headers
    to_send: int = 0  # in hand; more may be in the queues
    throttled: int = 0  # of these, for want of a token


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
    log_lines_dropped: int  # since this master's start
    last_reload_error: str
    private_node_problem: str = ""  # why it does not run
    messages: Messages = Messages()
    sms: Sms = Sms()
    journal: Journal = Journal()
    opt_outs: int = 0  # subscribers who have asked for no more SMS
    spans: int = 0  # that the broker exported ([otel]), while this master runs
    spans_dropped: int = 0
    management_problem: str = ""  # why the management API does not tell anything
    end_to_end: Durations = NONE  # USSD, from the gateway's socket to the reply there, while this master runs
    hook_events_dropped: int = 0  # since this master's start: too many waited for on-event or on-fatal
    web: str = ""  # the dashboard's address; empty: there is none
    web_problem: str = ""  # why there is none although there should be
    problems: tuple[str, ...] = ()  # what is wrong, in plain words; none: healthy
    warnings: tuple[str, ...] = ()  # what waits for somebody's decision, and stops no service


REPLIES = "replies"
SMS_TO_SEND = "SMS to send"
SMS_KINDS = ("sms", "premium-sms", "binary-sms", "premium-binary-sms")
DEAD_LETTERS = "dead letters"
_GOOD_LINKS = ("up", "off")


def judged(snapshot: Snapshot) -> Snapshot:
    """With its problems and warnings."""
    return msgspec.structs.replace(snapshot, problems=tuple(_problems(snapshot)), warnings=tuple(_warnings(snapshot)))


def counted(snapshot: Snapshot, classes: Mapping[str, Mapping[str, int]]) -> Snapshot:
    """With its `messages` and `sms`. `classes`: the counters of every class that there ever was."""
    done: Counter[str] = Counter()
    for counters in classes.values():
        done.update(counters)
    ours = {cls.queue for cls in snapshot.classes}
    depths = [(queue.ready, queue.unacked or 0) for queue in snapshot.queues if queue.name in ours]
    broker = Counter(snapshot.counters)
    messages = Messages(
        received=broker["ussd"] + broker["routed"],
        answered=done["answered"] + broker["paged"],
        unanswered=done["unanswered"],
        dead_lettered=done["dead_lettered"] - done["retried"],
        refused=broker["ussd-refused"],
        waiting=None
        if any(ready is None for ready, _ in depths)
        else broker["ussd-waiting"] + sum((ready or 0) + unacked for ready, unacked in depths),
        repeated=done["redelivered"] + broker["repeated"],
    )
    sms = Sms(
        received=broker["sms"],
        published=sum(broker[f"published:{kind}"] for kind in SMS_KINDS),
        dead_lettered=broker["dead-lettered"],
        lost=broker["sms-dropped"],
        waiting=broker["sms-waiting"],
        taken=broker["sms-taken"] - broker["sms-returned"] - broker["sms-repeated"],
        sent=broker["sms-sent"],
        refused=broker["sms-refused"],
        to_send=broker["sms-held"],
        throttled=sum(t.waiting for link in snapshot.links for t in link.throttled if t.kind == "sms"),
    )
    return msgspec.structs.replace(snapshot, messages=messages, sms=sms)


def takes(cls: WorkerClass) -> str:
    """What messages a class gets, in a few words."""
    sms = [f"SMS to {', '.join(cls.short_codes)}"] if cls.short_codes and not cls.keywords else []
    if cls.keywords:
        to = f" to {', '.join(cls.short_codes)}" if cls.short_codes else ""
        sms = [f"SMS {', '.join(cls.keywords)}{to}"]
    if cls.sms:
        sms.append("other SMS" if sms else "SMS")
    ussd = [", ".join(cls.codes)] if cls.codes else ["the rest"] if cls.is_default else []
    of = f" (account {', '.join(cls.accounts)})" if cls.accounts else ""
    return "; ".join(ussd + sms) + of


def healthy(snapshot: Snapshot) -> bool:
    return not snapshot.problems


def link_problem(link: Link) -> str:
    """What is wrong with it; empty: nothing."""
    if link.state not in _GOOD_LINKS:
        why = f": {link.last_error}" if link.last_error else ""
        return f"{link.name} {link.address} is {link.state}{why}"
    return f"{link.name} {link.address} is not read: {link.unread}" if link.unread else ""


def _problems(snapshot: Snapshot) -> Iterator[str]:
    """What an operator who is woken at night has to know first."""
    if snapshot.phase != "running":
        yield f"richmond is {snapshot.phase}"
    if snapshot.private_node_problem:
        yield snapshot.private_node_problem
    if not snapshot.phase.startswith("starting"):
        for link in snapshot.links:
            if problem := link_problem(link):
                yield problem if link.state not in _GOOD_LINKS else f"{problem}; make room on the disk"
        yield from _silence(snapshot)
        for cls in snapshot.classes:
            yield from _problems_of(cls)
    if snapshot.last_reload_error:
        yield f"the ini was not taken over: {snapshot.last_reload_error}"


def _warnings(snapshot: Snapshot) -> Iterator[str]:
    """What is over, and may matter to somebody."""
    for queue in snapshot.queues:
        if queue.purpose == DEAD_LETTERS and queue.ready:
            yield f"dead letters in {queue.name}: {queue.ready}; see richmond dead list"
    if snapshot.web_problem:
        yield snapshot.web_problem
    if snapshot.management_problem:
        yield f"{snapshot.management_problem}; Richmond goes on without it"
    if snapshot.log_lines_dropped:
        yield f"{snapshot.log_lines_dropped} log lines could not be written since the start; the log says why"
    if snapshot.hook_events_dropped:
        yield f"{snapshot.hook_events_dropped} events have not reached their hooks since the start: these take too long"


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
            yield f"{cls.name}: no worker runs: {_who_waits(cls)}"


def _who_waits(cls: WorkerClass) -> str:
    if cls.codes or cls.is_default:
        return f"who dials {', '.join(cls.codes) or 'a code that no other class has'} gets no answer"
    return f"its SMS wait in {cls.queue}"


def to_dict(snapshot: Snapshot) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(snapshot)
    return built


def from_dict(data: dict[str, Any]) -> Snapshot:
    return msgspec.convert(data, Snapshot)
