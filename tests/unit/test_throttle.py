"""The token bucket and the queue in front of it, in tables and properties."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond.throttle import Biting, Bucket, Throttle

rates = st.floats(0.01, 10_000)
bursts = st.floats(0, 500)
pauses = st.lists(st.floats(0, 20), min_size=1, max_size=60)


def times(start, pauses):
    now = start
    for pause in pauses:
        now += pause
        yield now


@pytest.mark.parametrize(
    ("rate", "burst", "asked", "waits"),
    [
        (1, 1, [0, 0, 0.75, 1, 1], [0, 1, 0.25, 0, 1]),
        (0.5, 1, [0, 0, 1, 2, 2], [0, 2, 1, 0, 2]),
        (2, 3, [0, 0, 0, 0, 100, 100, 100, 100], [0, 0, 0, 0.5, 0, 0, 0, 0.5]),
        (10, 0, [5, 5], [0, 0.1]),  # a burst is of one at least
        (0, 1, [0, 0, 0], [0, 0, 0]),
        (1, 1, [10, 9, 10, 11], [0, 1, 1, 0]),  # a clock that goes back earns nothing
    ],
)
def test_waits(rate, burst, asked, waits):
    bucket = Bucket(rate, burst)
    assert [bucket.take(now) for now in asked] == pytest.approx(waits)


@given(rates, bursts, st.floats(0, 1e6), pauses, st.lists(st.integers(1, 100), min_size=1))
def test_never_more_than_the_burst_and_the_rate_in_any_window(rate, burst, start, pauses, greed):
    bucket = Bucket(rate, burst)
    taken = []
    for n, now in enumerate(times(start, pauses)):
        taken += [now for _ in range(greed[n % len(greed)]) if bucket.take(now) == 0.0]
    for i in range(0, len(taken), max(1, len(taken) // 20)):
        for j in range(i, len(taken), max(1, len(taken) // 50)):
            assert j - i + 1 <= max(1, burst) + rate * (taken[j] - taken[i]) + 1e-3


@given(rates, bursts, st.floats(0, 1e6), pauses)
def test_who_waits_as_long_as_told_gets_a_token_and_who_does_not_gets_none(rate, burst, start, pauses):
    bucket = Bucket(rate, burst)
    for now in times(start, pauses):
        if wait := bucket.take(now):
            assert bucket.take(now + wait / 2) > 0
            assert bucket.take(now + wait + 1e-9 * now) == 0.0
            return


@given(rates, bursts, st.floats(0, 100))
def test_all_that_the_rate_allows_gets_through(rate, burst, duration):
    bucket = Bucket(rate, burst)
    now, taken = 0.0, 0
    while now <= duration and taken < 2000:
        wait = bucket.take(now)
        taken += not wait
        now += wait
    assert taken >= min(2000, math.floor(max(1, burst) + rate * duration - 0.01))


@given(rates, bursts, rates, bursts, st.integers(0, 300), st.floats(0, 10), st.floats(0, 10))
def test_a_new_rate_holds_from_now_on_and_saves_nothing_up(rate, burst, new_rate, new_burst, drawn, before, after):
    bucket = Bucket(rate, burst)
    left = max(1, burst) - sum(bucket.take(0.0) == 0.0 for _ in range(drawn))
    earned = min(max(1, burst), left + rate * before)
    bucket.reconfigure(new_rate, new_burst, before)
    may = min(max(1, new_burst), min(earned, max(1, new_burst)) + new_rate * after)
    got = 0
    while got < 600 and bucket.take(before + after) == 0.0:
        got += 1
    assert abs(got - min(600, math.floor(may))) <= 1  # of rounding
    assert got <= may + 1e-3


def test_a_limit_on_what_had_none_begins_with_a_full_burst_and_no_more():
    bucket = Bucket(0, 5)
    assert [bucket.take(now) for now in range(100)] == [0.0] * 100
    bucket.reconfigure(1, 2, 100)
    assert [bucket.take(100) for _ in range(3)] == [0, 0, 1]


@given(
    st.one_of(st.just(0.0), rates),
    bursts,
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(1, 30)),
            st.tuples(st.just("due"), st.floats(0, 5)),
            st.tuples(st.just("put_back"), st.integers(1, 5)),
            st.tuples(st.just("reconfigure"), st.one_of(st.just(0.0), rates)),
        ),
        max_size=50,
    ),
)
def test_nothing_is_lost_repeated_or_overtaken(rate, burst, steps):
    throttle = Throttle(rate, burst)
    now, put, out = 1000.0, 0, []
    for what, value in steps:
        if what == "put":
            for _ in range(value):
                throttle.put(put)
                put += 1
        elif what == "due":
            now += value
            out += throttle.due(now)
        elif what == "put_back":  # the link broke under the last ones
            back = out[-value:]
            del out[-value:]
            throttle.put_back(back)
        else:
            throttle.reconfigure(value, burst, now)
        assert len(throttle) == put - len(out)
        assert out == list(range(len(out)))
    out += throttle.clear()
    assert out == list(range(put))
    assert (len(throttle), throttle.next_in(now), throttle.biting()) == (0, None, None)


@given(st.integers(0, 2000), bursts, st.floats(0, 1e6))
def test_a_rate_of_0_is_no_limit(count, burst, now):
    throttle = Throttle(0, burst)
    for n in range(count):
        throttle.put(n)
    assert throttle.next_in(now) in (None, 0.0)
    assert throttle.due(now) == list(range(count))
    assert throttle.biting() is None


def test_status_sees_since_when_how_many_wait_for_what():
    throttle = Throttle(2, 1)
    assert (throttle.next_in(10), throttle.biting()) == (None, None)
    for n in range(4):
        throttle.put(n)
    assert (throttle.next_in(10), throttle.biting()) == (0.0, None)  # nothing had to wait yet
    assert throttle.due(10) == [0]
    assert throttle.biting() == Biting(waiting=3, since=10, per_second=2)
    assert throttle.next_in(10.25) == pytest.approx(0.25)
    assert throttle.due(10.25) == []
    assert throttle.due(10.5) == [1]
    assert throttle.biting() == Biting(waiting=2, since=10, per_second=2)
    throttle.reconfigure(1, 1, 10.5)
    assert throttle.biting() == Biting(waiting=2, since=10, per_second=1)
    assert throttle.due(11.5) == [2]
    assert throttle.due(12.5) == [3]
    assert throttle.biting() is None
    throttle.put(4)
    throttle.due(12.5)
    assert throttle.biting() == Biting(waiting=1, since=12.5, per_second=1)
