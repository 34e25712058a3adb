"""What a run was worth, and how rules compare. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from statistics import fmean

from richmond.sim.traces import Trace
from richmond.sim.world import Run

OURS = "richmond"
OPTIMUM = "clairvoyant"
OPTIMUM_RATIO = 1.3  # times the optimum's worker-seconds
REVERSALS = 2  # for each change of the load


@dataclass(frozen=True, slots=True)
class Measured:
    """One rule on one trace. Waits in seconds, all classes together."""

    messages: int
    wait_mean: float
    wait_p95: float
    wait_p99: float
    wait_max: float
    worker_seconds: float
    actions: int  # changes of the count
    reversals: int  # up after down, or down after up


@dataclass(frozen=True, slots=True)
class Verdict:
    """Ours beside another rule."""

    text: str
    good: bool


def measure(run: Run) -> Measured:
    waits = sorted(w for of_class in run.waits for w in of_class)
    return Measured(
        messages=len(waits),
        wait_mean=fmean(waits),
        wait_p95=quantile(waits, 0.95),
        wait_p99=quantile(waits, 0.99),
        wait_max=waits[-1],
        worker_seconds=run.worker_seconds,
        actions=sum(map(len, run.targets)),
        reversals=sum(_reversals([target for _, target in changes]) for changes in run.targets),
    )


def quantile(ascending: Sequence[float], q: float) -> float:
    return ascending[max(0, ceil(q * len(ascending)) - 1)]


def _reversals(targets: Sequence[int]) -> int:
    ups = [b > a for a, b in pairwise(targets)]
    return sum(a != b for a, b in pairwise(ups))


def compare(ours: Measured, other: Measured) -> Verdict:
    """Shorter or longer waits (p99), and for how many worker-seconds. A hundredth, or 10 ms, is no difference."""
    wait = _sign(ours.wait_p99, other.wait_p99, 0.01)
    cost = _sign(ours.worker_seconds, other.worker_seconds, 0.0)
    if wait <= 0 and cost <= 0:
        return Verdict("better on both" if wait < 0 and cost < 0 else "no worse", True)
    if wait >= 0 and cost >= 0:
        return Verdict("WORSE", False)
    if wait < 0:
        return Verdict(f"waits {_times(other.wait_p99, ours.wait_p99)} shorter for more workers", True)
    return Verdict(f"{_less(ours.worker_seconds, other.worker_seconds)} fewer workers, waits longer", True)


def promises(trace: Trace, found: Mapping[str, Measured], drain_target_s: float) -> list[Verdict]:
    """What has to hold for ours, whatever the others do."""
    ours, optimum = found[OURS], found[OPTIMUM]
    ratio = ours.worker_seconds / optimum.worker_seconds
    allowed = REVERSALS * trace.changes
    return [
        Verdict(f"p99 {ours.wait_p99:.2f} s of {drain_target_s:g} s", ours.wait_p99 <= drain_target_s),
        Verdict(f"{ratio:.2f} times the optimum's worker-seconds", ratio <= OPTIMUM_RATIO),
        Verdict(f"{ours.reversals} reversals of {allowed}", ours.reversals <= allowed),
    ]


def _sign(a: float, b: float, absolute: float) -> int:
    return 0 if abs(a - b) <= max(absolute, 0.01 * max(a, b)) else 1 if a > b else -1


def _times(more: float, less: float) -> str:
    return f"{more / max(less, 0.001):.1f} times"


def _less(less: float, more: float) -> str:
    return f"{100 * (1 - less / more):.0f} %"
