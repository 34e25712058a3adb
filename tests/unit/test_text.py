"""What of a text fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond.ssmi.text import fit, septets, sms_fits, ussd_fits


@pytest.mark.parametrize(
    ("text", "encoding", "fitting", "replaced"),
    [
        ("plain", "iso-8859-1", "plain", 0),
        ("café", "iso-8859-1", "café", 0),
        ("café", "ascii", "cafe", 1),
        ("‘so’ – “it” …", "iso-8859-1", "'so' - \"it\" ...", 6),  # noqa: RUF001
        ("€5", "iso-8859-1", "EUR5", 1),
        ("ŠŽ ł", "iso-8859-1", "SZ l", 3),
        ("日本", "iso-8859-1", "??", 2),
        ("\N{SNOWMAN}", "utf-8", "\N{SNOWMAN}", 0),
        ("\ud800", "utf-8", "?", 1),
        ("Ǽ", "iso-8859-1", "AE", 1),
        ("Ǽ", "ascii", "AE", 1),
    ],
)
def test_characters_that_do_not_fit_are_transliterated_and_counted(text, encoding, fitting, replaced):
    assert fit(text, encoding) == (fitting, replaced)


@given(st.text(), st.sampled_from(["iso-8859-1", "ascii", "utf-8", "cp1252"]))
def test_a_fitted_text_always_encodes(text: str, encoding: str):
    fit(text, encoding)[0].encode(encoding)


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("hello", 5), ("^{}\\[~]|€", 18), ("é", 1), ("ê", None), ("a\nb", 3), ("日", None), ("a`", None)],
)
def test_septets_are_counted_after_gsm_03_38(text, count):
    assert septets(text) == count


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("x" * 182, True),
        ("x" * 183, False),
        ("[" * 91, True),
        ("[" * 91 + "x", False),
        ("ê" * 80, True),
        ("ê" * 81, False),
        ("\N{GRINNING FACE}" * 40, True),
        ("\N{GRINNING FACE}" * 41, False),
    ],
)
def test_a_ussd_string_holds_182_septets_or_80_ucs2_units(text, fits):
    assert ussd_fits(text) is fits


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("x" * 160, True),
        ("x" * 161, False),
        ("[" * 80, True),
        ("[" * 80 + "x", False),
        ("ê" * 70, True),
        ("ê" * 71, False),
        ("\N{GRINNING FACE}" * 35, True),
        ("\N{GRINNING FACE}" * 35 + "x", False),
    ],
)
def test_an_sms_holds_160_septets_or_70_ucs2_units(text, fits):
    assert sms_fits(text) is fits


BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENDED = "^{}\\[~]|€\f"
letters = st.sampled_from([*BASIC, *EXTENDED, "`", "ê", "日", "\N{GRINNING FACE}"])


@given(st.text(letters, max_size=200) | st.text(st.sampled_from(BASIC + EXTENDED), max_size=200) | st.text(max_size=90))
def test_the_short_cuts_judge_as_counting_does(text: str):
    if all(letter in BASIC + EXTENDED for letter in text):
        count = sum(2 if letter in EXTENDED else 1 for letter in text)
        assert septets(text) == count
        assert (ussd_fits(text), sms_fits(text)) == (count <= 182, count <= 160)
    else:
        units = sum(2 if letter > "\uffff" else 1 for letter in text)
        assert septets(text) is None
        assert (ussd_fits(text), sms_fits(text)) == (units <= 80, units <= 70)
