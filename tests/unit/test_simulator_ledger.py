"""The load's books: each message due at its time, measured from then, answered or lost once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond.simulator import ledger as module
from richmond.simulator.ledger import Ledger, Totals


def test_messages_are_due_at_the_rate_whatever_becomes_of_them():
    ledger = Ledger("ussd", rate=4, seconds=1, timeout_s=20)
    due = []
    while (at := ledger.next_due()) is not None:
        due.append(at)
        ledger.send(str(at))
    assert due == [0.0, 0.25, 0.5, 0.75]


def test_what_is_sent_late_is_measured_from_when_it_was_due():
    ledger = Ledger("ussd", rate=1, seconds=3, timeout_s=20)
    for number in "abc":  # all at 2.0, after the gateway stood still
        ledger.send(number)
    for number in "abc":
        assert ledger.answer(number, 2.5)
    totals = ledger.totals()
    assert (totals.p50_ms, totals.p99_ms, totals.max_ms) == (1500, 2500, 2500)


def test_an_answer_counts_once_and_only_for_what_is_open():
    ledger = Ledger("ussd", rate=1, seconds=1, timeout_s=20)
    assert not ledger.answer("a", 0.0)
    ledger.send("a")
    assert ledger.answer("a", 0.5)
    assert not ledger.answer("a", 0.6)
    assert not ledger.lose("a", "late")
    assert ledger.totals() == Totals("ussd", 1, 1, 0, 500, 500, 500, {})


def test_what_has_no_answer_in_time_is_lost():
    ledger = Ledger("sms", rate=1, seconds=3, timeout_s=10)
    for number in "abc":
        ledger.send(number)
    ledger.answer("b", 3.0)
    assert ledger.deadline() == 10.0
    assert ledger.expire(9.9) == []
    assert ledger.expire(10.0) == ["a"]
    assert not ledger.over()
    ledger.lose("c", "no client")
    assert ledger.over()
    totals = ledger.totals()
    assert (totals.sent, totals.answered, totals.lost) == (3, 1, 2)
    assert totals.why == {"no answer within 10 s": 1, "no client": 1}


def test_nothing_answered_has_no_times():
    assert Ledger("sms", rate=0, seconds=3, timeout_s=10).totals() == Totals("sms", 0, 0, 0, None, None, None, {})


def test_after_a_stop_nothing_is_due_but_what_is_open_is_waited_for():
    ledger = Ledger("sms", rate=1, seconds=100, timeout_s=10)
    ledger.send("a")
    ledger.stop()
    assert ledger.next_due() is None
    assert not ledger.over()
    ledger.answer("a", 1.0)
    assert ledger.over()


def test_reasons_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "REASONS", 2)
    ledger = Ledger("sms", rate=1, seconds=4, timeout_s=10)
    for number in "abcd":
        ledger.send(number)
        ledger.lose(number, f"because of {number}")
    assert ledger.totals().why == {"because of a": 1, "because of b": 1, "other reasons": 2}


@pytest.mark.parametrize(
    ("count", "p50", "p99"), [(1, 1000, 1000), (2, 1000, 2000), (100, 50_000, 99_000), (101, 51_000, 100_000)]
)
def test_percentiles_are_of_the_nearest_rank(count, p50, p99):
    ledger = Ledger("ussd", rate=1e9, seconds=1, timeout_s=1000)
    for number in range(count):
        ledger.send(str(number))
        ledger.answer(str(number), number + 1.0)
    totals = ledger.totals()
    assert (round(totals.p50_ms), round(totals.p99_ms)) == (p50, p99)


@given(st.lists(st.sampled_from(["send", "answer", "lose", "expire", "stop"]), max_size=60))
def test_the_books_balance(steps):
    ledger = Ledger("ussd", rate=10, seconds=2, timeout_s=0.5)
    open_, sent, now = [], 0, 0.0
    for step in steps:
        now += 0.05
        if step == "send" and ledger.next_due() is not None:
            ledger.send(str(sent))
            open_.append(str(sent))
            sent += 1
        elif step == "answer" and open_:
            assert ledger.answer(open_.pop(), now)
        elif step == "lose" and open_:
            assert ledger.lose(open_.pop(), "why")
        elif step == "expire":
            late = ledger.expire(now)
            open_ = [number for number in open_ if number not in late]
        elif step == "stop":
            ledger.stop()
        totals = ledger.totals()
        assert totals.sent == sent == totals.answered + totals.lost + len(open_)
        assert totals.lost == sum(totals.why.values())
