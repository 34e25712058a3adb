"""One queue, many hosts: each with a master of its own, which sees only the queue and its own workers."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from richmond.sim.measure import Measured, measure
from richmond.sim.rule import Limits
from richmond.sim.rules.ours import Ours
from richmond.sim.traces import Trace, load
from richmond.sim.world import run
from richmond.supervisor.policy import ScalingSpec

HOSTS = (1, 2, 5, 10, 20, 50, 100)
BUSY = 96.0  # workers that the load keeps busy at its height
HANDLER_S = 0.5
ABOUT = "a step to what keeps 96 workers busy, for two minutes, on a queue that all hosts share"


@dataclass(frozen=True, slots=True)
class Shared:
    hosts: int
    measured: Measured
    most: int  # workers of all hosts at once
    fewest: int  # of one host, in the end
    largest: int


def shared(hosts: int, spec: ScalingSpec, seed: int) -> Shared:
    """A step to what 96 workers have to do, for two minutes; the maximum of each host would do for all of it."""
    rng = random.Random(seed)  # noqa: S311

    def rate(at: float) -> float:
        return (BUSY if at >= 30 else 0.1 * BUSY) / HANDLER_S

    trace = Trace("hosts", "a step", 150, (load(rng, 150, rate, HANDLER_S, BUSY / HANDLER_S),), 1, max_workers=200)
    spec = replace(spec, max=trace.max_workers)
    limits = Limits(spec.min, trace.max_workers, trace.max_workers, spec.drain_target_s)
    result = run(trace, Ours(spec, limits, 1, hosts), spec.min, hosts)
    most = max(look.workers for look in result.looks)
    return Shared(hosts, measure(result), most, min(result.workers), max(result.workers))
