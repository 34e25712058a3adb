"""The telephones' JSON: what the documentation shows is what is understood."""

import re

import msgspec
import pytest

from richmond.simulator import wire

EXAMPLES = re.findall(r"^    (\{.*\})", wire.__doc__, re.MULTILINE)
REQUESTS = [example for example in EXAMPLES if example.startswith('{"op"')]
EVENTS = [example for example in EXAMPLES if example.startswith('{"event"')]


@pytest.mark.parametrize("example", REQUESTS)
def test_each_documented_request_is_understood(example):
    request = wire.decode_request(example.encode())
    assert wire.decode_request(wire.encode(request)) == request


@pytest.mark.parametrize("example", EVENTS)
def test_each_documented_event_is_written_as_shown(example):
    assert wire.encode(wire.decode_event(example.encode())) == example.encode() + b"\n"


def test_every_op_and_event_is_documented():
    def tags(union):
        return {struct.__struct_config__.tag for struct in union.__args__}

    assert {msgspec.json.decode(example)["op"] for example in REQUESTS} == tags(wire.Request)
    assert {msgspec.json.decode(example)["event"] for example in EVENTS} == tags(wire.Event)


@pytest.mark.parametrize(
    "line",
    [
        b"junk",
        b"{}",
        b"[]",
        b'{"op":"jump"}',
        b'{"op":"dial"}',
        b'{"op":"dial","code":5}',
        b'{"op":"dial","code":"*1#","cod":"*1#"}',
        b'{"op":"answer","text":"\xff"}',
    ],
)
def test_junk_is_refused_with_one_kind_of_error(line):
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        wire.decode_request(line)
