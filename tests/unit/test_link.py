"""The link's histories: what happens, and what is then to be done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from richmond.settings import SsmiSettings
from richmond.ssmi.codec import Ack, MoSms, Nack, RemoteLogout
from richmond.ssmi.link import Dial, Hangup, Link, LinkState, Send

SETTINGS = SsmiSettings(
    host="gateway",
    port=50008,
    username="user",
    password="pa,ss",
    encoding="iso-8859-1",
    login_timeout_s=10.0,
    link_check_interval_s=60.0,
    max_line_bytes=65536,
    reconnect_min_s=1.0,
    reconnect_max_s=60.0,
    auth_backoff_s=60.0,
    remote_logout_backoff_s=60.0,
    on_remote_logout="backoff",
    session_timeout_s=120.0,
    apology="Sorry",
    buffer=100,
)
CHECK = Send(b"SSMI,3\r")


def up(at: float = 0.0, **changes: object) -> Link:
    link = Link(replace(SETTINGS, **changes))
    link.start(at)
    link.connected(at)
    link.received(Ack("1"), at)
    assert link.state is LinkState.UP
    return link


def test_it_dials_logs_in_and_checks_the_link_at_once():
    link = Link(SETTINGS)
    assert link.start(1.0) == [Dial()]
    assert link.state is LinkState.CONNECTING
    assert link.connected(2.0) == [Send(b"SSMI,1,user,pa,ss\r")]
    assert link.state is LinkState.LOGGING_IN
    assert link.received(Ack("1"), 3.0) == [CHECK]
    assert (link.state, link.since, link.deadline()) == (LinkState.UP, 3.0, 63.0)


def test_starting_twice_dials_once():
    link = Link(SETTINGS)
    link.start(0)
    assert link.start(1) == []


def test_nothing_is_checked_before_the_login_is_accepted():
    link = Link(SETTINGS)
    link.start(0)
    link.connected(0)
    assert link.received(Ack("2"), 1) == []
    assert link.received(MoSms("278", "1", "x"), 1) == []
    assert link.state is LinkState.LOGGING_IN


def test_link_checks_that_are_answered_go_on_for_ever():
    link = up()
    for minute in range(1, 50):
        link.received(Ack("2"), minute * 60 - 30)
        assert link.tick(minute * 60) == [CHECK]
    assert link.tick(49 * 60 + 59) == []


def test_two_unanswered_checks_when_the_timer_fires_are_a_dead_link():
    link = up()
    assert link.tick(60) == [CHECK]
    (hangup,) = link.tick(120)
    assert hangup == Hangup("the gateway left 2 link checks unanswered")
    assert link.deadline() is None
    assert link.lost(hangup.reason, 120, 0.0) == []
    assert (link.state, link.last_error) == (LinkState.BACKOFF, hangup.reason)
    assert link.tick(120.5) == [Dial()]


def test_only_the_answer_to_a_check_counts_as_one():
    link = up()
    link.tick(60)
    link.received(MoSms("278", "1", "x"), 100)
    link.received(Ack("1"), 100)
    assert isinstance(link.tick(120)[0], Hangup)


def test_the_time_that_we_did_not_read_is_no_evidence():
    link = up()
    link.tick(60)
    link.resumed(200)
    assert link.tick(200) == []
    link.received(Ack("2"), 201)
    assert link.tick(210) == [CHECK]


@pytest.mark.parametrize(("code", "words"), [("1", "user name or password"), ("4", "suspended")])
def test_a_refused_login_is_retried_slowly_and_ever_slower(code, words):
    link = Link(SETTINGS)
    link.start(0)
    now, delays = 0.0, []
    for _ in range(7):
        link.connected(now)
        (hangup,) = link.received(Nack(code), now)
        assert isinstance(hangup, Hangup)
        assert link.state is LinkState.AUTH_FAILED
        assert words in link.last_error
        assert "pa,ss" not in link.last_error
        link.lost(hangup.reason, now, 0.0)
        delays.append(link.deadline() - now)
        now = link.deadline()
        assert link.tick(now) == [Dial()]
    assert delays == [60, 120, 240, 480, 960, 960, 960]


def test_an_unanswered_login_is_not_a_silent_hang():
    link = Link(SETTINGS)
    link.start(0)
    link.connected(5)
    assert link.tick(14.9) == []
    (hangup,) = link.tick(15)
    assert isinstance(hangup, Hangup)
    assert link.state is LinkState.AUTH_FAILED
    assert "did not answer the login within 10 s" in link.last_error
    link.lost(hangup.reason, 15, 0.0)
    assert link.deadline() == 75


def test_an_accepted_login_forgets_earlier_refusals():
    link = Link(SETTINGS)
    link.start(0)
    for answer in (Nack("1"), Nack("1"), Ack("1")):
        now = link.deadline() or 0.0
        link.tick(now)
        link.connected(now)
        link.received(answer, now)
        if isinstance(answer, Nack):
            link.lost("refused", now, 0.0)
    link.lost("reset", now, 0.0)
    link.tick(link.deadline())
    link.connected(now)
    link.received(Nack("1"), now)
    link.lost("refused", now, 0.0)
    assert link.deadline() == now + 60


@pytest.mark.parametrize("code", ["1", "2", "3", "4", "9"])
def test_a_nack_on_a_link_that_is_up_keeps_it(code):
    link = up()
    assert link.received(Nack(code), 1) == []
    assert link.state is LinkState.UP
    assert link.counters[f"nack:{code}"] == 1
    assert link.last_error


def test_losses_in_a_row_back_off_from_one_to_sixty_seconds():
    link = Link(SETTINGS)
    link.start(0)
    now, delays = 0.0, []
    for _ in range(8):
        link.lost("refused", now, 0.999999)
        delays.append(round(link.deadline() - now))
        now = link.deadline()
        assert link.tick(now) == [Dial()]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]


def test_jitter_halves_the_delay_at_most():
    link = Link(SETTINGS)
    link.start(0)
    link.lost("refused", 0, 0.0)
    assert link.deadline() == 0.5


def test_a_gateway_that_accepts_and_drops_at_once_is_not_dialled_in_a_hot_loop():
    link = Link(SETTINGS)
    link.start(0)
    now, delays = 0.0, []
    for _ in range(4):
        link.connected(now)
        link.received(Ack("1"), now)
        link.lost("reset", now, 0.999999)
        delays.append(round(link.deadline() - now))
        now = link.deadline()
        link.tick(now)
    assert delays == [1, 2, 4, 8]


def test_an_answered_check_forgets_earlier_losses():
    link = Link(SETTINGS)
    link.start(0)
    for _ in range(5):
        link.lost("refused", 0, 0.0)
        link.tick(100)
    link.connected(100)
    link.received(Ack("1"), 100)
    link.received(Ack("2"), 100)
    link.lost("reset", 100, 0.0)
    assert link.deadline() == 100.5


def test_199_waits_long_and_longer_before_it_dials():
    link = up()
    now, delays = 0.0, []
    for _ in range(3):
        (hangup,) = link.received(RemoteLogout("196.1.2.3"), now)
        assert link.state is LinkState.REMOTE_LOGOUT
        assert "196.1.2.3" in link.last_error
        link.lost(hangup.reason, now, 0.5)
        delays.append(link.deadline() - now)
        now = link.deadline()
        assert link.tick(now) == [Dial()]
        link.connected(now)
        link.received(Ack("1"), now)
    assert delays == [67.5, 135, 270]


def test_199_reconnects_at_once_where_the_ini_says_so():
    link = up(on_remote_logout="reconnect")
    (hangup,) = link.received(RemoteLogout("196.1.2.3"), 10)
    link.lost(hangup.reason, 10, 0.0)
    assert (link.state, link.deadline()) == (LinkState.BACKOFF, 10.5)


def test_199_stays_away_where_the_ini_says_so():
    link = up(on_remote_logout="stop")
    (hangup,) = link.received(RemoteLogout("196.1.2.3"), 10)
    link.lost(hangup.reason, 10, 0.0)
    assert (link.state, link.deadline()) == (LinkState.REMOTE_LOGOUT, None)
    assert "on-remote-logout = stop" in link.last_error


def test_stopping_says_goodbye_when_logged_in():
    link = up()
    assert link.stop(5) == [Send(b"SSMI,99\r")]
    assert (link.state, link.deadline()) == (LinkState.STOPPED, None)
    assert link.lost("end of file", 6, 0.0) == []
    assert link.start(7) == [Dial()]


def test_stopping_during_the_login_hangs_up():
    link = Link(SETTINGS)
    link.start(0)
    link.connected(0)
    assert link.stop(1) == [Hangup("stopped")]


def test_a_connection_that_comes_after_the_stop_is_hung_up():
    link = Link(SETTINGS)
    link.start(0)
    assert link.stop(1) == []
    assert link.connected(2) == [Hangup("no connection wanted")]


def test_other_times_shorten_a_wait_that_has_begun_and_never_lengthen_it():
    link = up()
    link.take(replace(SETTINGS, link_check_interval_s=5.0), 10.0)
    assert link.deadline() == 15.0
    link.take(replace(SETTINGS, link_check_interval_s=500.0), 11.0)
    assert link.deadline() == 15.0
    assert link.tick(15.0) == [CHECK]
    assert link.deadline() == 515.0
