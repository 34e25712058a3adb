"""Puts the facts of fleet, services, queues and processes together: samples for the policy, a Snapshot for people."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping

import richmond
import richmond.log
from richmond.scoreboard import Scoreboard
from richmond.settings import Settings
from richmond.supervisor import fleet as f
from richmond.supervisor import policy, status
from richmond.supervisor.lifecycle import Slot, State
from richmond.supervisor.metrics import Counts, Processes, Totals
from richmond.supervisor.services import Services
from richmond.supervisor.totals import Totals as Kept
from richmond.supervisor.totals import TotalsFile


class Reporter:
    """`settings` and `last_reload_error` are kept up to date by the master."""

    def __init__(self, settings: Settings, board: Scoreboard, services: Services) -> None:
        self.settings = settings
        self.last_reload_error = ""
        self._services = services
        self._counts = Counts(board)
        self._file = TotalsFile(settings.richmond.directory / "totals.json")
        self._processes = Processes()
        self._started = time.time()

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

    def sample(self, fleet: f.Fleet) -> dict[str, policy.Sample]:
        """One reading of each class for the policy; empty while RabbitMQ does not answer."""
        self.save(fleet)
        depths = self._services.depths([cls.spec.queue for cls in fleet.classes.values()])
        now = time.monotonic()
        found = {}
        for name, totals in self.count(fleet).items():
            cls = fleet.classes[name]
            depth = depths.get(cls.spec.queue)
            if depth is not None:
                handled = totals.handled + totals.failed
                found[name] = policy.Sample(now, depth[0], totals.unacked, handled, totals.busy_s, cls.target)
        return found

    def snapshot(self, fleet: f.Fleet) -> status.Snapshot:
        settings = fleet.settings
        snapshot = status.Snapshot(
            version=richmond.__version__,
            pid=os.getpid(),
            ini=str(settings.path),
            phase="stopping" if fleet.stopping else "running" if fleet.started else self._services.step or "starting",
            started=self._started,
            links=tuple(self._links(settings)),
            classes=tuple(self._classes(fleet)),
            queues=tuple(self._queues(fleet)),
            counters=self._counters(),
            simulator=self._services.simulator_address,
            private_node=self._services.node_address,
            log_lines_dropped=richmond.log.dropped(),
            last_reload_error=self.last_reload_error,
            private_node_problem=self._services.node_problem,
        )
        snapshot = status.counted(snapshot, self._counts.keep())
        return status.with_problems(snapshot, settings.amqp.dead_queue)

    def _counters(self) -> dict[str, int]:
        broker = self._services.broker
        return dict(broker.status().counters) if broker is not None else {}

    def _links(self, settings: Settings) -> Iterable[status.Link]:
        broker = self._services.broker
        if broker is not None:
            both = broker.status()
            address = f"{settings.ssmi.host}:{settings.ssmi.port}"
            yield status.Link("gateway", address, both.link.state, both.link.since, both.link.error)
            rabbitmq = both.amqp.state, both.amqp.since, both.amqp.error
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
        )

    def _queues(self, fleet: f.Fleet) -> Iterable[status.Queue]:
        amqp = fleet.settings.amqp
        classes = {cls.spec.queue: cls for cls in fleet.classes.values()}
        names = [*classes, amqp.send_queue, amqp.dead_queue]
        depths = self._services.depths(names)
        totals = self.count(fleet)
        for name in names:
            ready, consumers = depths.get(name, (None, None))
            cls = classes.get(name)
            unacked = totals[cls.spec.name].unacked if cls is not None else None
            in_rate, out_rate = _rates(cls.samples) if cls is not None else (None, None)
            yield status.Queue(name, ready, unacked, in_rate, out_rate, consumers)


def _rates(samples: tuple[policy.Sample, ...]) -> tuple[float | None, float | None]:
    """Messages/s into a class's queue and out of its handlers, between the last two samples."""
    if len(samples) < 2 or samples[-1].at <= samples[-2].at:
        return None, None
    old, new = samples[-2:]
    elapsed = new.at - old.at
    handled = new.handled - old.handled
    return max(0, new.ready - old.ready + new.unacked - old.unacked + handled) / elapsed, handled / elapsed
