"""The master's state for its log, on SIGUSR2: fleet, links, inbox, and where each greenlet stands. No secret, no text.

Greenlets are shown by what they run and their stack, never by their arguments: these may hold a subscriber's message.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from types import FrameType

import gevent
from greenlet import greenlet

from richmond.supervisor.fleet import Fleet
from richmond.supervisor.services import Services

MOST_STACKS = 100  # different ones


def dump(fleet: Fleet, services: Services, inbox: int) -> Iterator[str]:
    """Texts, each for a record of its own. `inbox`: how many events wait."""
    now = time.monotonic()
    phase = "stopping" if fleet.stopping else "running" if fleet.started else services.step or "starting"
    facts = f"state: {phase}, {inbox} events in the inbox, {len(fleet.waiters)} requests wait for a class to settle"
    if not fleet.amqp_up:
        facts += ", RabbitMQ is away"
    yield "\n".join([facts, *_links(services), *_fleet(fleet, now)])
    yield from _greenlets()
    yield from _threads()


def _links(services: Services) -> Iterator[str]:
    broker = services.broker
    if broker is None:
        yield "no broker"
        return
    facts = broker.status()
    for account in facts.accounts:
        busy = [f"{name} {n}" for name in ("waiting", "held", "sms-held") if (n := account.counters.get(name, 0))]
        way = ", ".join(busy) or "nothing on its way"
        yield f"gateway {account.name} {account.address}: {account.link.state}, {account.sessions} sessions, {way}"
    yield f"rabbitmq: {facts.amqp.state}"


def _fleet(fleet: Fleet, now: float) -> Iterator[str]:
    for name, cls in fleet.classes.items():
        pinned = f", pinned at {cls.pin}" if cls.pin is not None else ""
        yield f"{name}: target {cls.target} ({cls.reason}{pinned}), generation {cls.generation}"
        for slot in cls.slots:
            due = f", due in {slot.due - now:.1f} s" if slot.due is not None else ""
            facts = f"row {slot.row}, generation {slot.generation}, crashes {slot.crashes}, stable {slot.stable}{due}"
            yield f"  {slot.name} {slot.state} for {now - slot.since:.1f} s, pid {slot.pid}, {facts}"


def _greenlets() -> Iterator[str]:
    """Once for all that stand at the same place."""
    me = gevent.getcurrent()
    frozen = gc.get_freeze_count()
    if frozen:
        gc.unfreeze()  # else the collector, who knows them all, does not tell
    found: Counter[tuple[str, str]] = Counter()
    for each in gc.get_objects():
        if isinstance(each, greenlet) and each is not me and not each.dead and each.gr_frame is not None:
            found[_name(each), _stack(each.gr_frame)] += 1
    if frozen:
        gc.collect()
        gc.freeze()
    yield f"{found.total()} greenlets"
    for (name, stack), count in found.most_common(MOST_STACKS):
        yield f"{count} x {name}\n{stack}"


def _name(each: greenlet) -> str:
    run = getattr(each, "_run", None) or getattr(each, "run", None)
    return str(getattr(run, "__qualname__", type(each).__name__))


def _threads() -> Iterator[str]:
    mine = threading.get_ident()
    for number, frame in sys._current_frames().items():
        if number != mine:
            yield f"thread {number}\n{_stack(frame)}"


def _stack(frame: FrameType) -> str:
    return "".join(traceback.format_stack(frame)).rstrip()
