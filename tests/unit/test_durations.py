"""Durations in buckets, and what lies between two looks at them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond.durations import BOUNDS, BUCKETS, NOTHING, Durations, Histogram, quantile


def counted(*seconds):
    histogram = Histogram()
    for s in seconds:
        histogram.add(s)
    return histogram.read()


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(-1.0, 0), (0.0, 0), (0.001, 0), (0.0011, 1), (0.5, 11), (60.0, 19), (60.1, 20), (1e9, 20)]
)
def test_a_bound_belongs_to_its_bucket_and_what_is_longer_to_the_last(seconds, bucket):
    found = counted(seconds)
    assert [found.counts.index(1), sum(found.counts), found.sum_s] == [bucket, 1, seconds]


def test_bounds_grow_evenly_from_a_millisecond_to_a_minute():
    assert (BOUNDS[0], BOUNDS[-1], BUCKETS) == (0.001, 60.0, len(BOUNDS) + 1)
    assert all(1.3 < b / a < 2.1 for a, b in pairwise(BOUNDS))


def test_two_add_up():
    assert counted(0.5).plus(counted(0.5, 70.0)) == counted(0.5, 0.5, 70.0)


@pytest.mark.parametrize(
    ("before", "after", "q", "expected"),
    [
        (counted(), counted(), 0.5, None),
        (counted(7.0), counted(7.0), 0.5, None),
        (counted(7.0), counted(7.0, 0.0005), 0.5, 0.0005),  # half of the first bucket
        (counted(), counted(0.004, 0.004, 0.004, 0.004), 0.5, 0.004),
        (counted(), counted(*[0.0005] * 99, 0.25), 0.99, 0.001),
        (counted(), counted(*[0.0005] * 98, 0.25, 0.25), 0.99, 0.25),
        (counted(), counted(100.0), 0.5, 60.0),
        (counted(7.0, 7.0), counted(0.0005), 0.5, 0.0005),  # another process counts
    ],
)
def test_a_quantile_is_of_what_came_between_two_looks(before, after, q, expected):
    found = quantile(before.counts, after.counts, q)
    assert found == (None if expected is None else pytest.approx(expected))


@given(st.lists(st.floats(0.0, 60.0), min_size=1), st.floats(0.0, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_value_of_that_rank(values, q):
    found = quantile(NOTHING, counted(*values).counts, q)
    value = sorted(values)[max(0, -int(-q * len(values) // 1) - 1)]
    upper = next(b for b in BOUNDS if value <= b)
    lower = max((b for b in BOUNDS if b < value), default=0.0)
    assert lower * 0.999 <= found <= upper * 1.001


def test_nothing_is_what_durations_are_made_of_without_arguments():
    assert Durations() == counted()
