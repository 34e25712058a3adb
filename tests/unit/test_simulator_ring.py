"""The log of the simulator: bounded, whole where it can be, without passwords."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond.simulator.ring import SHOWN_BYTES, Ring, Tap
from richmond.simulator.wire import Line


def line(text):
    return Line(0.0, 1, "richmond", "S>", text)


@pytest.mark.parametrize(
    ("lines", "text", "kept"),
    [(3, 1000, ["cc", "dddd", "e"]), (9, 7, ["cc", "dddd", "e"]), (9, 6, ["dddd", "e"]), (9, 0, ["e"])],
)
def test_the_oldest_go_when_there_are_too_many_or_too_long(lines, text, kept):
    ring = Ring(lines, text)
    for each in ("a", "bbb", "cc", "dddd", "e"):
        ring.add(line(each))
    assert [each.text for each in ring] == kept


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"SSMI,3\r", ["SSMI,3"]),
        (b"\r\r", ["", ""]),
        (b"SSMI,2,0,27831112222,caf\xe9, \n1\rSSMI", ["SSMI,2,0,27831112222,caf\xe9, \n1"]),
        (b"SSMI,1,user,pa,ss\r", ["SSMI,1,user,***"]),
        (b"\nSSMI,1,user,pa\nss\r", ["\nSSMI,1,user,***"]),
        (b"ssmi, 01 ,user,pass\r", ["ssmi, 01 ,user,***"]),
        (b"SSMI,10,user,pass\r", ["SSMI,10,user,pass"]),
        (b"SSMI,2,0,1,SSMI,1,a,b\r", ["SSMI,2,0,1,SSMI,1,a,b"]),
        (b"x" * SHOWN_BYTES + b"\r", ["x" * SHOWN_BYTES]),
        (b"x" * 70_000 + b"\r" + b"y\r", ["x" * SHOWN_BYTES + "... (70000 bytes)", "y"]),
    ],
)
def test_lines_are_shown_whole_but_for_a_password(data, shown):
    assert Tap("iso-8859-1").feed(data) == shown


def test_bytes_that_do_not_decode_are_escaped():
    assert Tap("utf-8").feed(b"\xc3\xa9\xff\r") == ["é\\xff"]


def test_what_is_left_is_told_once():
    tap = Tap("iso-8859-1")
    tap.feed(b"SSMI,3\rSSM")
    assert (tap.rest(), tap.rest()) == (["SSM"], [])


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_however_it_is_cut_the_lines_are_the_same(data, cuts):
    whole, cut = Tap("iso-8859-1"), Tap("iso-8859-1")
    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(places)]
    assert [text for piece in pieces for text in cut.feed(piece)] == whole.feed(data)
    assert cut.rest() == whole.rest()
