"""Loads to judge rules of scaling by. The same seed gives the same messages. No I/O."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from richmond.errors import UsageError

Rate = Callable[[float], float]  # second -> messages/s
WORKERS_MAX = 40


@dataclass(frozen=True, slots=True)
class Load:
    """The messages of one class."""

    arrivals: tuple[float, ...]  # seconds, ascending
    handler_s: tuple[float, ...]  # what each takes where nothing holds it up


@dataclass(frozen=True, slots=True)
class Downstream:
    """What handlers call. Where more than `carries` of them call at once, each waits for its turn."""

    slow_from_s: float = math.inf
    slow_until_s: float = math.inf
    factor: float = 1.0
    carries: int = 1 << 30

    def slowed(self, now: float, busy: int) -> float:
        """By how much a handler takes longer that begins `now`, with `busy` others beside it."""
        if not self.slow_from_s <= now < self.slow_until_s:
            return 1.0
        return self.factor * max(1.0, busy / self.carries)


@dataclass(frozen=True, slots=True)
class Trace:
    name: str
    about: str
    seconds: float
    loads: tuple[Load, ...]
    changes: int  # of the load: each is worth two reversals
    max_workers: int = WORKERS_MAX  # of all classes together
    downstream: Downstream = Downstream()


def builtin(name: str, seed: int) -> Trace:
    """One of NAMES."""
    make = _MAKERS[name]
    return make(random.Random(f"{seed} {make.__name__}"))  # noqa: S311


def recorded(name: str, lines: Iterable[str], handler_s: float, seed: int) -> Trace:
    """A CSV with a line for each second in which messages came: second, arrivals. A first line may name the columns."""
    counts: list[tuple[float, float]] = []
    for number, row in enumerate(csv.reader(lines), start=1):
        if not row or (number == 1 and not row[0].strip()[:1].isdigit()):
            continue
        try:
            second, count = float(row[0]), float(row[1])
            if not (0 <= second < 1e7 and 0 <= count < 1e6) or (counts and second < counts[-1][0]):
                raise ValueError
        except (ValueError, IndexError):
            raise UsageError(
                f"{name}, line {number}: {','.join(row)!r} is not second,arrivals in ascending order"
            ) from None
        counts.append((second, count))
    if not any(count for _, count in counts):
        raise UsageError(f"{name}: no messages in it; a line is second,arrivals: 0,12")
    rng = random.Random(seed)  # noqa: S311
    arrivals = sorted(second + rng.random() for second, count in counts for _ in range(round(count)))
    # Each minute whose load is another by a third is a change.
    minutes = [0] * (int(arrivals[-1] // 60) + 1)
    for at in arrivals:
        minutes[int(at // 60)] += 1
    changes = 1 + sum(abs(a - b) * 3 > max(a, b) for a, b in pairwise(minutes))
    load = Load(tuple(arrivals), tuple(_handler(rng, handler_s) for _ in arrivals))
    return Trace(name, "as it was recorded", counts[-1][0] + 120, (load,), changes)


def load(rng: random.Random, seconds: float, rate: Rate, handler_s: float, most: float) -> Load:
    """A Poisson process: `most` is the highest rate."""
    arrivals, at = [], 0.0
    while (at := at + rng.expovariate(most)) < seconds:
        if rng.random() * most < rate(at):
            arrivals.append(at)
    return Load(tuple(arrivals), tuple(_handler(rng, handler_s) for _ in arrivals))


def _handler(rng: random.Random, mean_s: float) -> float:
    """Most take about as long, a few much longer: log-normal, deviation half of the mean."""
    sigma = math.sqrt(math.log(1.25))
    return mean_s * rng.lognormvariate(-sigma * sigma / 2, sigma)


def _steady(rng: random.Random) -> Trace:
    return Trace("steady", "70/s of 0.1 s, all the time", 900, (load(rng, 900, lambda _: 70, 0.1, 70),), 1)


def _step(rng: random.Random) -> Trace:
    def rate(at: float) -> float:
        return 80 if 120 <= at < 600 else 10

    return Trace("step", "10/s, then 80/s for eight minutes, of 0.1 s", 900, (load(rng, 900, rate, 0.1, 80),), 2)


def _ramp(rng: random.Random) -> Trace:
    def rate(at: float) -> float:
        return 5 + 120 * max(0.0, 1 - abs(at - 450) / 400)

    about = "from 5/s to 125/s in seven minutes and back, of 0.1 s"
    return Trace("ramp", about, 900, (load(rng, 900, rate, 0.1, 125),), 2)


def _noise(rng: random.Random) -> Trace:
    levels = [rng.uniform(30, 90) for _ in range(46)]

    def rate(at: float) -> float:
        return levels[int(at // 20)]

    about = "every 20 s another rate, 30 to 90/s, of 0.1 s"
    return Trace("noise", about, 900, (load(rng, 900, rate, 0.1, 90),), 44)


def _spikes(rng: random.Random) -> Trace:
    def rate(at: float) -> float:
        return 150 if at >= 60 and at % 90 < 10 else 5

    return Trace("spikes", "5/s, and 150/s for 10 s of every 90, of 0.1 s", 900, (load(rng, 900, rate, 0.1, 150),), 18)


def _broken(rng: random.Random) -> Trace:
    about = "30/s of 0.1 s, for four minutes ten times as long: more workers help"
    base = load(rng, 900, lambda _: 30, 0.1, 30)
    return Trace("slow", about, 900, (base,), 2, downstream=Downstream(300, 540, 10.0))


def _bottleneck(rng: random.Random) -> Trace:
    about = "30/s of 0.1 s, for four minutes five times as long, and ten at a time: more workers do not help"
    base = load(rng, 900, lambda _: 30, 0.1, 30)
    return Trace("bottleneck", about, 900, (base,), 2, downstream=Downstream(300, 540, 5.0, 10))


def _two_classes(rng: random.Random) -> Trace:
    def first(at: float) -> float:
        return 100 if 120 <= at < 480 else 10

    def second(at: float) -> float:
        return 100 if 360 <= at < 720 else 10

    about = "two classes of 0.1 s, 10/s each and 100/s in turn and together, within 24 workers"
    loads = tuple(load(rng, 900, rate, 0.1, 100) for rate in (first, second))
    return Trace("classes", about, 900, loads, 4, max_workers=24)


def _day(rng: random.Random) -> Trace:
    points = [(0, 0.3), (5, 0.2), (7, 2), (8.5, 8), (9.5, 8), (11, 3), (14, 2.5), (17, 3.5), (20, 2), (24, 0.3)]

    def rate(at: float) -> float:
        return interpolated(points, at / 3600)

    about = "a day of a menu that asks a slow backend (1 s): 0.2/s at night, 8/s at nine"
    return Trace("day", about, 86400, (load(rng, 86400, rate, 1.0, 8),), 6)


def interpolated(points: Sequence[tuple[float, float]], x: float) -> float:
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]


_MAKERS = {
    "steady": _steady,
    "step": _step,
    "ramp": _ramp,
    "noise": _noise,
    "spikes": _spikes,
    "slow": _broken,
    "bottleneck": _bottleneck,
    "classes": _two_classes,
    "day": _day,
}
NAMES = tuple(_MAKERS)
