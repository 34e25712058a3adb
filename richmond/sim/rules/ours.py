"""Richmond's own rule: `policy.decide` and `policy.shares`, fed as the master feeds them."""

from __future__ import annotations

from collections.abc import Sequence

from richmond.sim.rule import Limits, View
from richmond.supervisor import policy


class Ours:
    at_messages = False

    def __init__(self, spec: policy.ScalingSpec, limits: Limits, classes: int, hosts: int = 1) -> None:
        self.interval_s = spec.interval_s
        self._spec = spec
        self._limits = limits
        self._classes = classes
        self._samples: list[list[policy.Sample]] = [[] for _ in range(classes * hosts)]
        self.decisions: list[policy.Decision] = []

    def targets(self, views: Sequence[View]) -> Sequence[int]:
        self.decisions = [self._decide(samples, view) for samples, view in zip(self._samples, views, strict=True)]
        found: list[int] = []
        for first in range(0, len(views), self._classes):
            of_host = self.decisions[first : first + self._classes]
            asks = {str(n): policy.Ask(self._spec.min, decision.target) for n, decision in enumerate(of_host)}
            found += policy.shares(asks, self._limits.together).values()
        return found

    def _decide(self, samples: list[policy.Sample], view: View) -> policy.Decision:
        while samples and samples[0].at < view.now - policy.horizon_s(self._spec):
            del samples[0]
        samples.append(
            policy.Sample(
                view.now, view.waiting, view.busy, view.handled, view.busy_s, view.target,
                running=view.running, starting=view.starting, consumers=view.consumers,
            )
        )  # fmt: skip
        return policy.decide(self._spec, samples, view.target, view.now)
