"""What samples of the load mean, and messages for classes of which no worker runs. Pure."""

from __future__ import annotations

from dataclasses import replace

from richmond.supervisor import policy
from richmond.supervisor.fleet import Fleet, Result, Sampled, Woken, WorkerClass
from richmond.supervisor.lifecycle import State
from richmond.supervisor.targets import retarget


def sampled(fleet: Fleet, event: Sampled, now: float, _jitter: float) -> Result:
    """Classes without a sample are judged, too: that their figures get old is one."""
    before, fleet = fleet, replace(fleet, held=event.held)
    for name, cls in fleet.classes.items():
        if cls.removed or fleet.stopping:
            continue
        spec = spec_of(fleet, cls)
        new = (event.samples[name],) if name in event.samples else ()
        horizon = now - policy.horizon_s(spec)
        cls = replace(cls, samples=(*(s for s in cls.samples if s.at >= horizon), *new))
        current = min(max(cls.target, spec.min), spec.max)  # a pin may be anywhere
        cls = replace(cls, decision=policy.decide(spec, cls.samples, current, now))
        # The message that woke it came after the queue was looked at, maybe.
        waits = cls.woken and cls.target > 0 and cls.decision is not None and cls.decision.target == 0
        if cls.pin is None and cls.count(State.FATAL) == 0 and cls.decision is not None and not waits:
            cls = replace(cls, target=cls.decision.target, reason=cls.decision.reason)
        fleet = fleet.put(replace(cls, woken=False))
    return retarget(before, fleet, now)


def spec_of(fleet: Fleet, cls: WorkerClass) -> policy.ScalingSpec:
    return policy.ScalingSpec(
        cls.spec.min,
        cls.spec.max,
        cls.spec.drain_target_s,
        cls.spec.scale_down_s,
        fleet.settings.richmond.sample_interval_s,
        cls.spec.target_utilisation,
    )


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
