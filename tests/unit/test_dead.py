"""Dead letters: their IDs, which ones a filter takes, what of them is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from richmond import dead
from richmond.errors import UsageError
from richmond.log import mask

ROOT = Path(__file__).parent.parent.parent
SOURCE, DOCS = ROOT / "richmond", ROOT / "docs" / "dead-letters.md"
# Raised where a handler publishes, which makes it handler-failed, or by a mistake of our own.
INSIDE = {"invalid-reply", "not-json", "unknown-account", "not-a-line"}
NOW = 1_800_000_000.0
TIME = "2027-01-15T07:59:00.000+00:00"  # a minute before NOW
BODY = {"msisdn": "27831112222", "message": "My PIN is 4711, Gatsby", "ussd_type": "2", "kind": "ussd", "id": "a-1"}
HEADERS = {
    "x-richmond-reason": "handler-failed",
    "x-richmond-worker": "Lunch",
    "x-richmond-slot": "Lunch:0",
    "x-richmond-queue": "richmond.receive",
    "x-richmond-time": TIME,
    "x-richmond-attempts": 2,
}


def letter(body=BODY, **headers):
    """`headers`: without their x-richmond-; None removes one."""
    changed = HEADERS | {f"x-richmond-{name}": value for name, value in headers.items()}
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return dead.letter(encoded, {k: v for k, v in changed.items() if v is not None})


def view(*args, reveal=False, **headers):
    return dead.view(letter(*args, **headers), NOW, None if reveal else mask)


def test_an_id_names_body_and_headers_in_whatever_order_these_come():
    first = letter()
    assert first.id == dead.letter(first.body, dict(reversed(HEADERS.items()))).id
    others = [letter({**BODY, "id": "a-2"}), letter(attempts=3), letter(time=None), letter(b"")]
    assert len({first.id, *(other.id for other in others)}) == 5
    assert len(first.id) == 10


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, NOW - 60),
        ({"time": "2027-01-15T09:59:00+02:00"}, NOW - 60),
        ({"time": "2027-01-15 07:59:00"}, NOW - 60),  # without a zone it is UTC
        ({"time": None}, None),
        ({"time": "yesterday"}, None),
        ({"time": "9999-12-31T23:59:59-14:00"}, None),
        ({"time": 5}, None),
    ],
)
def test_when_it_died(headers, expected):
    assert letter(**headers).time == expected


def test_a_letter_of_somebody_elses_has_what_it_has():
    stranger = dead.letter(
        b"\xff", {"x-richmond-reason": b"odd\xff", "x-richmond-attempts": "two", "other": {"a": [1]}}
    )
    assert (stranger.reason, stranger.worker, stranger.queue, stranger.attempts) == ("odd\\xff", "", "", None)
    shown = dead.view(stranger, NOW, mask)
    assert (shown.time, shown.kind, shown.msisdn, shown.message) == (None, "", "", "(1 bytes, no JSON object)")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, {"x-richmond-retried": 1, "x-richmond-attempts": 2, "x-richmond-worker": "Lunch"}),
        ({"attempts": None, "worker": None}, {"x-richmond-retried": 1}),
    ],
)
def test_what_goes_back_says_that_it_was_here_and_how_often_it_was_tried(headers, expected):
    assert dead.retry_headers(letter(**headers)) == expected


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ({}, True),
        ({"reason": "handler-failed"}, True),
        ({"reason": "handler"}, False),
        ({"reason": ""}, False),
        ({"worker": "Lunch"}, True),
        ({"worker": "Lunch:0"}, False),
        ({"reason": "handler-failed", "worker": "Echo"}, False),
        ({"older_than_s": 59}, True),
        ({"older_than_s": 61}, False),
        ({"newer_than_s": 61}, True),
        ({"newer_than_s": 59}, False),
        ({"older_than_s": 59, "newer_than_s": 61}, True),
        ({"older_than_s": 60, "newer_than_s": 60}, False),
        ({"newer_than_s": 61, "reason": "poison"}, False),
    ],
)
def test_a_filter_takes_what_all_of_it_fits(wanted, taken):
    assert dead.Filter(**wanted).takes(letter(), NOW) is taken


@pytest.mark.parametrize("wanted", [{"older_than_s": 0}, {"newer_than_s": 1e9}])
def test_a_letter_that_does_not_say_when_it_died_is_of_no_age(wanted):
    assert not dead.Filter(**wanted).takes(letter(time=None), NOW)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("90s", 90), ("10m", 600), ("2h", 7200), ("1.5d", 129600), ("1w", 604800)],
)
def test_ages(text, seconds):
    assert dead.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "-1h", "1h30m", "2 h", "2H", "1e3s", "٣h\n"])
def test_what_is_no_age(text):
    with pytest.raises(UsageError, match="is no age"):
        dead.seconds(text)


def named(*ids):
    return [dead.Letter(id, b"", f"reason-{id[0]}", "", "", "", "", None, None) for id in ids]


@pytest.mark.parametrize(
    ("ids", "meant"),
    [
        (["ab12"], {"ab12000000"}),
        (["ab1"], {"ab12000000"}),
        (["ab12000000", "ab"], {"ab12000000"}),
        (["ab", "c"], {"ab12000000", "c000000000"}),
    ],
)
def test_the_beginning_of_an_id_stands_for_the_letter(ids, meant):
    assert dead.resolve(ids, named("ab12000000", "c000000000"), "q") == meant


def test_letters_that_are_alike_to_the_last_byte_are_one():
    assert dead.resolve(["a"], named("a000000000", "a000000000"), "q") == {"a000000000"}


def test_an_id_that_stands_for_several_lists_them_and_an_unknown_one_is_named_too():
    with pytest.raises(UsageError) as e:
        dead.resolve(["a", "b", "ffff"], named("a100000000", "a200000000", "b000000000"), "richmond.dead")
    assert str(e.value).splitlines() == [
        "a is the beginning of 2 dead letters' IDs; give more of it:",
        "  a100000000  reason-a  ",
        "  a200000000  reason-a  ",
        "no dead letter ffff in richmond.dead: see richmond dead list",
    ]


def test_the_list_of_candidates_is_bounded():
    with pytest.raises(UsageError) as e:
        dead.resolve(["a"], named(*(f"a{n:09x}" for n in range(1000))), "q")
    assert len(str(e.value).splitlines()) == 12
    assert str(e.value).endswith("and 990 more")


def test_ids_are_digits_from_0_to_f():
    assert dead.checked_ids(["4F2a", "0123456789"]) == ("4f2a", "0123456789")
    for wrong in ("", "xyz", "4f 2", "01234567890", "*"):
        with pytest.raises(UsageError, match="is no dead letter's ID"):
            dead.checked_ids([wrong])


def test_numbers_are_masked_and_texts_are_left_out():
    shown = view({**BODY, "code": "*120*4711#", "imsi": "655011234567890", "fields": ["27831112222"], "received": NOW})
    assert shown.message == {
        "msisdn": "2783•••2222",
        "message": "(22 characters)",
        "ussd_type": "2",
        "kind": "ussd",
        "id": "a-1",
        "code": "(10 characters)",
        "imsi": "6550•••7890",
        "fields": "(hidden)",
        "received": NOW,
    }
    assert (shown.msisdn, shown.kind, shown.bytes) == ("2783•••2222", "ussd", len(letter(
        {**BODY, "code": "*120*4711#", "imsi": "655011234567890", "fields": ["27831112222"], "received": NOW}
    ).body))  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("kind", "a secret that is far longer than any kind there ever was, and is therefore none", "(79 characters)"),
        ("id", {"text": "secret"}, "(hidden)"),
        ("msisdn", 27831112222, "(hidden)"),
        ("message", "x", "(1 character)"),
        ("message", None, "(hidden)"),
        ("part", None, None),
        ("anything", "secret", "(6 characters)"),
    ],
)
def test_what_may_hold_a_text_is_hidden_whatever_its_key(key, value, expected):
    assert view({key: value}).message == {key: expected}


@pytest.mark.parametrize(
    ("exception", "expected"),
    [
        ("KeyError: 'Gatsby'", "KeyError: '•••'"),
        ("ValueError: my pin IS 4711, gats", "ValueError: my pin IS •••, gats"),
        ("RuntimeError: no subscriber 27831112222", "RuntimeError: no subscriber 2783•••2222"),
        ("RuntimeError: nor 0027831112222x", "RuntimeError: nor 0027•••2222x"),
        ("KeyError: 'message'", "KeyError: 'message'"),
        ("ZeroDivisionError: division by zero", "ZeroDivisionError: division by zero"),
    ],
)
def test_an_exception_does_not_quote_the_message(exception, expected):
    assert view(exception=exception).exception == expected
    assert view(exception=exception, reveal=True).exception == exception


def test_an_exception_does_not_quote_what_the_json_escapes_or_what_is_no_json():
    assert view({"message": "Größe über"}, exception="ValueError: GRÖSSE?").exception == "ValueError: •••?"
    assert view(b"plain words", exception="ValueError: plain").exception == "ValueError: •••"
    assert view({"message": "*120*77#"}, exception="E: '*120*77#'").exception == "E: '•••'"
    assert view({"message": "a\nb c"}, exception="E: a b c, 'a\\nb c'").exception == "E: •••, '•••'"
    assert view({"genfields": [{"x": "a:b:c"}]}, exception="E: a:b:c").exception == "E: •••"


def test_who_asks_for_it_sees_everything():
    shown = view(reveal=True)
    assert (shown.message, shown.msisdn) == (BODY, "27831112222")
    assert view(b"not \xff json", reveal=True).message == "not \\xff json"


def test_facts():
    shown = view(exception="E: x")
    assert (shown.reason, shown.worker, shown.slot, shown.queue) == (
        "handler-failed", "Lunch", "Lunch:0", "richmond.receive",
    )  # fmt: skip
    assert (shown.time, shown.age_s, shown.attempts) == (TIME, 60.0, 2)
    assert view(time="2030-01-01T00:00:00+00:00").age_s == 0.0, "a clock that is wrong"
    assert view({"msisdn": "27831112222", "message": "x", "ussd_type": "3"}).kind == "ussd", "a reply has none"
    assert view({"kind": ["sms"]}).kind == ""


def test_nothing_drives_the_terminal():
    assert dead.printable("a\x1b[31m\nb\u202e ü•") == "a\\x1b[31m\\nb\\u202e ü•"
    assert dead.printable("\ud800") == "\\ud800"


def test_every_reason_is_explained():
    told = set(re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| `.*?\|", DOCS.read_text(), re.MULTILINE))))
    raised = re.compile(r"(?:MessageError|SSMIUsageError|Refused)\(\s*\"([a-z-]+)\"|_bury\(message, \"([a-z-]+)\"")
    files = [
        *SOURCE.glob("broker*.py"),
        *SOURCE.glob("ssmi/*.py"),
        SOURCE / "messages.py",
        *SOURCE.glob("workers/*.py"),
    ]
    found = {reason for file in files for match in raised.findall(file.read_text()) for reason in match if reason}
    assert len(found) > 10
    assert found - told - INSIDE == set()
