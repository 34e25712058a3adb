"""A line's two forms, and back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond.log_lines import LONGEST, Entry, join, parse, shorten, to_json, to_text

AT = 1769854800.25

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=80)


def test_a_text_line_has_time_level_process_and_text():
    line = to_text(Entry(AT, "INFO", "EchoWorker:0", "hello • ü"))
    assert line[4:5] + line[10:11] + line[19:23] == "- .250"
    assert line[23:] == " INFO    EchoWorker:0  hello • ü\n"


def test_a_json_line_has_class_and_slot_of_a_worker_and_the_distance_from_utc():
    found = json.loads(to_json(Entry(AT, "OUTPUT", "Echo.Worker:12", 'say "hi"\n\x1b[2J')))
    assert (found["class"], found["slot"], found["process"]) == ("Echo.Worker", 12, "Echo.Worker:12")
    assert (found["level"], found["text"]) == ("OUTPUT", 'say "hi"\n\\x1b[2J')
    assert found["time"][19:23] == ".250"
    assert found["time"][-6] in "+-"
    assert json.loads(to_json(Entry(AT, "INFO", "master", "x"))).keys() == {"time", "level", "process", "text"}


@given(st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "OUTPUT"]), texts, st.booleans())
def test_what_is_written_can_be_read_again(level, text, coloured):
    entry = Entry(AT, level, "EchoWorker:0", text)
    wanted = Entry(AT, level, "EchoWorker:0", json.loads(to_json(entry))["text"])
    lines = to_text(entry, coloured).removesuffix("\n").split("\n")
    assert [parse(record) for record in join(lines)] == [wanted]
    assert parse(to_json(entry).removesuffix("\n")) == wanted


def test_a_text_from_outside_forges_no_line_and_drives_no_terminal():
    forged = to_text(Entry(AT, "INFO", "master", "harmless")).removesuffix("\n")
    for render in (to_text, to_json):
        line = render(Entry(AT, "INFO", "EchoWorker:0", f"hi\n{forged}\r\x1b[2J\x9b1m"))
        records = list(join(line.removesuffix("\n").split("\n")))
        assert [parse(record).process for record in records] == ["EchoWorker:0"]
        assert not {"\r", "\x1b", "\x9b"} & set(line)


@pytest.mark.parametrize(
    "line",
    ["", "hello", "{", '{"time": "soon", "level": "INFO", "process": "x", "text": ""}', '{"time": 1}', "[]",
     "2026-02-30 00:00:00.000 INFO    master  no such day", "2026-01-31 00:00:00 INFO    master  no milliseconds"],
)  # fmt: skip
def test_other_lines_are_no_lines_of_ours(line):
    assert parse(line) is None


def test_a_very_long_text_loses_its_middle():
    assert shorten("x" * LONGEST) == "x" * LONGEST
    short = shorten("a" * LONGEST + "b" * LONGEST)
    assert short.startswith("aaa")
    assert short.endswith("bbb")
    assert f"({LONGEST} characters left out)" in short
    assert len(short) < LONGEST + 100
