"""How many workers a class should have. Pure: samples in, a target and its reason out.

Little's law gives the workers that the arrivals keep busy; the backlog asks for more of them, so that no
message waits longer than the drain target. Growing is quick, shrinking waits until the load has been
lower for a while, since a worker too many costs 10 MB and a worker too few costs a subscriber's session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import NamedTuple

EWMA = 0.5  # weight of the newest sample
SECONDS_SAMPLES = 10  # handler seconds are the mean of at least so many intervals
STALE_SAMPLES = 3  # figures older than so many intervals are no figures
WINDOW_LONGEST = 4  # times scale_down_s, where the load makes it flap
DOWN_SHARE = 4  # a step down takes away a quarter of the surplus


@dataclass(frozen=True, slots=True)
class ScalingSpec:
    min: int
    max: int
    drain_target_s: float  # how long a message may wait in the queue
    scale_down_s: float  # how long the load must have been lower before workers go
    interval_s: float  # between samples
    target_utilisation: float = 0.7  # of a worker's time that handlers may take in the long run


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of a class. Counters only grow, over the death of workers too."""

    at: float  # monotonic
    ready: int  # messages in the queue
    unacked: int  # messages that workers hold, the ones in hand too
    handled: int  # counter: messages that handlers have finished
    busy_s: float  # counter: seconds spent in handlers, the running ones included
    workers: int | None = None  # the target at that time, if known
    running: int | None = None  # our workers that consume
    starting: int = 0  # our workers on their way to it
    consumers: int | None = None  # on the queue, those of other hosts too
    hosts: int | None = None  # masters that share the queue
    memory_free: int | None = None  # bytes of this host that may still be used
    worker_bytes: int | None = None  # what one worker more would take
    cpu: float | None = None  # this host's busy share, 0 to 1
    workers_cpu: float | None = None  # the part of it that is this class's workers


@dataclass(frozen=True, slots=True)
class Figures:
    """What a decision was made from."""

    waiting: int  # messages in the queue
    in_hand: int  # messages that our workers hold
    arrivals_per_s: float  # this host's part of them
    message_s: float  # seconds in the handler for one message
    utilisation: float  # of our workers' time, lately
    share: float  # of the queue's load that is ours, 0 to 1
    raw: float  # workers that the load asks for, before any limit
    lately: int  # the most that it has asked for within the window
    window_s: float  # how long it must have been lower before workers go
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
    return WINDOW_LONGEST * spec.scale_down_s + 2 * spec.interval_s


def decide(spec: ScalingSpec, samples: Sequence[Sample], current: int, now: float) -> Decision:
    """Choose how many workers a class should have.

    `samples`: oldest first; those older than `spec.scale_down_s` may be missing. `current`: the present
    target. Returns a target in [spec.min, spec.max] and the reason that operators see.
    Source: Little's law, workers = arrivals/s x handler seconds, plus what drains the backlog.
    """
    if spec.min > spec.max:
        raise ValueError(f"min {spec.min} is above max {spec.max}")
    held = min(max(current, spec.min), spec.max)
    if held != current:
        return Decision(held, f"min {spec.min}, max {spec.max}")
    if len(samples) < 2 or now - samples[-1].at > STALE_SAMPLES * spec.interval_s:
        return Decision(held, "no fresh figures: held")
    wanted = _wanted(spec, samples, current)
    at, raw, rate, seconds = wanted[-1]
    newest = samples[-1]
    figures = f"{newest.ready} waiting, {rate:.1f}/s, {_duration(seconds)} each"
    if raw > held:
        return Decision(min(raw, max(2 * held, held + 4), spec.max), f"{figures}: {raw} needed")
    lately = max((w[1] for w in wanted if w[0] >= at - spec.scale_down_s), default=raw)
    covered = samples[0].at <= at - spec.scale_down_s + spec.interval_s
    grew = any(s.workers is not None and s.workers < held for s in samples if s.at >= at - spec.scale_down_s)
    if lately < held and covered and not grew and newest.ready == 0:
        down = held - max(1, (held - lately) // DOWN_SHARE)
        return Decision(max(down, spec.min), f"{figures}: {lately} were enough for {spec.scale_down_s:g} s")
    return Decision(held, f"{figures}: enough")


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


def _wanted(spec: ScalingSpec, samples: Sequence[Sample], current: int) -> list[tuple[float, int, float, float]]:
    """(at, workers, arrivals/s, handler seconds) for each sample but the first."""
    found = []
    rate: float | None = None
    for i, (before, after) in enumerate(pairwise(samples), start=1):
        elapsed = after.at - before.at
        if elapsed <= 0:
            continue
        arrived = max(0, after.ready - before.ready + after.unacked - before.unacked + after.handled - before.handled)
        rate = arrived / elapsed if rate is None else EWMA * arrived / elapsed + (1 - EWMA) * rate
        # Over several samples, and more for slow handlers. Where hardly any has finished, the running ones are the
        # messages that the time was spent on: divided by the few, it would look far too long.
        running = min(after.unacked, current if after.workers is None else after.workers)
        start = max(0, i - SECONDS_SAMPLES)
        while start > 0 and after.handled - samples[start].handled < running:
            start -= 1
        messages = max(1, running, after.handled - samples[start].handled)
        seconds = max(0.0, after.busy_s - samples[start].busy_s) / messages
        workers = rate * seconds / spec.target_utilisation + after.ready * seconds / spec.drain_target_s
        if after.ready:
            workers = max(workers, 1.0)  # nobody at all has no seconds to judge by
        found.append((after.at, min(max(ceil(workers - 1e-9), spec.min), spec.max), rate, seconds))
    return found or [(samples[-1].at, spec.min, 0.0, 0.0)]


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
