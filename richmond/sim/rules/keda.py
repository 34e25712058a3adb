"""KEDA's RabbitMQ scaler in mode QueueLength, and the HorizontalPodAutoscaler (autoscaling/v2) that acts on it.

KEDA hands the HPA the ready messages as an external metric with an average value of 20 (keda.sh, RabbitMQ queue; 20 was
the default as long as there was one). The HPA asks every 15 s (`--horizontal-pod-autoscaler-sync-period`), wants
ceil(messages / 20) pods unless that is within its tolerance of 0.1 of the pods there are (pkg/controller/podautoscaler/
replica_calculator.go), and by its default behaviour (pkg/apis/autoscaling/v2/defaults.go) adds the greater of 4 pods
and 100 % in 15 s, and goes down to the highest wish of the last 300 s. Pods start as fast as our workers here, in
KEDA's favour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil

from richmond.sim.rule import Limits, View

SYNC_S = 15.0
MESSAGES_PER_POD = 20
TOLERANCE = 0.1
UP_PODS = 4
UP_PERCENT = 100
DOWN_WINDOW_S = 300.0


class Keda:
    interval_s = SYNC_S
    at_messages = False

    def __init__(self, limits: Limits, classes: int) -> None:
        self._limits = limits
        self._wishes: list[deque[tuple[float, int]]] = [deque() for _ in range(classes)]

    def targets(self, views: Sequence[View]) -> Sequence[int]:
        return [self._target(self._wishes[n], view) for n, view in enumerate(views)]

    def _target(self, wishes: deque[tuple[float, int]], view: View) -> int:
        limits, pods = self._limits, max(view.target, 1)
        wish = pods
        if abs(view.waiting / (MESSAGES_PER_POD * pods) - 1) > TOLERANCE:
            wish = ceil(view.waiting / MESSAGES_PER_POD)
        wish = min(max(wish, limits.min), limits.max)
        wishes.append((view.now, wish))
        while wishes[0][0] < view.now - DOWN_WINDOW_S:
            wishes.popleft()
        if wish > view.target:
            return min(wish, max(view.target + UP_PODS, view.target * (100 + UP_PERCENT) // 100))
        return min(view.target, max(w for _, w in wishes))
