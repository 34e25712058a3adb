"""What a dead letter is: its facts, its ID, which ones a filter takes, and what of it may be shown. No I/O."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from richmond import messages
from richmond.errors import MessageError, UsageError

ID_DIGITS = 10
MOST_CANDIDATES = 10  # that an ambiguous ID's error lists

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_ID = re.compile(rf"[0-9a-f]{{1,{ID_DIGITS}}}")
_DIGITS = re.compile(r"\d{6,}")  # may be a number
_WORD = re.compile(r"\w{4,}")
_GONE = "•••"

# Keys of a message that say nothing of what a subscriber or a worker wrote.
_OPEN = frozenset((
    "kind", "id", "account", "session", "in_reply_to", "received", "created", "ussd_type", "ussd_phase", "sequence",
    "sms_id", "lookup_id", "part", "parts", "ret_code", "status", "destination", "validity", "report_to", "long", "pid",
    "coding", "spid", "command",
))  # fmt: skip
_NUMBERS = frozenset(("msisdn", "imsi"))
_MOST_OPEN = 64  # characters; no key above is ever longer


@dataclass(frozen=True, slots=True)
class Letter:
    """What the dead-letter queue holds. Everything but body and ID comes from headers, and may be missing: ""."""

    id: str
    body: bytes
    reason: str
    worker: str
    slot: str
    queue: str  # where it came from
    exception: str
    time: float | None  # when it died, Unix seconds
    attempts: int | None


def letter(body: bytes, headers: Mapping[str, Any]) -> Letter:
    """From what RabbitMQ delivers; whoever wrote it."""
    digest = hashlib.blake2b(body, digest_size=ID_DIGITS // 2)
    digest.update(repr(sorted(headers.items())).encode("utf-8", "backslashreplace"))
    attempts = headers.get("x-richmond-attempts")
    return Letter(
        id=digest.hexdigest(),
        body=body,
        reason=_text(headers, "reason"),
        worker=_text(headers, "worker"),
        slot=_text(headers, "slot"),
        queue=_text(headers, "queue"),
        exception=_text(headers, "exception"),
        time=_unix(_text(headers, "time")),
        attempts=attempts if isinstance(attempts, int) else None,
    )


def retry_headers(letter: Letter) -> dict[str, Any]:
    """With which it goes back to a queue: it has died before, and was counted then."""
    headers: dict[str, Any] = {"x-richmond-retried": 1}
    if letter.attempts is not None:
        headers["x-richmond-attempts"] = letter.attempts
    if letter.worker:  # a reply's says who wrote it
        headers["x-richmond-worker"] = letter.worker
    return headers


# Which letters are meant.


@dataclass(frozen=True, slots=True)
class Filter:
    """None: no matter. A letter that does not say when it died is neither older nor newer than anything."""

    reason: str | None = None
    worker: str | None = None
    older_than_s: float | None = None
    newer_than_s: float | None = None

    def takes(self, letter: Letter, now: float) -> bool:
        """`now`: Unix seconds."""
        if self.reason not in (None, letter.reason) or self.worker not in (None, letter.worker):
            return False
        if self.older_than_s is None and self.newer_than_s is None:
            return True
        if letter.time is None:
            return False
        age_s = now - letter.time
        return (self.older_than_s is None or age_s > self.older_than_s) and (
            self.newer_than_s is None or age_s < self.newer_than_s
        )


def seconds(age: str) -> float:
    """90s, 10m, 2h, 1.5d, 1w. UsageError for anything else."""
    match = _AGE.fullmatch(age)
    if match is None:
        raise UsageError(f"{age!r} is no age: give a number and its unit, as in 90s, 10m, 2h, 7d or 1w")
    return float(match[1]) * _UNITS_S[match[2]]


def begins_with(letter: Letter, ids: Sequence[str]) -> bool:
    return letter.id.startswith(tuple(ids))


def resolve(ids: Sequence[str], found: Iterable[Letter], where: str) -> set[str]:
    """The whole IDs that `ids`, each a whole one or its beginning, stand for among `found`.

    UsageError, with all that is wrong, for one that stands for none or for several. `where`: it was looked for.
    """
    known = {letter.id: letter for letter in found}
    wrong = []
    meant = set()
    for id in ids:
        candidates = [letter for whole, letter in known.items() if whole.startswith(id)]
        if len(candidates) == 1:
            meant.add(candidates[0].id)
        elif candidates:
            wrong.append(f"{id} is the beginning of {len(candidates)} dead letters' IDs; give more of it:")
            wrong += [f"  {c.id}  {printable(c.reason)}  {printable(c.worker)}" for c in candidates[:MOST_CANDIDATES]]
            if len(candidates) > MOST_CANDIDATES:
                wrong.append(f"  and {len(candidates) - MOST_CANDIDATES} more")
        else:
            wrong.append(f"no dead letter {id} in {where}: see richmond dead list")
    if wrong:
        raise UsageError("\n".join(wrong))
    return meant


def checked_ids(ids: Sequence[str]) -> tuple[str, ...]:
    """UsageError for what cannot be the beginning of an ID."""
    lowered = tuple(id.lower() for id in ids)
    for id in lowered:
        if not _ID.fullmatch(id):
            raise UsageError(f"{id!r} is no dead letter's ID: these are up to {ID_DIGITS} digits of 0-9 and a-f")
    return lowered


# What may be shown.


class View(msgspec.Struct, frozen=True):
    """A letter as people and programs see it: one object of `--json`."""

    id: str
    reason: str
    worker: str
    slot: str
    queue: str
    time: str | None  # ISO 8601, UTC
    age_s: float | None
    attempts: int | None
    exception: str
    kind: str
    msisdn: str
    bytes: int
    message: Any  # the body: its keys, or in words why there are none


def view(letter: Letter, now: float, mask: Callable[[str], str] | None) -> View:
    """`mask`: hides a number. With it, texts are left out too; None: everything is to be seen."""
    try:
        data = messages.decode_object(letter.body)
    except MessageError:
        data = None
    number = (data or {}).get("msisdn")
    number = number if isinstance(number, str) else ""
    if data is None:
        text = letter.body.decode("utf-8", "backslashreplace")
        shown: Any = text if mask is None else f"({len(letter.body)} bytes, no JSON object)"
    else:
        shown = data if mask is None else {key: _hidden(key, value, mask) for key, value in data.items()}
    return View(
        id=letter.id,
        reason=letter.reason,
        worker=letter.worker,
        slot=letter.slot,
        queue=letter.queue,
        time=None if letter.time is None else datetime.fromtimestamp(letter.time, UTC).isoformat("T", "milliseconds"),
        age_s=None if letter.time is None else round(max(0.0, now - letter.time), 3),
        attempts=letter.attempts,
        exception=letter.exception if mask is None else _without_quotes(letter, data, mask),
        kind=_kind(data),
        msisdn=number if mask is None or not number else mask(number),
        bytes=len(letter.body),
        message=shown,
    )


def printable(text: str) -> str:
    """On one line, and unable to drive the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _text(headers: Mapping[str, Any], name: str) -> str:
    value = headers.get(f"x-richmond-{name}", "")
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _unix(iso: str) -> float | None:
    try:
        when = datetime.fromisoformat(iso)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def _kind(data: dict[str, Any] | None) -> str:
    """That of the JSON; what has none is a USSD reply."""
    if data is None:
        return ""
    kind = data.get("kind", "ussd")
    return kind if isinstance(kind, str) and len(kind) <= _MOST_OPEN else ""


