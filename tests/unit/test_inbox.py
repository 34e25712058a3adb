"""What the reader has for the main thread."""

import queue
import threading

import pytest

from richmond.workers.inbox import Inbox


def test_messages_are_taken_in_their_order_and_a_ring_is_no_message():
    inbox = Inbox()
    inbox.put("one")
    inbox.put("two")
    inbox.ring()
    assert [inbox.take(), inbox.take(), inbox.take()] == ["one", "two", None]
    assert not inbox


def test_nothing_comes_within_the_time():
    inbox = Inbox()
    with pytest.raises(queue.Empty):
        inbox.take(0.01)
    inbox.put("late")
    assert inbox.take(0.01) == "late"


def test_a_reader_and_a_main_thread_lose_nothing_and_nobody_sleeps_for_ever():
    inbox = Inbox()

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
