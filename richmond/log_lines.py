"""A line of the log: what it says, and its two forms, as text and as JSON. No I/O.

    2026-01-31 12:00:00.000 INFO    EchoWorker:0  text; what follows on further lines is indented
    {"time": "2026-01-31T12:00:00.000+02:00", "level": "INFO", "process": "EchoWorker:0", "class": "EchoWorker",
     "slot": 0, "text": "text"}

Either has its control characters escaped: a text from outside can neither forge a line nor drive the terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

OUTPUT = "OUTPUT"  # the level of what a worker printed: its class did not say how much it matters
INDENT = "    "
LONGEST = 60_000  # characters of a text; the middle of a longer one is left out

_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}
_PLAIN = "\x1b[0m"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TEXT = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) (?:\x1b\[\d+m)?([A-Z]+) *(?:\x1b\[0m)? (\S+)  (.*)", re.DOTALL
)


class Entry(msgspec.Struct, frozen=True):
    at: float  # Unix seconds
    level: str  # DEBUG, INFO, WARNING, ERROR, CRITICAL or OUTPUT
    process: str  # master, spawner, hook, or a slot
    text: str

    @property
    def slot(self) -> tuple[str, int] | None:
        """Class and number, if it comes from a worker."""
        name, colon, number = self.process.rpartition(":")
        return (name, int(number)) if colon and number.isdecimal() else None


class _Json(msgspec.Struct, omit_defaults=True):
    time: str
    level: str
    process: str
    text: str
    worker: str | None = msgspec.field(name="class", default=None)
    slot: int | None = None


_decoder = msgspec.json.Decoder(_Json)


def shorten(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]}\n... ({len(text) - 2 * half} characters left out)\n{text[-half:]}"


def to_text(entry: Entry, colour: bool = False) -> str:
    """With its newline, in local time."""
    text = _CONTROL.sub(_escaped, entry.text).replace("\n", f"\n{INDENT}")
    level = f"{entry.level:<7}"
    if colour and entry.level in _COLOURS:
        level = f"{_COLOURS[entry.level]}{level}{_PLAIN}"
    when = datetime.fromtimestamp(entry.at).isoformat(" ", "milliseconds")
    return f"{when} {level} {entry.process}  {text}\n"


def to_json(entry: Entry) -> str:
    """With its newline, in local time with its distance from UTC."""
    when = datetime.fromtimestamp(entry.at).astimezone().isoformat(timespec="milliseconds")
    name, number = entry.slot or (None, None)
    text = _CONTROL.sub(_escaped, entry.text.encode("utf-8", "backslashreplace").decode())
    built = _Json(when, entry.level, entry.process, text, name, number)
    return msgspec.json.encode(built).decode() + "\n"


def parse(line: str) -> Entry | None:
    """Either form, without the final newline, with all that belongs to it; None: it is no line of ours."""
    if line.startswith("{"):
        try:
            found = _decoder.decode(line)
            return Entry(datetime.fromisoformat(found.time).timestamp(), found.level, found.process, found.text)
        except (msgspec.DecodeError, ValueError):
            return None
    match = _TEXT.fullmatch(line)
    if match is None:
        return None
    try:
        at = datetime.fromisoformat(match[1]).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return Entry(at, match[2], match[3], match[4].replace(f"\n{INDENT}", "\n"))


def join(lines: Iterable[str]) -> Iterator[str]:
    """Lines of a file -> what each record consists of: its first line and those that are indented below it."""
    record: list[str] = []
    for line in lines:
        if record and not line.startswith(INDENT):
            yield "\n".join(record)
            record = []
        record.append(line)
    if record:
        yield "\n".join(record)


def _escaped(control: re.Match[str]) -> str:
    return f"\\x{ord(control[0]):02x}"
