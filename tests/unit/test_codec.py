"""The SSMI codec against the wire cases, and in properties."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond.errors import SSMIUsageError
from richmond.ssmi import codec
from richmond.ssmi.codec import CommandDecoder, EventDecoder, Ignored, SendExtendedUssd, SendUssd, encode

WIRE = Path(__file__).parent.parent / "wire"


class Case(NamedTuple):
    name: str
    origin: str
    encoding: str
    max_line_bytes: int
    written: bool
    wire: bytes
    means: list[Any]

    def decoder(self) -> EventDecoder | CommandDecoder:
        cls = EventDecoder if self.origin == "gateway" else CommandDecoder
        return cls(self.encoding, self.max_line_bytes)


def read_case(path: Path) -> Case:
    head, rest = path.read_text(encoding="utf-8").split("--- wire\n")
    wire, means = rest.split("--- means\n")
    keys = dict(line.split(": ") for line in head.splitlines())
    return Case(
        path.stem,
        keys["from"],
        keys.get("encoding", "iso-8859-1"),
        int(keys.get("max-line-bytes", "65536")),
        keys.get("written", "yes") == "yes",
        ast.literal_eval(f'b"{wire.replace(chr(10), "")}"'),
        [eval(line, vars(codec)) for line in means.splitlines()],
    )


CASES = [read_case(path) for path in sorted(WIRE.glob("*.case"))]
each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def test_the_wire_cases_are_there():
    assert len(CASES) >= 9


@each_case
def test_a_wire_case_sent_whole(case: Case):
    assert case.decoder().feed(case.wire) == case.means


@each_case
def test_a_wire_case_sent_by_line(case: Case):
    decoder = case.decoder()
    lines = re.findall(rb"[^\r]*\r|[^\r]+$", case.wire)
    assert [event for line in lines for event in decoder.feed(line)] == case.means


@each_case
def test_a_wire_case_sent_byte_by_byte(case: Case):
    decoder = case.decoder()
    assert [event for byte in case.wire for event in decoder.feed(bytes([byte]))] == case.means


@each_case
@given(data=st.data())
def test_a_wire_case_sent_in_random_chunks(case: Case, data: st.DataObject):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(case.wire)), max_size=12)))
    decoder = case.decoder()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(case.wire)], strict=True):
        found += decoder.feed(case.wire[start:end])
    assert found == case.means


@pytest.mark.parametrize("case", [c for c in CASES if c.written], ids=[c.name for c in CASES if c.written])
def test_a_wire_case_is_written_as_it_was_read(case: Case):
    assert b"".join(encode(line, case.encoding) for line in case.means) == case.wire


@given(st.lists(st.binary(max_size=200), max_size=20), st.sampled_from(["iso-8859-1", "utf-8", "ascii"]))
def test_no_bytes_make_the_decoders_raise_or_hold_more_than_a_line(chunks: list[bytes], encoding: str):
    for decoder in (EventDecoder(encoding, 100), CommandDecoder(encoding, 100)):
        for chunk in chunks:
            decoder.feed(chunk)
            assert len(decoder._half) <= 100


def test_a_flood_without_an_end_is_one_ignored_line_and_no_memory():
    decoder = EventDecoder("iso-8859-1", 1000)
    found = [event for _ in range(1000) for event in decoder.feed(b"x" * 5000)]
    assert found == [Ignored("line-too-long", b"x" * 80)]
    assert decoder.feed(b"\rSSMI,101,1\r") == [codec.Ack("1")]


plain = st.text(st.characters(codec="iso-8859-1", exclude_characters="\r\n,"))
text = st.text(st.characters(codec="iso-8859-1", exclude_characters="\r"))


def lines(classes: dict[str, Any]) -> st.SearchStrategy[Any]:
    def one(cls: Any) -> st.SearchStrategy[Any]:
        names = cls.__struct_fields__
        values = dict.fromkeys(names, plain)
        if names and names[-1] in ("message", "text"):
            values[names[-1]] = text
        if "genfields" in names:
            piece = st.text(st.characters(codec="ascii", exclude_characters="\r\n,:"), max_size=5)
            values["genfields"] = st.lists(piece, min_size=5, max_size=7).map(tuple)
        if cls in codec._SENDABLE:
            values["ussd_type"] = st.sampled_from(sorted(codec._SENDABLE[cls]))
        if cls in codec._KNOWN_CODES:
            values[names[-1]] = st.sampled_from(sorted(codec._KNOWN_CODES[cls]))
        return st.builds(cls, **values)

    return st.one_of([one(cls) for cls in classes.values()])


@given(st.lists(lines(codec._EVENTS), max_size=5))
def test_every_event_survives_the_wire(events: list[Any]):
    wire = b"".join(encode(event, "iso-8859-1") for event in events)
    assert EventDecoder("iso-8859-1", 65536).feed(wire) == events


@given(st.lists(lines(codec._COMMANDS), max_size=5))
def test_every_command_survives_the_wire(commands: list[Any]):
    wire = b"".join(encode(command, "iso-8859-1") for command in commands)
    assert CommandDecoder("iso-8859-1", 65536).feed(wire) == commands


@given(st.text(), st.text(), st.text(), st.sampled_from(["iso-8859-1", "utf-8", "ascii"]))
def test_whatever_a_worker_writes_is_one_line_or_refused(msisdn: str, ussd_type: str, message: str, encoding: str):
    try:
        wire = encode(SendUssd(msisdn, ussd_type, message), encoding)
    except SSMIUsageError:
        return
    (command,) = CommandDecoder(encoding, 1 << 20).feed(wire)
    assert isinstance(command, SendUssd)
    assert (command.msisdn, command.ussd_type) == (msisdn, ussd_type)


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("hello\rSSMI,99", b"hello\nSSMI,99"),
        ("a\r\nb", b"a\nb"),
        ("a\r\rb\r", b"a\n\nb\n"),
        ("R5 € “now” \N{SNOWMAN}", b'R5 EUR "now" ?'),
    ],
)
def test_a_text_is_cleaned(text: str, wire: bytes):
    assert encode(SendUssd("27831112222", "2", text), "iso-8859-1") == b"SSMI,110,27831112222,2," + wire + b"\r"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (SendUssd("278\r", "2", "x"), "line-break"),
        (SendUssd("278\n", "2", "x"), "line-break"),
        (SendUssd("278,3", "2", "x"), "comma"),
        (SendUssd("278\N{SNOWMAN}", "2", "x"), "not-encodable"),
        (SendUssd("278", "1", "x"), "bad-ussd-type"),
        (SendUssd("278", "4", "x"), "bad-ussd-type"),
        (SendUssd("278", "2\r", "x"), "bad-ussd-type"),
        (SendUssd("278", "", "x"), "bad-ussd-type"),
        (SendExtendedUssd("278", "5", ("",), "x"), "bad-ussd-type"),
        (SendExtendedUssd("278", "2", ("a:b",), "x"), "colon"),
        (SendExtendedUssd("278", "2", ("a,b",), "x"), "comma"),
        (SendExtendedUssd("278", "2", ("a\rb",), "x"), "line-break"),
        (codec.Login("us,er", "pass"), "comma"),
        (codec.Login("user", "pass\rSSMI,99"), "line-break"),
        (codec.SendMms("278", "a subject, with a comma", "n", "00"), "comma"),
        (codec.Unknown("113", ("a,b", "c")), "comma"),
        (Ignored("empty", b""), "not-a-line"),
    ],
)
def test_what_no_field_can_carry_is_refused(line: Any, reason: str):
    with pytest.raises(SSMIUsageError) as refused:
        encode(line, "iso-8859-1")
    assert refused.value.reason == reason


@pytest.mark.parametrize("encoding", ["utf-16", "cp037", "no-such-encoding"])
def test_an_encoding_that_breaks_the_frame_is_refused(encoding: str):
    with pytest.raises(ValueError, match="use iso-8859-1 or utf-8"):
        EventDecoder(encoding, 100)
