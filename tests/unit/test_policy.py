"""How many workers: tables of samples, and what holds for all samples."""

from dataclasses import replace
from itertools import pairwise

import pytest

from richmond.supervisor.policy import Ask, Sample, ScalingSpec, decide, shares

SPEC = ScalingSpec(min=1, max=8, drain_target_s=5, scale_down_s=60, interval_s=2)


def run(load, spec=SPEC, current=1, seconds=120, handler_s=0.1):
    """Play a queue against the policy: `load(t)` messages/s arrive, each worker handles 1/handler_s. All targets."""
    ready, handled, busy, samples, targets = 0.0, 0.0, 0.0, [], []
    for t in range(0, seconds, 2):
        arrived = load(t) * 2
        done = min(ready + arrived, current / handler_s * 2)
        ready, handled, busy = ready + arrived - done, handled + done, busy + done * handler_s
        unacked = current if ready else 0
        samples = [s for s in samples if s.at >= t - spec.scale_down_s - 4]
        samples.append(Sample(float(t), int(ready), unacked, int(handled), busy))
        current = decide(spec, samples, current, float(t)).target
        targets.append(current)
    return targets


def test_an_idle_class_stays_at_its_minimum():
    assert set(run(lambda t: 0)) == {1}


def test_a_load_that_one_worker_cannot_carry_grows_the_class_at_once():
    targets = run(lambda t: 40)
    assert targets[3] >= 4
    assert targets[-1] < 8


def test_an_overload_grows_to_the_maximum_and_no_further():
    assert run(lambda t: 1000)[-1] == 8


def test_when_the_load_is_over_the_class_shrinks_to_its_minimum_but_not_at_once():
    targets = run(lambda t: 60 if t < 60 else 0, seconds=300)
    assert max(targets) >= 6
    assert targets[-1] == 1
    assert min(targets[30:33]) >= 6  # six too many cost a minute of one after ten seconds


def test_a_handler_slower_than_the_sampling_is_seen_too():
    assert run(lambda t: 1, handler_s=5.0, seconds=60)[-1] >= 5


def test_stale_or_missing_figures_change_nothing():
    old = [Sample(0.0, 0, 0, 0, 0.0), Sample(2.0, 0, 0, 0, 0.0)]
    assert decide(SPEC, old, 4, 100.0).target == 4
    assert decide(SPEC, [], 4, 100.0).target == 4


def play(per_s, handler_s, spec=SPEC, seconds=200, prefetch=10):
    """As `run`, with single messages and workers, each of which holds up to `prefetch`. All targets."""
    step, queue, arrived, handled, busy = 0.05, 0, 0.0, 0, 0.0
    left = [[]]  # for each worker: seconds that the messages which it holds still take
    samples, targets = [], []
    for n in range(1, round(seconds / step)):
        arrived += per_s * step
        while arrived >= 1:
            arrived, queue = arrived - 1, queue + 1
        for held in left:
            while queue and len(held) < prefetch:
                held.append(handler_s)
                queue -= 1
            if held:
                held[0], busy = held[0] - step, busy + step
                if held[0] <= 0:
                    held.pop(0)
                    handled += 1
        if n % round(spec.interval_s / step) == 0:
            samples = [s for s in samples if s.at >= n * step - spec.scale_down_s - 2 * spec.interval_s]
            samples.append(Sample(n * step, queue, sum(map(len, left)), handled, busy, len(left)))
            wanted = decide(spec, samples, len(left), n * step).target
            targets.append(wanted)
            left += [[] for _ in range(wanted - len(left))]
            for idle in [held for held in left if not held][: len(left) - wanted]:
                left.remove(idle)
    return targets


@pytest.mark.parametrize("prefetch", [1, 10])
@pytest.mark.parametrize(("per_s", "handler_s", "needed"), [(0.4, 5, 3), (1, 2, 3), (0.2, 20, 6), (40, 0.1, 5)])
def test_slow_handlers_get_about_what_they_need_and_the_count_does_not_swing(per_s, handler_s, needed, prefetch):
    targets = play(per_s, handler_s, replace(SPEC, max=30), prefetch=prefetch)
    assert max(targets) <= 2.5 * needed
    assert targets[-1] >= needed
    assert sum(a < b for a, b in pairwise(targets[len(targets) // 2 :])) <= 2


def test_a_class_that_is_down_to_nothing_wakes_up_for_a_message():
    spec = replace(SPEC, min=0)
    samples = [Sample(0.0, 0, 0, 0, 0.0, 0), Sample(2.0, 1, 0, 0, 0.0, 0)]
    assert decide(spec, samples, 0, 2.0).target == 1


def test_one_worker_that_has_just_been_added_does_not_go_again():
    samples = [Sample(float(t), 0, 0, 33 * t, 3.3 * t, 4 if t < 50 else 5) for t in range(0, 64, 2)]
    assert decide(SPEC, samples, 5, 62.0).target == 5
    assert decide(SPEC, [replace(s, workers=5) for s in samples], 5, 62.0).target < 5


@pytest.mark.parametrize(
    ("asks", "budget", "granted"),
    [
        ({"a": (1, 3), "b": (1, 4)}, 10, {"a": 3, "b": 4}),
        ({"a": (1, 3), "b": (1, 9)}, 10, {"a": 3, "b": 7}),
        ({"a": (1, 30), "b": (1, 9)}, 10, {"a": 5, "b": 5}),
        ({"a": (7, 7), "b": (1, 9)}, 10, {"a": 7, "b": 3}),
        ({"a": (7, 7), "b": (6, 9)}, 10, {"a": 7, "b": 6}),
    ],
)
def test_the_largest_gives_way_until_all_fit(asks, budget, granted):
    assert shares({name: Ask(*ask) for name, ask in asks.items()}, budget) == granted
