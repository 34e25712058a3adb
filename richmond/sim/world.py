"""The world that a rule acts on: queues, workers that take a while to start, and a clock that jumps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import simpy

from richmond.sim.rule import Rule, View
from richmond.sim.traces import Load, Trace

START_S = 0.15  # from the decision to a worker that consumes, as measured
LOOKS = 600  # points of the timeline

_Process = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, slots=True)
class Look:
    """A point of the timeline, of all classes and hosts together."""

    at: float
    arrived: int
    waiting: int
    workers: int


@dataclass(frozen=True, slots=True)
class Run:
    waits: tuple[tuple[float, ...], ...]  # of each class: seconds in the queue
    worker_seconds: float
    targets: tuple[tuple[tuple[float, int], ...], ...]  # of each class on each host: every change of its target
    looks: tuple[Look, ...]
    workers: tuple[int, ...]  # of each class on each host, in the end


def run(trace: Trace, rule: Rule, workers: int | Sequence[int], hosts: int = 1) -> Run:
    """Let `rule` scale the classes of `trace` on each host, where each has so many `workers` at first."""
    env = simpy.Environment()
    queues = [_Queue(env, load) for load in trace.loads]
    first = [workers] * len(queues) if isinstance(workers, int) else workers
    pools = [_Pool(env, trace, queue, n) for _ in range(hosts) for queue, n in zip(queues, first, strict=True)]
    looks: list[Look] = []

    def ask() -> None:
        wanted = rule.targets([pool.view() for pool in pools])
        for pool, target in zip(pools, wanted, strict=True):
            pool.scale(target)

    def arrivals(queue: _Queue) -> _Process:
        for at in queue.load.arrivals:
            yield env.timeout(at - env.now)
            queue.arrive()
            if rule.at_messages:
                ask()

    def asks() -> _Process:
        while True:
            yield env.timeout(rule.interval_s)
            ask()

    def timeline() -> _Process:
        while True:
            waiting, alive = sum(len(q.waiting) for q in queues), sum(p.alive for p in pools)
            looks.append(Look(env.now, sum(q.arrived for q in queues), waiting, alive))
            yield env.timeout(trace.seconds / LOOKS)

    env.process(timeline())
    env.process(asks())
    for queue in queues:
        env.process(arrivals(queue))
    env.run(until=trace.seconds)
    return Run(
        tuple(queue.waits() for queue in queues),
        sum(pool.worker_seconds() for pool in pools),
        tuple(tuple(pool.changes) for pool in pools),
        tuple(looks),
        tuple(pool.alive for pool in pools),
    )


class _Queue:
    """RabbitMQ's: first come, first served; consumers that are free take turns."""

    def __init__(self, env: simpy.Environment, load: Load) -> None:
        self._env = env
        self.load = load
        self.waiting: deque[int] = deque()
        self.pools: list[_Pool] = []
        self.arrived = 0
        self._turn = 0
        self._waits: list[float | None] = [None] * len(load.arrivals)

    def arrive(self) -> None:
        self.waiting.append(self.arrived)
        self.arrived += 1
        # The next free worker after the one who had the last, the workers of all hosts in a row.
        free = sum(pool.idle for pool in self.pools)
        if not free:
            return
        self._turn += 1
        place = self._turn % free
        for pool in self.pools:
            if place < pool.idle:
                pool.work()
                return
            place -= pool.idle

    def take(self) -> int:
        n = self.waiting.popleft()
        self._waits[n] = self._env.now - self.load.arrivals[n]
        return n

    def waits(self) -> tuple[float, ...]:
        """Who waits when the trace ends has waited until then."""
        now = self._env.now
        return tuple(now - at if w is None else w for w, at in zip(self._waits, self.load.arrivals, strict=True))


class _Pool:
    """One host's workers of a class. They are alike: it is enough to count them."""

    def __init__(self, env: simpy.Environment, trace: Trace, queue: _Queue, workers: int) -> None:
        self._env = env
        self._queue = queue
        self._downstream = trace.downstream
        self.idle = workers
        self._target = workers
        self._busy = 0
        self._starting = 0
        self._unwanted = 0  # of those that start
        self._leaving = 0  # of the busy ones
        self._handled = 0
        self._busy_s = 0.0
        self._alive_s = 0.0
        self._counted_to = 0.0
        self.changes: list[tuple[float, int]] = []
        queue.pools.append(self)

    @property
    def alive(self) -> int:
        return self.idle + self._busy + self._starting

    @property
    def running(self) -> int:
        return self.idle + self._busy - self._leaving

    def view(self) -> View:
        self._count()
        return View(
            self._env.now, len(self._queue.waiting), self._busy, self.running, self._starting - self._unwanted,
            self._handled, self._busy_s, self._target, sum(pool.running for pool in self._queue.pools),
        )  # fmt: skip

    def scale(self, target: int) -> None:
        if target == self._target:
            return
        self._count()
        self.changes.append((self._env.now, target))
        more, self._target = target - self._target, target
        if more > 0:
            self._starting += more
            for _ in range(more):
                self._later(START_S, self._started)
            return
        spare = min(self.idle, -more)
        self.idle -= spare
        unwanted = min(self._starting - self._unwanted, -more - spare)
        self._unwanted += unwanted
        self._leaving -= more + spare + unwanted

    def work(self) -> None:
        if not (self.idle and self._queue.waiting):
            return
        self._count()
        while self.idle and self._queue.waiting:
            n = self._queue.take()
            self.idle -= 1
            self._busy += 1
            slowed = self._downstream.slowed(self._env.now, self._busy)
            self._later(self._queue.load.handler_s[n] * slowed, self._finished)

    def worker_seconds(self) -> float:
        self._count()
        return self._alive_s

    def _later(self, seconds: float, then: Callable[[simpy.Event], None]) -> None:
        timeout = self._env.timeout(seconds)
        assert timeout.callbacks is not None
        timeout.callbacks.append(then)

    def _started(self, _event: simpy.Event) -> None:
        self._count()
        self._starting -= 1
        if self._unwanted:
            self._unwanted -= 1
            return
        self.idle += 1
        self.work()

    def _finished(self, _event: simpy.Event) -> None:
        self._count()
        self._busy -= 1
        self._handled += 1
        if self._leaving:
            self._leaving -= 1
            return
        self.idle += 1
        self.work()

    def _count(self) -> None:
        elapsed = self._env.now - self._counted_to
        self._busy_s += elapsed * self._busy
        self._alive_s += elapsed * self.alive
        self._counted_to = self._env.now
