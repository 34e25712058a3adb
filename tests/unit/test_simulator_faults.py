"""Faults of the simulator: for whom they are, when they end, and what they do to bytes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond.simulator.faults import GARBAGE, Faults, cut, long_line
from richmond.ssmi.codec import Ack, EventDecoder, FreeForm, Ignored, Unknown, UssdType


@pytest.fixture
def faults():
    return Faults()


@pytest.mark.parametrize(
    ("begun_for", "asked_for", "on"),
    [("", "", True), ("", "bank", True), ("bank", "bank", True), ("bank", "shop", False), ("bank", "", False)],
)
def test_a_fault_is_for_all_accounts_or_for_one(faults, begun_for, asked_for, on):
    faults.begin("mute", begun_for)
    assert bool(faults.value("mute", asked_for)) is on
    assert not faults.value("crlf", asked_for)


def test_an_account_s_own_delay_goes_before_that_of_all(faults):
    faults.begin("delay", "", 1.0)
    faults.begin("delay", "bank", 2.0)
    assert [faults.value("delay", account) for account in ("", "shop", "bank")] == [1.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("ended_for", "was_on", "left"),
    [
        ("", True, []),
        ("bank", True, ["mute"]),
        ("shop", False, ["mute", "mute, for bank"]),
    ],
)
def test_a_fault_ends_for_all_or_where_it_began(faults, ended_for, was_on, left):
    faults.begin("mute", "")
    faults.begin("mute", "bank")
    assert faults.end("mute", ended_for) is was_on
    assert faults.listed() == left


@pytest.mark.parametrize(("account", "left"), [("", []), ("bank", ["mute", "nack 2, 1 times"])])
def test_calm_ends_everything_of_all_or_of_one(faults, account, left):
    faults.begin("mute", "")
    faults.begin("delay", "bank", 2.5)
    faults.refuse("2", 1, "")
    faults.refuse("1", 3, "bank")
    assert faults.listed() == ["mute", "delay 2.5 s, for bank", "nack 2, 1 times", "nack 1, 3 times, for bank"]
    faults.calm(account)
    assert faults.listed() == left


def test_a_nack_is_spent_once_for_each_time(faults):
    faults.refuse("4", 2, "")
    faults.refuse("1", 1, "bank")
    asked = [("2", "3")], [("1", "4")]
    assert [faults.refused(*codes, "bank") for codes in (*asked, *asked, *asked, *asked)] == [
        None, "1", None, "4", None, "4", None, None,
    ]  # fmt: skip


@given(st.binary(max_size=200), st.integers(0))
def test_pieces_are_the_whole(data, seed):
    chance = random.Random(seed)
    pieces = cut(data, lambda: chance.randint(1, 20))
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= 20 for piece in pieces)


def test_single_bytes_are_single_bytes():
    assert cut(b"SSMI\r", lambda: 1) == [b"S", b"S", b"M", b"I", b"\r"]


@pytest.mark.parametrize("length", [16, 100, 100_000])
def test_a_long_line_has_its_length_and_is_one_line(length):
    (line,) = EventDecoder("iso-8859-1", length).feed(long_line(length))
    assert isinstance(line, FreeForm)
    (line,) = EventDecoder("iso-8859-1", length - 1).feed(long_line(length))
    assert line.reason == "line-too-long"


@pytest.mark.parametrize("encoding", ["iso-8859-1", "utf-8"])
def test_garbage_holds_nothing_that_a_client_could_act_on(encoding):
    decoder = EventDecoder(encoding, 1000)
    lines = decoder.feed(b"".join(line + b"\r" for line in GARBAGE))
    assert len(lines) == len(GARBAGE)
    for line in lines:
        known = not isinstance(line, Ignored | Unknown | FreeForm)
        assert not known or line.ussd_type not in set(UssdType), line
    reasons = {line.reason for line in lines if isinstance(line, Ignored)}
    assert reasons >= {"no-header", "empty", "bad-id", "too-few-fields", "unknown-code"}
    assert ("undecodable" in reasons) is (encoding == "utf-8")
    assert decoder.feed(b"SSMI,101,2\r") == [Ack("2")]
