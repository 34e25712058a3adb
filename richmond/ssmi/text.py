# ruff: noqa: RUF001 - look-alikes are the subject here
"""What of a text fits an encoding and a message. No I/O.

Septets after GSM 03.38 (3GPP TS 23.038); a USSD string holds 160 octets: 182 septets, or 80 UCS-2 units.
"""

from __future__ import annotations

import unicodedata

USSD_SEPTETS = 182
USSD_UCS2_UNITS = 80

_GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_EXTENDED = frozenset("^{}\\[~]|€\f")

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
    total = 0
    for character in text:
        if character in _GSM_BASIC:
            total += 1
        elif character in _GSM_EXTENDED:
            total += 2
        else:
            return None
    return total


def ussd_fits(text: str) -> bool:
    """Whether the text fits one USSD string."""
    count = septets(text)
    if count is not None:
        return count <= USSD_SEPTETS
    return len(text.encode("utf-16-be", "replace")) // 2 <= USSD_UCS2_UNITS


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
