"""How many messages a worker should hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond.workers.prefetch import LEAST, MOST, START, Prefetch


def after(seconds, messages, fixed=0):
    prefetch = Prefetch(fixed)
    for _ in range(messages):
        prefetch.handled(seconds)
    return prefetch.value


@pytest.mark.parametrize(
    ("handler_s", "value"), [(0.00001, MOST), (0.001, 50), (0.005, START), (0.02, 2), (0.5, LEAST), (10.0, LEAST)]
)
def test_quick_handlers_hold_many_and_slow_ones_share(handler_s, value):
    assert after(handler_s, 100) == value


def test_nothing_changes_before_there_is_something_to_judge_by():
    assert after(0.00001, 31) == START
    assert after(0.9, 1) == START
    assert after(1.1, 1) == LEAST


def test_a_number_in_the_ini_stays():
    assert after(0.00001, 1000, fixed=7) == 7


def test_what_makes_little_difference_is_left_alone():
    prefetch = Prefetch(0)
    changes = [prefetch.handled(0.001 if i // 32 % 2 else 0.0015) for i in range(3200)]
    assert sum(changes) == 1


@given(st.lists(st.floats(0, 100), max_size=300))
def test_it_is_always_within_its_bounds(times):
    prefetch = Prefetch(0)
    for seconds in times:
        prefetch.handled(seconds)
    assert LEAST <= prefetch.value <= MOST
