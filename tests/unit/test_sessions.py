"""Who has a session open."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond.ssmi.sessions import NO_SESSION, SESSION_OVER, Pages, Place, SessionTable, normal_code

ANN, BOB = "27831112222", "27831113333"


@pytest.fixture
def table() -> SessionTable:
    numbers = count(1)
    return SessionTable(120.0, lambda: f"t{next(numbers)}")


def test_a_new_session_gets_a_token_and_its_code(table):
    assert table.inbound(ANN, "1", "*120*666", 0) == Place("t1", "*120*666#", "new")
    assert len(table) == 1


def test_answers_keep_token_and_code(table):
    table.inbound(ANN, "1", "*120*666#", 0)
    assert table.inbound(ANN, "2", "yes", 10) == Place("t1", "*120*666#", "open")


def test_what_does_not_fit_the_sessions_that_are_known_is_counted(table):
    table.inbound(ANN, "1", "*1#", 0)
    table.inbound(ANN, "2", "yes", 1)
    assert table.odd == {}
    table.inbound(ANN, "1", "*2#", 2)
    table.inbound(ANN, "3", "Done", 3)
    table.inbound(ANN, "4", "Timeout", 4)
    table.inbound(ANN, "2", "hello?", 5)
    assert table.odd == {"sessions-overtaken": 1, "sessions-over-before": 1, "sessions-adopted": 1}


@pytest.mark.parametrize("ussd_type", ["3", "4"])
def test_an_end_from_the_subscriber_closes_and_still_names_the_session(table, ussd_type):
    table.inbound(ANN, "1", "*1#", 0)
    assert table.inbound(ANN, ussd_type, "Done", 1) == Place("t1", "*1#", "over")
    assert len(table) == 0
    assert table.refusal(ANN, "t1", 1) == SESSION_OVER
    assert table.inbound(ANN, ussd_type, "Done", 2) == Place(None, None, "over")


def test_a_second_session_replaces_the_first(table):
    table.inbound(ANN, "1", "*1#", 0)
    table.inbound(ANN, "1", "*2#", 5)
    assert len(table) == 1
    assert table.refusal(ANN, "t1", 5) == SESSION_OVER
    assert table.refusal(ANN, "t2", 5) is None


def test_pages_belong_to_a_session_and_go_with_the_next_reply(table):
    table.inbound(ANN, "1", "*1#", 0)
    two, one = Pages(("2", "3"), "3"), Pages(("3",), "3")
    table.keep_pages(ANN, "another", two)
    assert table.inbound(ANN, "2", "#", 1).pages is None
    table.keep_pages(ANN, "t1", two)
    assert table.inbound(ANN, "2", "#", 1) == Place("t1", "*1#", "open", two)
    table.keep_pages(ANN, None, one)
    assert table.inbound(ANN, "2", "#", 1).pages == one
    table.replied(ANN, "2", 1)
    assert table.inbound(ANN, "2", "#", 2).pages is None
    table.keep_pages(ANN, None, two)
    assert table.inbound(ANN, "1", "*2#", 3).pages is None
    assert table.inbound(ANN, "2", "#", 3).pages is None
    table.keep_pages(BOB, None, two)
    assert len(table) == 1


def test_pages_are_saved_and_restored(table):
    table.inbound(ANN, "1", "*1#", 0)
    table.changes(0, 1000.0)
    pages = Pages(("2",), "2", ("a", ""))
    table.keep_pages(ANN, None, pages)
    opened, _ = table.changes(0, 1000.0)
    assert [saved.pages for saved in opened] == [pages]
    other = SessionTable(120.0, lambda: "x")
    other.restore(opened, 0, 1000.0)
    assert other.inbound(ANN, "2", "#", 1).pages == pages
    table.replied(ANN, "2", 1)
    assert [saved.pages for saved in table.changes(1, 1001.0)[0]] == [None]


def test_an_answer_without_a_known_session_opens_one_without_a_code(table):
    assert table.inbound(ANN, "2", "1", 0) == Place("t1", None, "adopted")
    assert table.refusal(ANN, None, 0) is None


def test_a_reply_needs_the_current_token_or_at_least_an_open_session(table):
    assert table.refusal(ANN, None, 0) == NO_SESSION
    assert table.refusal(ANN, "t1", 0) == SESSION_OVER
    table.inbound(ANN, "1", "*1#", 0)
    assert table.refusal(ANN, None, 0) is None
    assert table.refusal(ANN, "t1", 0) is None
    assert table.refusal(BOB, "t1", 0) == SESSION_OVER


def test_a_reply_that_ends_closes_the_session(table):
    table.inbound(ANN, "1", "*1#", 0)
    assert table.replied(ANN, "2", 1) is None
    ended = table.replied(ANN, "3", 2)
    assert ended is not None
    assert table.refusal(ANN, "t1", 2) == SESSION_OVER


def test_an_end_that_never_got_there_is_undone(table):
    table.inbound(ANN, "1", "*1#", 0)
    ended = table.replied(ANN, "3", 1)
    table.reopen(ANN, ended, 2)
    assert table.refusal(ANN, "t1", 2) is None


def test_an_undone_end_does_not_replace_the_session_that_began_meanwhile(table):
    table.inbound(ANN, "1", "*1#", 0)
    ended = table.replied(ANN, "3", 1)
    table.inbound(ANN, "1", "*2#", 2)
    table.reopen(ANN, ended, 3)
    assert table.refusal(ANN, "t2", 3) is None


def test_a_network_initiated_session_is_open_for_the_answer(table):
    table.replied(ANN, "6", 0)
    assert table.inbound(ANN, "2", "1", 1) == Place("t1", None, "open")


def test_idle_sessions_expire_and_busy_ones_stay(table):
    table.inbound(ANN, "1", "*1#", 0)
    table.inbound(BOB, "1", "*1#", 0)
    table.inbound(ANN, "2", "x", 60)
    assert table.expire(119) == 0
    assert table.expire(120) == 1
    assert table.refusal(BOB, None, 120) == NO_SESSION
    assert table.refusal(ANN, None, 120) is None


def test_a_session_is_over_at_its_age_even_before_the_sweep(table):
    table.inbound(ANN, "1", "*1#", 0)
    assert table.refusal(ANN, "t1", 119.9) is None
    assert table.refusal(ANN, "t1", 120) == SESSION_OVER
    assert len(table) == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["in", "out", "sweep"]), st.integers(0, 5), st.sampled_from("123456"), st.floats(0, 50)
        )
    )
)
def test_after_a_sweep_no_session_is_older_than_the_timeout(history):
    numbers = count()
    table = SessionTable(20.0, lambda: str(next(numbers)))
    now, touched = 0.0, {}
    for what, number, ussd_type, later in history:
        now += later
        msisdn = str(number)
        if what == "in":
            table.inbound(msisdn, ussd_type, "*1#", now)
            touched[msisdn] = now
        elif what == "out":
            table.replied(msisdn, ussd_type, now)
            touched[msisdn] = now
        else:
            table.expire(now)
            assert len(table) <= sum(now - then < 20.0 for then in touched.values())


def test_a_code_is_the_same_with_and_without_its_final_hash():
    assert normal_code("*6*7*8") == normal_code(" *6*7*8# ") == "*6*7*8#"


def test_what_is_open_is_saved_once_and_taken_up_by_the_next_process(table):
    place = table.inbound("2781", "1", "*120*1#", 10.0)
    table.inbound("2782", "1", "*120*2#", 12.0)
    saved, closed = table.changes(20.0, 1020.0)
    assert {(s.msisdn, s.code, s.touched) for s in saved} == {("2781", "*120*1#", 1010.0), ("2782", "*120*2#", 1012.0)}
    assert closed == []
    assert table.changes(20.0, 1020.0) == ([], [])

    later = SessionTable(120.0, str)
    assert later.restore(sorted(saved, key=lambda s: s.touched), 5.0, 1025.0) == 2
    assert later.refusal("2781", place.token, 5.0) is None
    assert later.inbound("2781", "2", "1", 5.0).code == "*120*1#"
    assert not later.restore(saved, 5.0, 999_999.0)  # all of them over long ago


def test_a_session_that_came_and_went_between_two_saves_costs_nothing(table):
    table.inbound("2781", "1", "*120*1#", 10.0)
    table.replied("2781", "3", 11.0)
    assert not table.dirty
    assert table.changes(12.0, 12.0) == ([], [])


def test_the_end_of_a_saved_session_is_saved_too_however_it_ends(table):
    for msisdn in ("2781", "2782", "2783"):
        table.inbound(msisdn, "1", "*120*1#", 10.0)
    table.changes(10.0, 10.0)
    table.replied("2781", "3", 11.0)
    table.inbound("2782", "4", "Timeout", 11.0)
    table.expire(100_000.0)
    assert sorted(table.changes(100_000.0, 0.0)[1]) == ["2781", "2782", "2783"]


def test_a_session_that_is_dialled_again_or_goes_on_for_long_is_saved_anew(table):
    table.inbound("2781", "1", "*120*1#", 0.0)
    table.changes(0.0, 0.0)
    again = table.inbound("2781", "1", "*120*2#", 1.0)
    assert [(s.token, s.code) for s in table.changes(1.0, 1.0)[0]] == [(again.token, "*120*2#")]
    table.inbound("2781", "2", "1", 1.5)
    assert not table.dirty
    table.inbound("2781", "2", "1", 1.0 + 0.2 * table.timeout_s)
    assert [s.msisdn for s in table.changes(50.0, 50.0)[0]] == ["2781"]


def test_only_the_first_reply_to_a_message_says_how_long_its_subscriber_waited():
    table = SessionTable(120.0, lambda: "t")
    assert table.asked(ANN) == 0.0
    table.inbound(ANN, "1", "*1#", 10.0)
    assert (table.asked(ANN), table.asked(ANN)) == (10.0, 0.0)
    table.inbound(ANN, "2", "yes", 20.0)
    table.inbound(ANN, "2", "no", 25.0)
    assert table.asked(ANN) == 25.0
