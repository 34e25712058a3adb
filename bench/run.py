"""One run: a system, a scenario, a clean RabbitMQ; out come numbers."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import amqpstorm
import psutil

from bench import processes
from bench.gateway import Gateway, HungUp, Result
from bench.systems import SYSTEMS, Place, System, environ
from richmond.rabbitmq import NodeInfo

READY_S = 60.0
SETTLE_S = 0.5
PERCENTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999}


@dataclass(frozen=True, slots=True)
class Scenario:
    """closed:SESSIONS or open:RATE."""

    kind: str
    amount: int

    @classmethod
    def parse(cls, text: str) -> Scenario:
        kind, _, amount = text.partition(":")
        if kind not in ("closed", "open") or not amount.isdigit() or not int(amount):
            raise ValueError(f"{text!r} is no scenario; write closed:SESSIONS or open:MESSAGES_A_SECOND")
        return cls(kind, int(amount))

    def __str__(self) -> str:
        return f"{self.kind}:{self.amount}"


@dataclass(frozen=True, slots=True)
class Load:
    workers: int
    seconds: float
    warmup_s: float


def run(name: str, scenario: Scenario, load: Load, node: NodeInfo) -> dict[str, Any]:
    """What came of it; with the key `error` if the system did not get through it."""
    system = SYSTEMS[name]
    row: dict[str, Any] = {"system": name, "scenario": str(scenario)}
    gateway = Gateway()
    with tempfile.TemporaryDirectory(prefix="richmond-bench-") as directory, contextlib.closing(gateway):
        place = Place(node, gateway.port, load.workers, Path(directory))
        log = place.directory / "output.log"
        try:
            with _rabbitmq(node) as connection:
                channel = connection.channel()
                for queue in system.queues:
                    channel.queue.delete(queue)
                with processes.started(system.command(place), environ(node), log) as process:
                    gateway.accept(READY_S)
                    _wait_consumers(connection, system, load.workers)
                    gateway.probe(READY_S)
                    time.sleep(SETTLE_S)
                    row |= _measure(gateway, scenario, load, process.pid, node)
        except (HungUp, OSError, processes.Ended, psutil.NoSuchProcess, amqpstorm.AMQPError) as e:
            tail = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
            row["error"] = "\n".join([f"{type(e).__name__}: {e}", *tail])
    return row


def _measure(gateway: Gateway, scenario: Scenario, load: Load, pid: int, node: NodeInfo) -> dict[str, Any]:
    family = processes.tree(pid)
    workers = processes.leaves(family)
    groups = {
        "workers": [p for p in family if p.pid in workers],
        "broker": [p for p in family if p.pid not in workers],
        "rabbitmq": processes.tree(node.pid),
        "gateway": [psutil.Process(os.getpid())],
    }
    if len(groups["workers"]) != load.workers:
        raise processes.Ended(f"{len(groups['workers'])} workers instead of {load.workers}")
    readings: list[dict[str, float]] = []

    def boundary() -> None:
        readings.append({name: processes.cpu_s(group) for name, group in groups.items()})

    generate = gateway.closed if scenario.kind == "closed" else gateway.open
    result = generate(scenario.amount, load.seconds, load.warmup_s, boundary)
    before, after = readings
    thousands = len(result.latencies_s) / 1000 or float("nan")
    return {
        **_counts(result),
        **{key: result.percentile_ms(share) for key, share in PERCENTILES.items()},
        **{f"cpu_{name}_ms": 1000 * (after[name] - before[name]) / thousands for name in groups},  # for 1,000 messages
        "uss_broker_mb": sum(processes.uss_mb(p) for p in groups["broker"]),
        "uss_worker_mb": max(processes.uss_mb(p) for p in groups["workers"]),
    }


def _counts(result: Result) -> dict[str, Any]:
    counts = asdict(result)
    del counts["latencies_s"]
    return counts


def _rabbitmq(node: NodeInfo) -> amqpstorm.Connection:
    return amqpstorm.Connection(node.host, node.username, node.password, port=node.port, virtual_host=node.vhost)


def _wait_consumers(connection: amqpstorm.Connection, system: System, workers: int) -> None:
    deadline = time.monotonic() + READY_S
    while _consumers(connection, system.receive_queue) != workers:
        if time.monotonic() > deadline:
            raise processes.Ended(f"not {workers} workers within {READY_S:g} s")
        time.sleep(0.05)


def _consumers(connection: amqpstorm.Connection, queue: str) -> int:
    try:
        with connection.channel() as channel:
            return channel.queue.declare(queue, passive=True)["consumer_count"]
    except amqpstorm.AMQPChannelError:  # it is not there yet
        return 0
