"""How many workers: tables of samples, and what holds for all samples."""

from hypothesis import given
from hypothesis import strategies as st

from richmond.supervisor.policy import Sample, ScalingSpec, decide

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


def test_when_the_load_is_over_the_class_shrinks_step_by_step_to_its_minimum():
    targets = run(lambda t: 60 if t < 60 else 0, seconds=300)
    assert max(targets) >= 6
    assert targets[-1] == 1
    after = targets[30:]
    assert all(a - b <= 2 for a, b in zip(after, after[1:], strict=False))
    assert after[10] == after[0]  # not before the load has been lower for a while


def test_a_handler_slower_than_the_sampling_is_seen_too():
    assert run(lambda t: 1, handler_s=5.0, seconds=60)[-1] >= 5


def test_stale_or_missing_figures_change_nothing():
    old = [Sample(0.0, 0, 0, 0, 0.0), Sample(2.0, 0, 0, 0, 0.0)]
    assert decide(SPEC, old, 4, 100.0).target == 4
    assert decide(SPEC, [], 4, 100.0).target == 4


samples = st.lists(st.tuples(st.floats(0.1, 10), *[st.integers(0, 10_000)] * 3, st.floats(0, 1000)), max_size=60)


@given(samples, st.integers(0, 50))
def test_the_target_is_always_within_bounds_and_has_a_reason(steps, current):
    at, handled, busy, found = 0.0, 0, 0.0, []
    for elapsed, ready, unacked, more, spent in steps:
        at, handled, busy = at + elapsed, handled + more, busy + spent
        found.append(Sample(at, ready, unacked, handled, busy))
    decision = decide(SPEC, found, current, at)
    assert SPEC.min <= decision.target <= SPEC.max
    assert decision.reason
