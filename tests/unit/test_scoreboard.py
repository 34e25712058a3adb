"""The shared rows: what one process writes, another reads."""

import os

import pytest

from richmond.durations import NOTHING, Durations, Histogram
from richmond.scoreboard import CONDEMNED, DEAD_REASONS, Reading, Scoreboard, identity


@pytest.fixture
def board():
    board = Scoreboard.create(3)
    yield board
    board.close()


def test_a_row_that_nobody_has_used_reads_as_nothing(board):
    assert board.row(1).read() == Reading(0, 0, 0, 0, 0.0, 0.0, None)


def test_a_message_is_in_hand_from_began_to_ended(board):
    row = board.row(1)
    row.began(100.0)
    assert row.read().began_at == 100.0
    row.ended(102.5, ok=True)
    assert row.read() == Reading(0, 1, 0, 0, 2.5, 102.5, None, took=took(2.5))


def took(*seconds):
    histogram = Histogram()
    for s in seconds:
        histogram.add(s)
    return histogram.read()


def test_how_long_a_message_waited_and_its_handler_took_is_counted_in_buckets(board):
    row = board.row(1)
    for waited, handler in ((0.004, 0.25), (70.0, 61.0), (-3.0, 0.0)):  # the wall clock was set back
        row.began(100.0)
        row.waited(waited)
        row.ended(100.0 + handler, ok=bool(handler))
    reading = row.read()
    assert reading.waited == Durations((1, 0, 0, 1, *NOTHING[5:], 1), 70.004)
    assert (reading.took.counts, reading.took.sum_s) == (took(0.25, 61.0, 0.0).counts, reading.busy_s)
    assert board.read()[0] == board.read()[2] == Reading(0, 0, 0, 0, 0.0, 0.0, None)


def test_busy_seconds_add_up_and_failures_are_counted_apart(board):
    row = board.row(0)
    for begin, end, ok in ((1.0, 2.0, True), (2.0, 2.5, False), (4.0, 4.25, True)):
        row.began(begin)
        row.ended(end, ok)
    reading = row.read()
    assert (reading.handled, reading.failed, reading.busy_s) == (2, 1, 1.75)


def test_an_acknowledged_message_counts_once_as_what_became_of_it(board):
    row = board.row(0)
    row.acknowledged(answered=True, redelivered=False)
    row.acknowledged(answered=True, dead="poison", redelivered=True)
    row.acknowledged(answered=False, redelivered=False)
    row.acknowledged(answered=True, redelivered=True, retried=True)
    reading = row.read()
    assert (reading.answered, reading.unanswered, reading.dead_lettered, reading.redelivered) == (2, 1, 1, 2)
    assert (reading.retried, reading.dead_by_reason) == (1, (0, 1, 0, 0))
    row.reset(1)
    assert row.read() == Reading(1, 0, 0, 0, 0.0, 0.0, None)


@pytest.mark.parametrize(
    ("reason", "counted"),
    [
        ("handler-failed", "handler-failed"),
        ("poison", "poison"),
        ("reply-unroutable", "reply-refused"),
        ("invalid-json", "unusable"),
        ("what a later version says", "unusable"),
    ],
)
def test_every_reason_of_a_dead_letter_is_counted_as_one_of_a_few(board, reason, counted):
    board.row(1).acknowledged(answered=False, dead=reason, redelivered=False)
    reading = board.row(1).read()
    assert dict(zip(DEAD_REASONS, reading.dead_by_reason, strict=True))[counted] == 1
    assert sum(reading.dead_by_reason) == reading.dead_lettered == 1


def test_reset_forgets_the_worker_before(board):
    row = board.row(2)
    row.began(1.0)
    row.ended(2.0, ok=False)
    row.began(3.0, waiting=9)
    row.waited(1.0)
    row.reset(4711)
    assert row.read() == Reading(4711, 0, 0, 0, 0.0, 0.0, None)


def test_rows_do_not_touch_their_neighbours(board):
    row = board.row(1)
    row.reset((1 << 22) - 1)
    row.began(1e9)
    row.ended(2e9, ok=True)
    row.began(3e9, waiting=7)
    row.turn(4e9)
    empty = Reading(0, 0, 0, 0, 0.0, 0.0, None)
    assert board.read()[0] == empty
    assert board.read()[2] == empty
    assert board.read()[1] == Reading((1 << 22) - 1, 1, 0, 7, 1e9, 4e9, 3e9, took=took(1e9))


@pytest.mark.parametrize("index", [-1, 3])
def test_a_row_out_of_bounds_is_refused(board, index):
    with pytest.raises(IndexError):
        board.row(index)


def test_another_mapping_of_the_descriptor_sees_the_same_rows(board):
    other = Scoreboard.attach(os.dup(board.fd), 3)
    other.row(2).turn(5.5)
    assert board.row(2).read().last_turn == 5.5
    other.close()


def test_a_forked_child_writes_where_its_parent_reads(board):
    pid = os.fork()
    if not pid:
        board.row(0).reset(os.getpid())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert board.row(0).read().pid == pid


def test_the_message_in_hand_is_named_until_it_ends(board):
    row = board.row(1)
    row.began(1.0, identity(b"poison"))
    assert row.read().message == identity(b"poison")
    row.ended(2.0, ok=True)
    assert row.read().message == 0


def test_a_condemned_message_is_known_to_all_and_the_oldest_is_forgotten(board):
    other = Scoreboard.attach(os.dup(board.fd), 3)
    board.condemn(identity(b"poison"))
    board.condemn(identity(b"poison"))
    assert other.row(0).condemned(identity(b"poison"))
    assert not other.row(0).condemned(identity(b"water"))
    for n in range(CONDEMNED - 1):
        board.condemn(identity(b"%d" % n))
    assert other.row(0).condemned(identity(b"poison"))
    board.condemn(identity(b"one more"))
    assert not other.row(0).condemned(identity(b"poison"))
    assert board.row(0).read().pid == 0
    other.close()
