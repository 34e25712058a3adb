"""How many workers a class should have. Pure: samples in, a target and its reason out.

Little's law gives the workers that the arrivals keep busy. They need company, so that no more than one message in
fifty waits longer than the drain target (Erlang's formula for a queue with several servers); a backlog needs more
until it is gone. Growing is quick. Shrinking waits, but many idle workers cost more than one: they go sooner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, exp, sqrt
from typing import NamedTuple

from richmond.supervisor import load as l
from richmond.supervisor.load import Load
from richmond.supervisor.load import Sample as Sample

STALE_SAMPLES = 3  # figures older than so many intervals are no figures
DEAD_BAND = 0.1  # of the count: less is no reason to grow
LATE = 0.02  # may wait longer than the drain target, by Erlang; handlers that differ less make it half of that
LATE_BAND = 10  # times as many are a reason to grow
ERLANG_MOST = 200  # busy workers: among more, chance is evened out
DRAIN_SHARE = 0.5  # of the drain target is there for a backlog: it has waited before it was seen
CALM_LEAST, CALM_MOST = (
    0.15,
    0.8,
)  # of the drain target: a backlog that is gone by then is chance, and no reason to grow
CALM_DEVIATIONS = 4.0  # of what a Poisson process brings within the drain target: chance, too, if that is more
WINDOW_LOOKS = 20  # at the load within the window, at least
SLEEP = 3  # times scale_down_s without a message, until a class that may run no worker runs none
SOON = 6  # times scale_down_s
WINDOW_LONGEST = 30  # times scale_down_s, where the load makes it flap
MEMORY_S = 120.0  # how long it is remembered that growing did not help
BUSY = 0.9  # utilisation of workers who cannot do more
VAIN_GROWTH = 0.2  # more workers at least, to judge by
VAIN_SHARE = 0.25  # of what they should do more, or growing was in vain
CPU_FULL = 0.95
CPU_OURS = 0.5  # of a full CPU: more workers would only share it


@dataclass(frozen=True, slots=True)
class ScalingSpec:
    min: int
    max: int
    drain_target_s: float  # how long a message may wait in the queue
    scale_down_s: float  # worker-seconds that idle ones may cost before they go
    interval_s: float  # between samples
    target_utilisation: float = 0.85  # of a worker's time that handlers may take in the long run


@dataclass(frozen=True, slots=True)
class Figures:
    """What a decision was made from."""

    waiting: int  # messages in the queue
    in_hand: int  # messages that our workers hold
    arrivals_per_s: float  # this host's part of them
    message_s: float  # seconds in the handler for one message
    utilisation: float  # of our workers' time, since the sample before
    share: float  # of the queue's load that is ours, 0 to 1
    raw: float  # workers that the load asks for, before any limit
    lately: int  # the most that it has asked for within the window
    window_s: float  # how long it must have been lower before one worker goes; n go after an n-th of that
    limits: tuple[str, ...] = ()  # what kept the target from following


@dataclass(frozen=True, slots=True)
class Decision:
    target: int
    reason: str
    figures: Figures | None = None  # None: there were no fresh ones


class Ask(NamedTuple):
    """What a class wants of a common budget."""

    least: int  # what it has a right to
    wanted: int
    weight: float = 1.0
    fatal: bool = False  # it cannot run: the others get what it would take


def horizon_s(spec: ScalingSpec) -> float:
    """For how long samples are of use to `decide`."""
    return max(WINDOW_LONGEST * spec.scale_down_s, MEMORY_S) + 2 * spec.interval_s


def decide(spec: ScalingSpec, samples: Sequence[Sample], current: int, now: float) -> Decision:
    """Choose how many workers a class should have.

    `samples`: oldest first; those older than `horizon_s` may be missing. `current`: the present target. Returns a
    target in [spec.min, spec.max], the reason that operators see, and the figures behind both.
    """
    if spec.min > spec.max:
        raise ValueError(f"min {spec.min} is above max {spec.max}")
    held = min(max(current, spec.min), spec.max)
    if held != current:
        return Decision(held, f"min {spec.min}, max {spec.max}")
    if len(samples) < 2 or now - samples[-1].at > STALE_SAMPLES * spec.interval_s:
        return Decision(held, "no fresh figures: held")
    newest, last = samples[-1], len(samples) - 1
    load = l.load(samples, last)
    steady = _steady(spec, load)
    backlog = _backlog(spec, newest, load, held)
    raw = max(steady, ceil(backlog - 1e-9))
    window_s = _window_s(spec, samples)
    figures = Figures(
        newest.ready, newest.unacked, load.arrivals_per_s, load.message_s, l.utilisation(samples[-2], newest),
        l.share(newest), max(load.workers / spec.target_utilisation, backlog), min(raw, spec.max), window_s,
    )  # fmt: skip
    told = f"{newest.ready} waiting, {load.arrivals_per_s:.1f}/s, {_duration(load.message_s)} each"
    idle_s = max(SLEEP * spec.scale_down_s, window_s)
    if held and spec.min == 0 and _idle(samples, newest.at - idle_s):
        return Decision(0, f"{told}: nothing came for {idle_s:g} s", figures)
    if raw > held and (backlog > held or _too_few(spec, load, held)):
        target, limits = _grow(spec, samples, held, raw, load)
        why = "; ".join([f"{told}: {raw} needed", *limits])
        return Decision(target, why, replace(figures, limits=tuple(limits)))
    if raw >= held:
        return Decision(held, f"{told}: enough", figures)
    most = held * (1 - DEAD_BAND)
    idle_for_s = max(spec.interval_s, load.message_s, window_s / (held - raw))
    lately = _lately(spec, samples, newest.at - idle_for_s, most)
    if lately is None:
        return Decision(held, f"{told}: {raw} needed, not yet for {idle_for_s:.3g} s", figures)
    lately = max(lately, raw, 1, ceil(_backlog(spec, newest, load, 0)))
    figures = replace(figures, lately=lately)
    if lately == held - 1 and _grew(samples, newest.at - idle_for_s):
        return Decision(held, f"{told}: {raw} needed, but it has grown within {idle_for_s:.3g} s", figures)
    if lately <= most:
        return Decision(lately, f"{told}: {lately} were enough for {idle_for_s:.3g} s", figures)
    return Decision(held, f"{told}: {raw} needed, {lately} within {idle_for_s:.3g} s", figures)


def shares(asks: Mapping[str, Ask], budget: int) -> dict[str, int]:
    """Cut what classes want to a common budget: how many each is granted.

    Weighted max-min fairness above what each has a right to: who has the most for its weight gives way first, so
    that small ones get all that they want. Nobody gets less than its least, even if all of these are more than the
    budget; a class that is FATAL gets nothing.
    """
    granted = {name: 0 if ask.fatal else ask.wanted for name, ask in asks.items()}
    over = sum(granted.values()) - budget
    while over > 0 and (giving := [name for name, ask in asks.items() if granted[name] > ask.least]):
        granted[max(giving, key=lambda name: granted[name] / asks[name].weight)] -= 1
        over -= 1
    return granted


def _steady(spec: ScalingSpec, load: Load) -> int:
    """Workers that the arrivals need in the long run."""
    busy = load.workers
    count = ceil(min(busy / spec.target_utilisation, spec.max) - 1e-9)
    while count < spec.max and _late(spec, load, count) > LATE:
        count += 1
    return max(min(count, spec.max), spec.min)


def _backlog(spec: ScalingSpec, newest: Sample, load: Load, held: int) -> float:
    """Workers that take the arrivals and what waits in the time left of the drain target; 1 if `held` soon do."""
    part = l.share(newest)
    work_s = part * newest.ready * load.message_s
    if not newest.ready or work_s < _calm_s(spec, load, held) * held:
        return float(min(newest.ready, 1, spec.max))
    drain_s = max(spec.interval_s, DRAIN_SHARE * spec.drain_target_s)
    # Nobody at all has no seconds to judge by.
    return min(max(1.0 if part else 0.0, load.workers + work_s / drain_s), spec.max)


def _calm_s(spec: ScalingSpec, load: Load, held: int) -> float:
    """A backlog that `held` take within so many seconds is chance: the fewer and longer messages are, the more."""
    share = CALM_DEVIATIONS * sqrt(load.message_s / spec.drain_target_s / max(held, 1))
    return min(CALM_MOST, max(CALM_LEAST, share)) * spec.drain_target_s


def _late(spec: ScalingSpec, load: Load, count: int) -> float:
    """The part of the messages that `count` workers begin later than the drain target: Erlang C."""
    busy = load.workers
    if busy <= 0:
        return 0.0
    if count <= busy:
        return 1.0
    if busy > ERLANG_MOST:
        return 0.0
    blocked = 1.0
    for n in range(1, count + 1):
        blocked = busy * blocked / (n + busy * blocked)
    waits = blocked / (1 - busy / count * (1 - blocked))
    return waits * exp(-(count - busy) * spec.drain_target_s / load.message_s)


def _too_few(spec: ScalingSpec, load: Load, held: int) -> bool:
    """`held` are so few that it is worth another count."""
    return load.workers / spec.target_utilisation > held * (1 + DEAD_BAND) or _late(spec, load, held) > LATE_BAND * LATE


def _idle(samples: Sequence[Sample], since: float) -> bool:
    """Nothing has come, and nothing has been in hand."""
    last = samples[-1]
    lately = [s for s in samples if s.at >= since]
    return samples[0].at <= since and not any(s.ready or s.unacked or s.handled != last.handled for s in lately)


def _window_s(spec: ScalingSpec, samples: Sequence[Sample]) -> float:
    """Each time that the count went up a little soon after it had gone down makes the next way down twice as long."""
    window_s, down = spec.scale_down_s, None
    for before, after in pairwise(samples):
        grown = _count(after) - _count(before)
        if grown < 0:
            down = after.at
        elif grown and down is not None:
            if grown <= max(1, DEAD_BAND * _count(after)) and after.at - down < SOON * spec.scale_down_s:
                window_s = min(2 * window_s, WINDOW_LONGEST * spec.scale_down_s)
            down = None
    return window_s


def _lately(spec: ScalingSpec, samples: Sequence[Sample], since: float, enough: float) -> int | None:
    """The most that the arrivals have needed since then, or the first that is more than `enough`.

    None: there are not enough figures to say.
    """
    first = len(samples) - 1
    while first > 0 and samples[first].at > since:
        if samples[first].at - samples[first - 1].at > STALE_SAMPLES * spec.interval_s:
            return None
        first -= 1
    if samples[first].at > since:
        return None
    most, last = 0, len(samples) - 1
    for n in range(last, first, -max(1, (last - first) // WINDOW_LOOKS)):
        most = max(most, _steady(spec, l.load(samples, n)))
        if most > enough:
            break
    return most


def _grew(samples: Sequence[Sample], since: float) -> bool:
    return any(_count(after) > _count(before) for before, after in pairwise(samples) if after.at > since)


def _grow(spec: ScalingSpec, samples: Sequence[Sample], held: int, raw: int, load: Load) -> tuple[int, list[str]]:
    """To `raw`, or as far as that helps and the host can carry it; and why not further."""
    newest = samples[-1]
    if held and newest.cpu is not None and newest.cpu >= CPU_FULL and _cpu_bound(newest):
        return held, ["held: these workers have all of this host's CPU"]
    if _in_vain(spec, samples):
        return held, ["held: more workers did not do more, the bottleneck is elsewhere"]
    target, limits = raw, []
    if load.message_s > load.usual_s:
        # Handlers have become slower: perhaps because of what they call, and then growing must not go too far.
        usual = replace(load, message_s=load.usual_s)
        sure = max(_steady(spec, usual), ceil(_backlog(spec, newest, usual, held)))
        if target > (most := max(2 * held, held + 4, sure)):
            target, limits = most, [f"{most} at first"]
    if newest.memory_free is not None and newest.worker_bytes:
        room = max(0, newest.memory_free // newest.worker_bytes - newest.starting)
        if target > held + room:
            target, limits = held + room, [f"memory for {room} more"]
    return target, limits


def _cpu_bound(sample: Sample) -> bool:
    """It is these workers that the CPU is busy with, as far as that is known."""
    return sample.cpu is not None and (sample.workers_cpu is None or sample.workers_cpu >= CPU_OURS * sample.cpu)


def _in_vain(spec: ScalingSpec, samples: Sequence[Sample]) -> bool:
    """The last two times that it grew, workers who were busy all the time did hardly more for being more."""
    steps = [n for n, (before, after) in enumerate(pairwise(samples), start=1) if _count(after) > _count(before)]
    if len(steps) < 2 or steps[-2] < 2:
        return False
    now = samples[-2], samples[-1]
    # The first sample that tells of a step ends the first interval with more workers.
    return all(_no_better(spec, (samples[n - 2], samples[n - 1]), now) for n in steps[-2:])


def _no_better(spec: ScalingSpec, then: tuple[Sample, Sample], now: tuple[Sample, Sample]) -> bool:
    more = _count(now[1]) / max(_count(then[1]), 1) - 1
    if more < VAIN_GROWTH or l.utilisation(*then) < BUSY or l.utilisation(*now) < BUSY:
        return False
    return l.throughput(*now) < l.throughput(*then) * (1 + VAIN_SHARE * more)


def _count(sample: Sample) -> int:
    return sample.workers or 0


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
