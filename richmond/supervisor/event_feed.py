"""The master's last events, and who wants to hear of the next ones: `richmond events`, hooks. Greenlets.

What has no event of its own (links, dead letters, lines that the log has lost) is looked at once a second.
Nobody is waited for: a reader whose queue is full is cut off.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import gevent
import msgspec
from gevent.queue import Full, Queue

import richmond.log
from richmond.supervisor import events, jobs, protocol
from richmond.supervisor import fleet as f
from richmond.supervisor.control import Stream
from richmond.supervisor.events import Event, LinkLook
from richmond.supervisor.report import Reporter
from richmond.supervisor.services import Services

log = logging.getLogger(__name__)

KEPT = 1000
LOOK_S = 1.0
_LOST_LINES = "lines of the log"


class EventFeed:
    """`listeners` are told of every event, and must neither block nor raise."""

    def __init__(self, services: Services, reporter: Reporter) -> None:
        self.listeners: list[Callable[[Event], None]] = []
        self._services = services
        self._reporter = reporter
        self._number = 0
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._readers: set[Queue[Event | None]] = set()
        self._watch = events.FleetWatch()
        self._bursts = events.Bursts()
        self._failed: Counter[str] = Counter()  # handlers, by class, since the last event about its dead letters
        self._links: dict[str, LinkLook] = {}
        self._node_problem = ""
        self._looking: gevent.Greenlet | None = None

    def start(self, fleet: Callable[[], f.Fleet]) -> gevent.Greenlet:
        """Returns who looks, and never ends by himself."""
        self._looking = gevent.spawn(self._look_on, fleet)
        return self._looking

    def stop(self) -> None:
        """Nothing more happens: whoever follows is told so."""
        if self._looking is not None:
            self._looking.kill()
        for reader in list(self._readers):
            self._cut_off(reader)

    def tell(self, kind: str, text: str, level: str = "info", **facts: Any) -> None:
        self._tell(events.happened(kind, text, level, **facts))

    def stepped(self, event: f.Event, before: f.Fleet, after: f.Fleet) -> None:
        """The master has decided what `event` means."""
        if isinstance(event, jobs.SpawnerDied):
            self.tell("spawner", f"the spawner has ended ({event.status}): another one fills its slots", "error")
        elif isinstance(event, jobs.Failed) and event.handler:
            self._failed[event.slot.rpartition(":")[0]] += 1
        for change in self._watch.changes(before, after):
            self._tell(change)

    def answer(self, request: protocol.Events) -> dict[str, Any] | Stream:
        """What is kept and asked for, and if it follows, each later one."""
        found = [e for e in self._kept if request.since is None or e.time >= request.since]
        if request.last is not None:
            found = found[len(found) - min(request.last, len(found)) :]
        return self._follow(found) if request.follow else _answer(found)

    def _follow(self, found: Sequence[Event]) -> Stream:
        reader: Queue[Event | None] = Queue(maxsize=KEPT)
        self._readers.add(reader)
        try:
            yield _answer(found)
            while (event := reader.get()) is not None:
                yield _answer([event])
        finally:
            self._readers.discard(reader)

    def _tell(self, event: Event) -> None:
        self._number += 1
        event = msgspec.structs.replace(event, number=self._number, time=time.time())
        self._kept.append(event)
        for reader in list(self._readers):
            try:
                reader.put_nowait(event)
            except Full:
                self._cut_off(reader)
        for listener in self.listeners:
            listener(event)

    def _cut_off(self, reader: Queue[Event | None]) -> None:
        self._readers.discard(reader)
        if reader.full():
            reader.get_nowait()
        reader.put_nowait(None)

    def _look_on(self, fleet: Callable[[], f.Fleet]) -> None:
        while True:
            try:
                self._look(fleet())
            except Exception:  # meant: a mistake here must not end it
                log.exception("events cannot be looked for")
            gevent.sleep(LOOK_S)

    def _look(self, fleet: f.Fleet) -> None:
        now = time.monotonic()
        grown: Counter[tuple[str, str]] = Counter({(_LOST_LINES, ""): richmond.log.dropped()})
        broker = self._services.broker
        if broker is not None:
            facts = broker.status()
            looks = {
                "gateway" if len(facts.accounts) == 1 else f"gateway {account.name}": account.link
                for account in facts.accounts
            }
            looks["rabbitmq"] = facts.amqp
            links = {name: LinkLook(link.state, link.since, link.error) for name, link in looks.items()}
            for event in events.links(self._links, links):
                self._tell(event)
            self._links = links
            for key, count in facts.counters.items():
                what, colon, reason = key.partition(":")
                if colon and what in ("refused", "sms-refused"):
                    grown["replies" if what == "refused" else "SMS to send", reason] += count
            grown["SMS", "no-route"] += facts.counters.get("dead-lettered", 0)
        for name, totals in self._reporter.count(fleet).items():
            grown[name, ""] = totals.dead_lettered
        for what, reason, more in self._bursts.grown(grown, now):
            self._tell_burst(what, reason, more)
        self._look_at_node()

    def _tell_burst(self, what: str, reason: str, more: int) -> None:
        if what == _LOST_LINES:
            self.tell("log", f"{more} {_LOST_LINES} are lost", "warning", count=more)
            return
        if not reason and self._failed.pop(what, 0) >= more:
            reason = "handler-failed"
        text = f"{what}: {more} dead letter{'' if more == 1 else 's'}{f': {reason}' if reason else ''}"
        self.tell("dead-letters", text, "warning", name=what, reason=reason or None, count=more)

    def _look_at_node(self) -> None:
        before, self._node_problem = self._node_problem, self._services.node_problem
        if before != self._node_problem:
            text = self._node_problem or "the private RabbitMQ node runs again"
            self.tell("node", text, "error" if self._node_problem else "info")


def _answer(found: Sequence[Event]) -> dict[str, Any]:
    return {"ok": True, "events": [events.to_dict(event) for event in found]}
