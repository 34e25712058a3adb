"""Puts the facts of fleet, services, queues and processes together: samples for the policy, a Snapshot for people."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import gevent

import richmond
import richmond.log
from richmond.amqp.topology import send_queues
from richmond.broker_status import BrokerStatus, JournalStatus
from richmond.durations import NONE
from richmond.errors import AMQPError
from richmond.scoreboard import DEAD_REASONS, Scoreboard
from richmond.settings import AmqpSettings, Settings
from richmond.supervisor import fleet as f
from richmond.supervisor import management, policy, status
from richmond.supervisor.host import Host
from richmond.supervisor.lifecycle import Slot, State
from richmond.supervisor.metrics import Counts, Processes, Totals
from richmond.supervisor.services import Services
from richmond.supervisor.totals import Totals as Kept
from richmond.supervisor.totals import TotalsFile

log = logging.getLogger(__name__)

SAMPLE_TIMEOUT_S = 3.0
SNAPSHOT_TIMEOUT_S = 1.0  # somebody waits for the answer, most of all when RabbitMQ hangs


@dataclass(frozen=True, slots=True)
class _Queue:
    """One look at a queue. None: RabbitMQ does not say, or it is none of ours to know."""

    purpose: str
    ready: int | None
    consumers: int | None
    unacked: int | None
    taken: int | None  # messages out of it for good, so far; only grows


class Reporter:
    """`settings` and `last_reload_error` are kept up to date by the master."""

    def __init__(self, settings: Settings, board: Scoreboard, services: Services) -> None:
        self.settings = settings
        self.last_reload_error = ""
        self.hook_events_dropped: Callable[[], int] = lambda: 0
        self.web: Callable[[], tuple[str, str]] = lambda: ("", "")  # its address, and why it has none
        self._services = services
        self._counts = Counts(board)
        self._file = TotalsFile(settings.richmond.directory / "totals.json")
        self._processes = Processes()
        self._host = Host()
        self._told: dict[str, management.QueueFacts] = {}  # by the management API, at the last sample
        self._management_problem = ""
        self._asking: gevent.Greenlet | None = None
        self._started = time.time()
        self._looks: list[tuple[float, dict[str, _Queue]]] = []  # the last two samples, for the rates

    def restore(self) -> None:
        """Count on from where the last master ended. Once this one is the only one, and before anything is counted."""
        kept = self._file.load()
        self._services.totals = kept.broker
        self._counts.restore(kept.classes)

    def save(self, fleet: f.Fleet) -> None:
        self.count(fleet)
        broker = self._services.broker
        totals = broker.totals() if broker is not None else self._services.totals
        self._file.save(Kept(totals, self._counts.keep()))

    def count(self, fleet: f.Fleet) -> dict[str, Totals]:
        """What each class has done so far."""
        now = time.monotonic()
        return {
            name: self._counts.read(name, {s.row: s.pid for s in c.slots}, now) for name, c in fleet.classes.items()
        }

    def held(self, fleet: f.Fleet) -> dict[str, int]:
        """Slot -> messages that its worker has, the one in hand too."""
        rows = ((s, self._counts.row(s.row)) for c in fleet.classes.values() for s in c.slots if s.pid is not None)
        return {s.name: r.waiting + (r.began_at is not None) for s, r in rows if r.pid == s.pid}

    def counters(self) -> dict[str, int]:
        """The broker's."""
        broker = self._services.broker
        return broker.status().counters if broker is not None else {}

    def depths(self) -> dict[str, int | None]:
        """Queue -> messages ready, at the last sample: RabbitMQ is not asked."""
        return {name: queue.ready for name, queue in self._looks[-1][1].items()} if self._looks else {}

    def sample(self, fleet: f.Fleet) -> dict[str, policy.Sample]:
        """One reading of each class for the policy; empty while RabbitMQ does not answer."""
        self.save(fleet)
        queues = self._look(fleet, SAMPLE_TIMEOUT_S)
        now = time.monotonic()
        self._looks = [*self._looks[-1:], (now, queues)]
        if self._asking is None or self._asking.dead:  # nobody waits for it
            self._asking = gevent.spawn(self._ask_management, fleet.settings.amqp)
        left = self._host.look(
            {n: [s.pid for s in c.slots if s.pid and s.state is State.RUNNING] for n, c in fleet.classes.items()}
        )
        found = {}
        for name, totals in self.count(fleet).items():
            cls = fleet.classes[name]
            queue = queues.get(cls.spec.queue)
            if queue is not None and queue.ready is not None:
                found[name] = policy.Sample(
                    now,
                    queue.ready,
                    totals.unacked,
                    totals.handled + totals.failed,
                    totals.busy_s,
                    cls.target,
                    running=cls.count(State.RUNNING),
                    starting=cls.count(State.STARTING),
                    consumers=queue.consumers,
                    memory_free=left.memory_free,
                    worker_bytes=left.uses[name].worker_bytes,
                    cpu=left.cpu,
                    workers_cpu=left.uses[name].cpu,
                )
        return found

    def _ask_management(self, amqp: AmqpSettings) -> None:
        problem, told = "", dict[str, management.QueueFacts]()
        if amqp.management:
            try:
                told = management.ask(amqp)
            except AMQPError as e:
                problem = str(e)
        self._told = told
        if problem and not self._management_problem:
            log.warning("%s", problem)
        self._management_problem = problem

    def snapshot(self, fleet: f.Fleet) -> status.Snapshot:
        settings = fleet.settings
        broker = self._services.broker
        facts = broker.status() if broker is not None else None
        web, web_problem = self.web()
        journal = facts.journal if facts is not None else JournalStatus(0, None, 0)
        snapshot = status.Snapshot(
            version=richmond.__version__,
            pid=os.getpid(),
            ini=str(settings.path),
            phase="stopping" if fleet.stopping else "running" if fleet.started else self._services.step or "starting",
            started=self._started,
            links=tuple(self._links(settings, facts)),
            classes=tuple(self._classes(fleet)),
            queues=tuple(self._queues(fleet)),
            counters=dict(facts.counters) if facts is not None else {},
            simulator=self._services.simulator_address,
            private_node=self._services.node_address,
            log_lines_dropped=richmond.log.dropped(),
            hook_events_dropped=self.hook_events_dropped(),
            web=web,
            web_problem=web_problem,
            last_reload_error=self.last_reload_error,
            private_node_problem=self._services.node_problem,
            journal=status.Journal(journal.entries, journal.oldest, journal.kept),
            opt_outs=facts.opt_outs if facts is not None else 0,
            end_to_end=facts.end_to_end if facts is not None else NONE,
            spans=facts.spans[0] if facts is not None else 0,
            spans_dropped=facts.spans[1] if facts is not None else 0,
            management_problem=self._management_problem,
        )
        snapshot = status.counted(snapshot, self._counts.keep())
        return status.judged(snapshot)

    def _links(self, settings: Settings, facts: BrokerStatus | None) -> Iterable[status.Link]:
        if facts is not None:
            for account in facts.accounts:
                name = "gateway" if len(facts.accounts) == 1 else f"gateway {account.name}"
                link = account.link
                throttled = tuple(status.Throttled(t.kind, t.waiting, t.since, t.per_second) for t in account.throttled)
                yield status.Link(name, account.address, link.state, link.since, link.error, throttled, account.unread)
            rabbitmq = facts.amqp.state, facts.amqp.since, facts.amqp.error
        else:
            why = "" if settings.richmond.broker else "broker = no"
            yield status.Link("gateway", "", "off" if why else "starting", self._started, why)
            state = self._services.queues.state if self._services.queues is not None else None
            rabbitmq = (state.name, state.since, state.error) if state else ("starting", self._started, "")
        address = f"{settings.amqp.host}:{settings.amqp.port}" if settings.amqp.host else "private node"
        yield status.Link("rabbitmq", address, *rabbitmq)

    def _classes(self, fleet: f.Fleet) -> Iterable[status.WorkerClass]:
        totals = self.count(fleet)
        usage = self._processes.read(s.pid for c in fleet.classes.values() for s in c.slots if s.pid is not None)
        for name, cls in fleet.classes.items():
            spec = cls.spec
            yield status.WorkerClass(
                name=name,
                class_path=spec.class_path,
                queue=spec.queue,
                codes=spec.codes,
                target=cls.target,
                running=cls.count(State.RUNNING),
                min=spec.min,
                max=spec.max,
                pinned=cls.pin is not None,
                reason=cls.reason,
                handled=totals[name].handled,
                failed=totals[name].failed,
                answered=totals[name].answered,
                unanswered=totals[name].unanswered,
                dead_lettered=totals[name].dead_lettered,
                redelivered=totals[name].redelivered,
                recycled=cls.recycled,
                last_recycled=cls.last_recycled,
                rolled_back=cls.rolled_back,
                rolled_back_traceback=cls.rolled_back_traceback,
                is_default=spec.is_default,
                short_codes=spec.short_codes,
                keywords=spec.keywords,
                sms=spec.sms,
                accounts=spec.accounts,
                waited=totals[name].waited,
                took=totals[name].took,
                dead_by_reason=dict(zip(DEAD_REASONS, totals[name].dead_by_reason, strict=True)),
                spans=totals[name].spans,
                spans_dropped=totals[name].spans_dropped,
                slots=tuple(self._slot(slot, usage) for slot in sorted(cls.slots, key=lambda s: s.index)),
            )

    def _slot(self, slot: Slot, usage: Mapping[int, tuple[float, int]]) -> status.Slot:
        reading = self._counts.row(slot.row)
        own = reading if reading.pid == slot.pid else None
        cpu, memory = usage.get(slot.pid or 0, (None, None))
        return status.Slot(
            name=slot.name,
            state=str(slot.state),
            pid=slot.pid,
            uptime_s=time.monotonic() - slot.since,
            cpu_percent=cpu,
            memory_bytes=memory,
            handled=own.handled if own else 0,
            failed=own.failed if own else 0,
            generation=slot.generation,
            crashes=slot.crashes,
            last_error=slot.last_error,
            traceback=slot.traceback,
            leaving=slot.leaving,
        )

    def _look(self, fleet: f.Fleet, timeout_s: float) -> dict[str, _Queue]:
        amqp = fleet.settings.amqp
        classes = list(fleet.classes.values())
        sending = {account.name: send_queues(amqp, account.name) for account in fleet.settings.accounts}
        names = [
            *(cls.spec.queue for cls in classes),
            *(queue.name for pair in sending.values() for queue in (pair.ussd, pair.sms)),
            amqp.dead_queue,
        ]
        depths = self._services.depths(names, timeout_s)
        totals = self.count(fleet)
        found = {}
        for cls in classes:
            done = totals.get(cls.spec.name, Totals())
            ready, consumers = depths.get(cls.spec.queue, (None, None))
            taken = done.handled + done.failed
            found[cls.spec.queue] = _Queue(cls.spec.name, ready, consumers, done.unacked, taken)
        broker = self._services.broker
        counters = {a.name: Counter(a.counters) for a in broker.status().accounts} if broker is not None else {}
        for name, pair in sending.items():
            of = f" of {name}" if len(sending) > 1 else ""
            for queue, purpose, prefix in ((pair.ussd, status.REPLIES, ""), (pair.sms, status.SMS_TO_SEND, "sms-")):
                held = gone = None
                if name in counters:
                    count = counters[name]
                    held, gone = count[f"{prefix}held"], count[f"{prefix}sent"] + count[f"{prefix}refused"]
                ready, consumers = depths.get(queue.name, (None, None))
                found[queue.name] = _Queue(purpose + of, ready, consumers, held, gone)
        ready, consumers = depths.get(amqp.dead_queue, (None, None))
        found[amqp.dead_queue] = _Queue(status.DEAD_LETTERS, ready, consumers, None, None)
        return found

    def _queues(self, fleet: f.Fleet) -> Iterable[status.Queue]:
        for name, queue in self._look(fleet, SNAPSHOT_TIMEOUT_S).items():
            in_rate, out_rate = self._rates(name)
            told = self._told.get(name)
            if told is not None and out_rate is None:
                in_rate, out_rate = told.in_rate, told.out_rate
            yield status.Queue(
                name, queue.purpose, queue.ready, queue.unacked, in_rate, out_rate, queue.consumers,
                unacked_anywhere=told.unacked if told is not None else None,
            )  # fmt: skip

    def _rates(self, name: str) -> tuple[float | None, float | None]:
        """Messages/s into and out of a queue, between the last two samples."""
        if len(self._looks) < 2:
            return None, None
        (then, before), (now, after) = self._looks
        old, new = before.get(name), after.get(name)
        if old is None or new is None or old.ready is None or new.ready is None or now <= then:
            return None, None
        more = new.ready - old.ready
        if old.taken is None or new.taken is None or old.unacked is None or new.unacked is None:
            return max(0, more) / (now - then), None
        out = max(0, new.taken - old.taken)
        return max(0, more + new.unacked - old.unacked + out) / (now - then), out / (now - then)
