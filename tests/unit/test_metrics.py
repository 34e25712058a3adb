"""What workers did, added up by class over their deaths."""

import pytest

from richmond.scoreboard import Scoreboard
from richmond.supervisor.metrics import Counts


@pytest.fixture
def board():
    return Scoreboard.create(4)


def work(row, pid, messages):
    row.reset(pid)
    for _ in range(messages):
        row.began(10.0)
        row.waited(0.004)
        row.ended(11.0, True)


def test_counts_only_grow_when_a_worker_dies_and_another_takes_its_row(board):
    counts = Counts(board)
    work(board.row(0), 100, 3)
    assert counts.read("A", {0: 100}, 20.0).handled == 3
    work(board.row(0), 101, 2)
    totals = counts.read("A", {0: 101}, 20.0)
    assert (totals.handled, totals.busy_s) == (5, 5.0)
    assert (totals.waited.counts[3], totals.took.counts[12]) == (5, 5)
    assert (sum(totals.waited.counts), totals.waited.sum_s, totals.took.sum_s) == (5, pytest.approx(0.02), 5.0)
    assert counts.read("A", {}, 20.0).handled == 5


def test_who_asks_with_what_was_so_a_moment_ago_counts_nobody_twice_and_loses_nobody(board):
    counts = Counts(board)
    work(board.row(0), 100, 3)
    work(board.row(1), 101, 2)
    assert counts.read("A", {0: 100, 1: 101}, 20.0).handled == 5
    assert counts.read("A", {1: 101}, 20.1).handled == 5  # the first has ended
    assert counts.read("A", {0: 100}, 20.2).handled == 5  # before the second began, and the first had ended
    assert counts.read("A", {1: 101}, 20.3).handled == 5
    work(board.row(1), 101, 4)
    assert counts.read("A", {1: 101}, 99.0).handled == 7
    assert counts.read("A", {1: 101}, 199.0).handled == 7
    work(board.row(0), 102, 9)
    assert counts.read("A", {1: 101}, 299.0).handled == 7


def test_what_is_kept_for_the_next_master_goes_on_there(board):
    counts = Counts(board)
    work(board.row(0), 100, 1)
    board.row(0).acknowledged(answered=True, redelivered=False)
    counts.read("A", {0: 100}, 20.0)
    kept = counts.keep()
    assert kept == {"A": {"answered": 1, "unanswered": 0, "dead_lettered": 0, "redelivered": 0, "retried": 0}}

    next_one = Counts(Scoreboard.create(4))
    next_one.restore({**kept, "Gone": {"answered": 7}})
    assert next_one.read("A", {}, 20.0).answered == 1
    assert next_one.keep()["Gone"]["answered"] == 7


def test_a_message_in_hand_counts_as_held_and_its_time_as_busy(board):
    work(board.row(0), 100, 1)
    board.row(0).began(12.0, waiting=4)
    totals = Counts(board).read("A", {0: 100}, 20.0)
    assert (totals.unacked, totals.busy_s) == (5, 9.0)


def test_what_a_dead_worker_held_is_no_longer_held(board):
    work(board.row(0), 100, 1)
    board.row(0).began(12.0, waiting=4)
    counts = Counts(board)
    counts.read("A", {0: 100}, 20.0)
    totals = counts.read("A", {0: None}, 20.0)
    assert (totals.unacked, totals.handled, totals.busy_s) == (0, 1, 1.0)


def test_a_row_that_another_class_left_behind_is_not_counted(board):
    work(board.row(0), 100, 3)
    counts = Counts(board)
    assert counts.read("B", {0: None}, 20.0).handled == 0
    assert counts.read("B", {0: 101}, 20.0).handled == 0
    work(board.row(0), 101, 1)
    assert counts.read("B", {0: 101}, 20.0).handled == 1
