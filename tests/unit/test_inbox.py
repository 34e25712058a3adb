"""What a worker's main thread has to do, and where it waits for more."""

import threading

import pytest

from richmond.workers.inbox import Inbox


def somebody_else_reads(inbox, timeout_s):
    return None


@pytest.fixture
def inbox():
    inbox = Inbox(somebody_else_reads)
    yield inbox
    inbox.close()


def test_messages_are_taken_in_their_order_and_a_ring_is_no_message(inbox):
    inbox.put("one")
    inbox.put("two")
    inbox.ring()
    assert [inbox.take(), inbox.take(), inbox.take()] == ["one", "two", None]
    assert not inbox


def test_nothing_comes_within_the_time(inbox):
    assert inbox.take(0.01) is None
    inbox.put("late")
    assert inbox.take(0.01) == "late"


def test_it_may_be_rung_more_often_than_anybody_listens(inbox):
    for _ in range(100_000):
        inbox.ring()
    assert inbox.take() is None
    assert inbox.take(0.0) is None


def test_who_attends_reads_and_who_is_rung_for_looks_again():
    answers = [True, False, False]

    def attend(inbox, timeout_s):
        inbox.put(f"read in {timeout_s}")
        return answers.pop(0)

    inbox = Inbox(attend)
    inbox.ring()
    assert inbox.take(3) == "read in 3"
    assert inbox.take() == "read in None"
    inbox.look()
    assert inbox.take() == "read in 0.0"
    inbox.close()


def test_a_ring_while_it_only_looked_is_heard_later(inbox):
    rung = [True, None]
    inbox._attend = lambda inbox, timeout_s: rung.pop(0)
    inbox.look()
    assert inbox.take() is None


def test_a_reader_and_a_main_thread_lose_nothing_and_nobody_sleeps_for_ever(inbox):
    def read():
        for start in range(0, 30_000, 3):
            for number in range(start, start + 3):
                inbox.put(number)
            inbox.read()

    reader = threading.Thread(target=read)
    reader.start()
    got = []
    while len(got) < 30_000:
        taken = inbox.take(10)
        if taken is not None:
            got.append(taken)
    reader.join()
    assert got == list(range(30_000))