def _is_open(key: str, value: Any) -> bool:
    return key in _OPEN and not isinstance(value, list | dict) and len(str(value)) <= _MOST_OPEN


def _hidden(key: str, value: Any, mask: Callable[[str], str]) -> Any:
    if key in _NUMBERS and isinstance(value, str):
        return mask(value)
    if _is_open(key, value):
        return value
    return f"({len(value)} character{'' if len(value) == 1 else 's'})" if isinstance(value, str) else "(hidden)"


def _without_quotes(letter: Letter, data: dict[str, Any] | None, mask: Callable[[str], str]) -> str:
    """What the exception says, without what it may quote of the message: its texts, words of them, and numbers.

    By words too, since an exception quotes parts, shortened or escaped, as often as the whole. What has less than four
    letters stays: a menu's "1" is everywhere and tells nothing.
    """
    if data is None:
        texts = [letter.body.decode("utf-8", "replace")]
    else:
        texts = list(_strings([v for k, v in data.items() if k not in _NUMBERS and not _is_open(k, v)]))
    line = letter.exception
    for text in texts:
        for quoted in (text, repr(text)[1:-1], " ".join(text.split())):
            if len(quoted) > 3:
                line = line.replace(quoted, _GONE)
    words = {word for text in texts for word in _WORD.findall(text.casefold())}
    line = _WORD.sub(lambda word: _GONE if word[0].casefold() in words else word[0], line)
    return _DIGITS.sub(lambda number: mask(number[0]), line)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
