"""What holds for the policy whatever it is told."""

from dataclasses import replace
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond.supervisor.policy import Ask, Sample, ScalingSpec, decide, shares

counts = st.integers(0, 10_000)
maybe = st.none() | st.integers(0, 50)
intervals = st.lists(
    st.tuples(st.floats(0.1, 10), counts, counts, counts, st.floats(0, 1000), maybe, maybe, maybe), max_size=60
)
specs = st.builds(
    lambda least, more, drain_s, down_s, interval_s, part: ScalingSpec(
        least, least + more, drain_s, down_s, interval_s, part
    ),
    st.sampled_from([0, 1, 7]), st.sampled_from([0, 1, 30]), st.floats(0.1, 600), st.floats(0.1, 600),
    st.floats(0.1, 60), st.floats(0.1, 0.95),
)  # fmt: skip
machines = st.fixed_dictionaries(
    {
        "cpu": st.none() | st.floats(0, 1),
        "workers_cpu": st.none() | st.floats(0, 1),
        "memory_free": st.none() | st.integers(0, 1 << 40),
        "worker_bytes": st.none() | st.integers(0, 1 << 30),
        "starting": st.integers(0, 50),
    }
)


def samples(steps, machine):
    at, handled, busy, found = 0.0, 0, 0.0, []
    for elapsed, ready, unacked, more, spent, workers, running, consumers in steps:
        at, handled, busy = at + elapsed, handled + more, busy + spent
        found.append(
            Sample(at, ready, unacked, handled, busy, workers, running=running, consumers=consumers, **machine)
        )
    return found


@given(specs, intervals, machines, st.integers(0, 150))
def test_the_target_is_within_bounds_and_has_a_reason_and_finite_figures(spec, steps, machine, current):
    found = samples(steps, machine)
    decision = decide(spec, found, current, found[-1].at if found else 0.0)
    assert spec.min <= decision.target <= spec.max
    assert decision.reason
    if decision.figures is not None:
        f = decision.figures
        assert all(isfinite(x) for x in (f.arrivals_per_s, f.message_s, f.utilisation, f.share, f.raw, f.window_s))
        assert 0 <= f.utilisation <= 1
        assert 0 <= f.share <= 1


@given(specs, intervals, machines, st.integers(0, 150), st.integers(1, 100_000))
def test_more_backlog_never_lowers_the_target(spec, steps, machine, current, more):
    found = samples(steps, machine)
    if not found:
        return
    longer = [*found[:-1], replace(found[-1], ready=found[-1].ready + more)]
    now = found[-1].at
    assert decide(spec, longer, current, now).target >= decide(spec, found, current, now).target


@given(specs, intervals, machines, st.integers(0, 150), st.floats(3.1, 1000))
def test_stale_and_missing_figures_hold(spec, steps, machine, current, late):
    found = samples(steps, machine)
    now = (found[-1].at if found else 0.0) + late * spec.interval_s
    held = min(max(current, spec.min), spec.max)
    assert decide(spec, found, current, now).target == held
    assert decide(spec, found[-1:], current, now).target == held


@pytest.mark.parametrize("per_interval", [0, 1, 3, 10, 47, 200, 900])
@pytest.mark.parametrize("handler_s", [0.001, 0.1, 0.7])
def test_a_constant_load_ends_in_a_constant_target(per_interval, handler_s):
    spec = ScalingSpec(1, 400, 5, 10, 2)
    found, target, targets, backlog = [Sample(0.0, 0, 0, 0, 0.0, 1)], 1, [], 0
    for n in range(1, 300):
        last = found[-1]
        done = min(backlog + per_interval, int(target * 2 / handler_s))
        backlog += per_interval - done
        # What one worker has in hand is as long unfinished as it takes.
        busy = last.busy_s + done * handler_s
        found = [*found[-70:], Sample(n * 2.0, backlog, 0, last.handled + done, busy, target, running=target)]
        target = decide(spec, found, target, n * 2.0).target
        targets.append(target)
    assert len(set(targets[100:])) == 1
    assert targets[-1] * 2 >= per_interval * handler_s


asks = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(
        lambda least, more, weight, fatal: Ask(least, least + more, weight, fatal),
        st.integers(0, 10), st.integers(0, 40), st.sampled_from([1, 2, 5, 1000]), st.booleans(),
    ),
)  # fmt: skip


@given(asks, st.integers(0, 100))
def test_the_budget_is_kept_and_everybody_gets_what_it_has_a_right_to(wanted, budget):
    granted = shares(wanted, budget)
    rights = sum(ask.least for ask in wanted.values() if not ask.fatal)
    assert sum(granted.values()) <= max(budget, rights)
    for name, ask in wanted.items():
        assert granted[name] == 0 if ask.fatal else ask.least <= granted[name] <= ask.wanted
    if sum(granted.values()) < budget:
        assert all(granted[name] == ask.wanted for name, ask in wanted.items() if not ask.fatal)


def test_what_is_more_than_the_minimum_is_shared_by_weight():
    assert shares({"a": Ask(1, 90, 2), "b": Ask(1, 90, 1)}, 30) == {"a": 20, "b": 10}
    assert shares({"a": Ask(1, 90, fatal=True), "b": Ask(1, 90)}, 30) == {"a": 0, "b": 30}
