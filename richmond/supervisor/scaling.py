"""What samples of the load mean, and messages for classes of which no worker runs. Pure."""

from __future__ import annotations

from dataclasses import replace

from richmond.supervisor import policy
from richmond.supervisor.fleet import Fleet, Result, Sampled, Woken, WorkerClass
from richmond.supervisor.lifecycle import State
from richmond.supervisor.targets import retarget


def sampled(fleet: Fleet, event: Sampled, now: float, _jitter: float) -> Result:
    before, fleet = fleet, replace(fleet, held=event.held)
    for name, sample in event.samples.items():
        cls = fleet.classes.get(name)
        if cls is None or cls.removed or fleet.stopping:
            continue
        spec = policy.ScalingSpec(
            cls.spec.min, cls.spec.max, cls.spec.drain_target_s, cls.spec.scale_down_s,
            fleet.settings.richmond.sample_interval_s,
        )  # fmt: skip
        horizon = now - spec.scale_down_s - 2 * spec.interval_s
        cls = replace(cls, samples=(*(s for s in cls.samples if s.at >= horizon), sample), woken=False)
        if cls.pin is None and cls.count(State.FATAL) == 0:
            decision = policy.decide(spec, cls.samples, cls.target, now)
            cls = replace(cls, target=decision.target, reason=decision.reason)
        fleet = fleet.put(cls)
    return retarget(before, fleet, now)


def woken(fleet: Fleet, event: Woken, now: float, _jitter: float) -> Result:
    cls = fleet.classes.get(event.name)
    if cls is None or not _sleeps(fleet, cls):
        return fleet, []
    cls = replace(cls, target=1, reason="a message came", woken=True)
    return retarget(fleet, fleet.put(cls), now)


def asleep(fleet: Fleet) -> dict[str, str]:
    """Routing key -> class, of those that a message wakes."""
    return {cls.spec.routing_key: name for name, cls in fleet.classes.items() if _sleeps(fleet, cls)}


def _sleeps(fleet: Fleet, cls: WorkerClass) -> bool:
    """`woken`: where max-workers has no room for it, one `Woken` for each message would be too many."""
    wanted = cls.pin is None and cls.spec.max > 0 and not cls.removed and not fleet.stopping
    return wanted and cls.target == 0 and not cls.woken
