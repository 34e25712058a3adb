"""Every rule on a trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from richmond.sim.measure import OPTIMUM, OURS, Measured, measure
from richmond.sim.rule import Limits, Rule
from richmond.sim.rules.celery import Celery
from richmond.sim.rules.clairvoyant import Clairvoyant
from richmond.sim.rules.fixed import Fixed
from richmond.sim.rules.keda import Keda
from richmond.sim.rules.ours import Ours
from richmond.sim.rules.uwsgi_backlog import UwsgiBacklog
from richmond.sim.rules.uwsgi_busyness import UwsgiBusyness
from richmond.sim.traces import Trace
from richmond.sim.world import Run, run
from richmond.supervisor.policy import ScalingSpec

OTHERS: dict[str, Callable[[Limits, int], Rule]] = {
    "celery": Celery,
    "keda + hpa": Keda,
    "uwsgi busyness": UwsgiBusyness,
    "uwsgi backlog": UwsgiBacklog,
}
SAME_COST = "fixed, as dear"
FOR_THE_PEAK = "fixed, for the peak"
PEAK_S = 60.0  # the busiest minute is what a fixed count is chosen for
PEAK_UTILISATION = 0.7


@dataclass(frozen=True, slots=True)
class Study:
    trace: Trace
    runs: dict[str, Run]

    @property
    def measured(self) -> dict[str, Measured]:
        return {name: measure(run) for name, run in self.runs.items()}


def study(trace: Trace, spec: ScalingSpec) -> Study:
    """Ours first. The others get the same minimum and maximum; what they share out statically is divided evenly."""
    classes = len(trace.loads)
    limits = Limits(spec.min, min(spec.max, trace.max_workers), trace.max_workers, spec.drain_target_s)
    each = Limits(spec.min, min(spec.max, trace.max_workers // classes), trace.max_workers, spec.drain_target_s)
    start = spec.min
    runs = {OURS: run(trace, Ours(spec, limits, classes), start)}
    for name, rule in OTHERS.items():
        runs[name] = run(trace, rule(each, classes), start)
    as_dear = max(spec.min, ceil(runs[OURS].worker_seconds / trace.seconds / classes))
    peak = [min(each.max, max(spec.min, _for_the_peak(trace, n))) for n in range(classes)]
    for name, counts in ((SAME_COST, [as_dear] * classes), (FOR_THE_PEAK, peak)):
        runs[name] = run(trace, Fixed(counts), counts)
    runs[OPTIMUM] = _optimum(trace, limits, spec)
    return Study(trace, runs)


def _for_the_peak(trace: Trace, n: int) -> int:
    load = trace.loads[n]
    busy = [0.0] * (int(trace.seconds // PEAK_S) + 1)
    for at, seconds in zip(load.arrivals, load.handler_s, strict=True):
        busy[int(at // PEAK_S)] += seconds
    return ceil(max(busy) / PEAK_S / PEAK_UTILISATION)


def _optimum(trace: Trace, limits: Limits, spec: ScalingSpec) -> Run:
    """The latest plan with which 99 of 100 messages really begin in time."""
    for part in (1.0, 0.9, 0.8, 0.6, 0.4, 0.2):
        found = run(
            trace,
            Clairvoyant(trace, limits, spec.interval_s, spec.drain_target_s * part),
            spec.min,
        )
        if measure(found).wait_p99 <= spec.drain_target_s:
            break
    return found
