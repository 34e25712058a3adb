"""Texts that are too long: cut, or broken into USSD pages or into several SMS. No I/O.

Texts break between words, a word only where it alone is too long; the space at a break goes. Everything fits as
`text.ussd_fits` and `text.sms_fits` say, so `text.fit` the text first: what it replaces may become longer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from richmond.ssmi.text import USSD_SEPTETS, sms_fits, ussd_fits

_WIDEST = "\N{GRINNING FACE}"  # no character takes more: with it a text is UCS-2, and it takes two units


def cut(text: str) -> str:
    """As much as one USSD string holds; "..." in place of the rest."""
    if ussd_fits(text) or ussd_fits(text := text.strip()):
        return text
    head, _ = _break(text, _room(text, "...", ussd_fits))
    return f"{head}..."


def pages(text: str, more_text: str) -> list[str]:
    """The USSD strings that carry the text; all but the last end with a line that is `more_text`.

    A page ends at the end of a line where that fills at least half of it. Only a blank text has an empty page. Of a
    `more_text` that leaves no room for the text, as much is there as does.
    """
    if ussd_fits(text):
        return [text]
    tail = f"\n{more_text}"
    while not ussd_fits(tail + _WIDEST):
        tail = tail[:-1]
    found = []
    rest = text.strip()
    while not ussd_fits(rest):
        head, rest = _break(rest, _room(rest, tail, ussd_fits), at_line=True)
        found.append(head + tail)
    return [*found, rest]


def sms_parts(text: str) -> list[str]:
    """The SMS that carry the text; if it takes several, they begin with "(1/3) "."""
    if sms_fits(text) or sms_fits(text := text.strip()):
        return [text]
    digits = 1
    while len(parts := _sms_beside(text, f"({'9' * digits}/{'9' * digits}) ")) >= 10**digits:
        digits += 1
    return [f"({number}/{len(parts)}) {part}" for number, part in enumerate(parts, 1)]


def _sms_beside(rest: str, widest: str) -> list[str]:
    parts = []
    while rest:
        head, rest = _break(rest, _room(rest, widest, sms_fits))
        parts.append(head)
    return parts


def _room(text: str, beside: str, fits: Callable[[str], bool]) -> int:
    """How many of its first characters fit together with `beside`. Whatever fits does so without its last character."""
    most = min(len(text), USSD_SEPTETS)
    return bisect_left(range(1, most + 1), True, key=lambda count: not fits(text[:count] + beside))


def _break(text: str, room: int, at_line: bool = False) -> tuple[str, str]:
    """What of a text without a leading space `room` characters hold, and the rest, without one too."""
    head, rest = text[:room], text[room:]
    if not rest:
        return head, ""
    if at_line and rest[0] != "\n" and (line := head.rfind("\n")) * 2 >= room:
        head = head[:line]
    elif not (rest[0].isspace() or head[-1].isspace()):
        head = head.rsplit(None, 1)[0]
    head = head.rstrip()
    return head, text[len(head) :].lstrip()
