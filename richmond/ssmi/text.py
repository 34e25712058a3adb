# ruff: noqa: RUF001 - look-alikes are the subject here
"""What of a text fits an encoding, a USSD string and an SMS. No I/O.

Septets after GSM 03.38 (3GPP TS 23.038). A USSD string holds 160 octets: 182 septets, or 80 UCS-2 units; an SMS
140: 160 septets, or 70 units. `pages` breaks what is longer.
"""

from __future__ import annotations

import re
import unicodedata

USSD_SEPTETS = 182
USSD_UCS2_UNITS = 80
SMS_SEPTETS = 160
SMS_UCS2_UNITS = 70

_BASIC = re.escape(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = re.escape("^{}\\[~]|€\f")
_is_basic = re.compile(f"[{_BASIC}]*").fullmatch
_is_gsm = re.compile(f"[{_BASIC}{_EXTENDED}]*").fullmatch
_all_extended = re.compile(f"[{_EXTENDED}]").findall

# What people type or paste most and NFKD does not take apart.
_PLAIN = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "‚": "'",
        "‛": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "‐": "-",
        "‑": "-",
        "‒": "-",
        "–": "-",
        "—": "-",
        "−": "-",
        "•": "*",
        "…": "...",
        "€": "EUR",
        "™": "(TM)",
        "×": "x",
        "ß": "ss",
        "Æ": "AE",
        "æ": "ae",
        "Œ": "OE",
        "œ": "oe",
        "Ø": "O",
        "ø": "o",
        "Đ": "D",
        "đ": "d",
        "Ł": "L",
        "ł": "l",
        "ı": "i",
        "\u00a0": " ",
        "\u2028": "\n",
        "\u2029": "\n",
    }
)


def fit(text: str, encoding: str) -> tuple[str, int]:
    """The text with every character that `encoding` lacks transliterated, else '?'; and how many those were."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        pass
    else:
        return text, 0
    replaced = 0
    fitting: list[str] = []
    for character in text:
        if _fits(character, encoding):
            fitting.append(character)
            continue
        replaced += 1
        plain = unicodedata.normalize("NFKD", character.translate(_PLAIN))
        plain = "".join(c for c in plain if not unicodedata.combining(c)).translate(_PLAIN)
        fitting.append(plain if plain and _fits(plain, encoding) else "?")
    return "".join(fitting), replaced


def septets(text: str) -> int | None:
    """How many GSM-7 septets the text takes; None if GSM-7 cannot carry it, which means UCS-2."""
    if _is_basic(text):
        return len(text)
    if _is_gsm(text):
        return len(text) + len(_all_extended(text))
    return None


def ussd_fits(text: str) -> bool:
    """Whether the text fits one USSD string."""
    if len(text) <= USSD_UCS2_UNITS and text.isascii():
        return True  # nearly all are
    return _takes_at_most(text, USSD_SEPTETS, USSD_UCS2_UNITS)


def sms_fits(text: str) -> bool:
    """Whether the text fits one SMS."""
    return _takes_at_most(text, SMS_SEPTETS, SMS_UCS2_UNITS)


def _takes_at_most(text: str, septet_limit: int, unit_limit: int) -> bool:
    """A limit in septets is at least twice the one in units."""
    if len(text) <= unit_limit:  # what needs more is not GSM-7: some characters take two units
        return len(text.encode("utf-16-be", "replace")) // 2 <= unit_limit
    if len(text) > septet_limit:
        return False
    count = septets(text)
    return count is not None and count <= septet_limit


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
