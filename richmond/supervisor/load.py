"""What samples tell of a class's load: arrivals, seconds a message, how busy its workers are. Pure.

A mean over a long time is late, one over a short time sees changes where there are none. So the newest stretch counts
as soon as it is higher than chance explains, and what is older than a fall that chance does not explain counts no
more. A longer queue in the newest sample never makes the result smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

STRETCH_S = 30.0  # as long is looked back
STRETCH_MESSAGES = 400  # or for as many, if samples reach back so far
DEVIATIONS = 2.3  # of a Poisson process, that a rise has to be more than
FALL_DEVIATIONS = 4.0
SLOWER_DEVIATIONS = 3.0  # handlers' times spread as much as their mean, it is assumed


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of a class. Counters only grow, over the death of workers too."""

    at: float  # monotonic
    ready: int  # messages in the queue
    unacked: int  # messages that our workers hold, the ones in hand too
    handled: int  # counter: messages that handlers have finished
    busy_s: float  # counter: seconds spent in handlers, the running ones included
    workers: int | None = None  # the target at that time, if known
    running: int | None = None  # our workers that consume
    starting: int = 0  # our workers on their way to it
    consumers: int | None = None  # on the queue, those of other hosts too
    memory_free: int | None = None  # bytes of this host that may still be used
    worker_bytes: int | None = None  # what one worker more would take
    cpu: float | None = None  # this host's busy share, 0 to 1
    workers_cpu: float | None = None  # the part of it that is this class's workers


@dataclass(frozen=True, slots=True)
class Load:
    """What a host has to do for a class."""

    arrivals_per_s: float
    message_s: float  # lately
    usual_s: float  # before it became `message_s`, where that has changed

    @property
    def workers(self) -> float:
        """How many of them it keeps busy: Little's law."""
        return self.arrivals_per_s * self.message_s


def share(sample: Sample) -> float:
    """The part of the queue's messages that comes to this host's workers: consumers are served in turn."""
    if not sample.consumers:
        return 1.0
    ours = sample.running if sample.running is not None else sample.workers
    return 1.0 if ours is None else min(1.0, ours / sample.consumers)


def load(samples: Sequence[Sample], last: int) -> Load:
    """As it was at `samples[last]`, last > 0."""
    message_s, usual_s = _seconds(samples, last)
    return Load(_arrivals(samples, last), message_s, usual_s)


def utilisation(before: Sample, after: Sample) -> float:
    """The share of their time that our workers spent in handlers."""
    elapsed = after.at - before.at
    workers = max(_running(before), _running(after))
    return min(1.0, max(0.0, after.busy_s - before.busy_s) / elapsed / workers) if workers and elapsed > 0 else 0.0


def throughput(before: Sample, after: Sample) -> float:
    elapsed = after.at - before.at
    return max(0, after.handled - before.handled) / elapsed if elapsed > 0 else 0.0


def _arrivals(samples: Sequence[Sample], last: int) -> float:
    """Messages/s."""
    newest = samples[last]
    part = share(newest)
    highest, count, elapsed = 0.0, 0.0, 0.0
    for n in range(last - 1, -1, -1):
        before, after = samples[n], samples[n + 1]
        interval = after.at - before.at
        if interval <= 0:
            continue
        came = part * (after.ready - before.ready) + after.unacked - before.unacked + after.handled - before.handled
        came = max(0.0, came)
        if elapsed:
            mean = (count + came) / (elapsed + interval)
            chance = sqrt(mean * (1 / elapsed + 1 / interval))
            if came / interval - count / elapsed > FALL_DEVIATIONS * chance:
                return highest
        count += came
        elapsed += interval
        highest = max(highest, (count - DEVIATIONS * sqrt(count)) / elapsed)
        if elapsed >= STRETCH_S and newest.handled - before.handled >= STRETCH_MESSAGES:
            break
    return max(highest, count / elapsed) if elapsed else 0.0


def _seconds(samples: Sequence[Sample], last: int) -> tuple[float, float]:
    """Seconds a message: lately, and before.

    Where hardly any has finished, the running ones are the messages that the time was spent on: divided by the few, it
    would look far too long.
    """
    newest = samples[last]
    running = min(newest.unacked, _running(newest))
    first = last - 1
    while first > 0 and (newest.handled - samples[first].handled < running and last - first < 2):
        first -= 1
    short_s, messages = _mean_s(samples[first], newest, running)
    few = newest.handled - samples[first].handled < running  # then messages take at least that, and maybe longer
    while first > 0 and (
        newest.at - samples[first].at < STRETCH_S or newest.handled - samples[first].handled < running
    ):
        first -= 1
    long_s, _ = _mean_s(samples[first], newest, running)
    if few and short_s < long_s:
        return long_s, long_s
    if short_s > 0 and long_s > 0 and abs(log(short_s / long_s)) > SLOWER_DEVIATIONS / sqrt(messages):
        return short_s, long_s
    return long_s, long_s


def _mean_s(before: Sample, after: Sample, running: int) -> tuple[float, int]:
    messages = max(1, running, after.handled - before.handled)
    return max(0.0, after.busy_s - before.busy_s) / messages, messages


def _running(sample: Sample) -> int:
    if sample.running is not None:
        return sample.running
    return sample.workers if sample.workers is not None else sample.unacked
