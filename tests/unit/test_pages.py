"""Texts that are too long for one message."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from richmond.ssmi.pages import cut, pages, sms_parts
from richmond.ssmi.text import sms_fits, ussd_fits

ALPHABETS = ["a", "ab é\n", "[]€ ", "ê ", "\N{GRINNING FACE}a", "a\N{GRINNING FACE} \n", " \n\t", "日本 "]
long_texts = st.sampled_from(ALPHABETS).flatmap(lambda letters: st.text(letters, min_size=60, max_size=700))
texts = st.text(max_size=300) | long_texts | st.lists(long_texts, max_size=3).map("".join)
more_texts = st.text(max_size=38) | st.text("é#日", max_size=77) | st.just("# More")


def letters(text: str) -> str:
    """All of it but the space, where a break may have been made."""
    return "".join(text.split())


def is_made_of(parts: list[str], text: str) -> bool:
    """Whether only a word that is too long for any part was broken; nothing lost, nothing added."""
    if letters("".join(parts)) != letters(text):
        return False
    broken = [word for word in text.split() if len(word) > 30]
    return bool(broken) or [word for part in parts for word in part.split()] == text.split()


def test_a_text_that_fits_stays_as_it_is():
    for text in ("", " ", "a", "  a\n", "x" * 182, "ê" * 80):
        assert (cut(text), pages(text, "# More")) == (text, [text])
    for text in ("", " ", "  a\n", "x" * 160, "ê" * 70):
        assert sms_parts(text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("word " * 40, "word " * 34 + "word word..."),
        ("word\n" * 40, "word\n" * 34 + "word\nword..."),
        ("x" * 183, "x" * 179 + "..."),
        ("x" * 179 + " y and more", "x" * 179 + "..."),
        ("x" * 178 + " yes", "x" * 178 + " yes"),
        ("x" * 178 + " yes?", "x" * 178 + "..."),
        ("one " + "x" * 300, "one..."),
        ("[" * 100, "[" * 89 + "..."),
        ("ê" * 81, "ê" * 77 + "..."),
        ("\N{GRINNING FACE}" * 41, "\N{GRINNING FACE}" * 38 + "..."),
        ("a " * 85 + "ê", "a " * 84 + "a..."),  # what is left of it is GSM-7
        (" " * 300 + "a", "a"),
        (" " * 300, ""),
    ],
)
def test_a_long_text_is_cut_after_a_word(text, expected):
    assert cut(text) == expected


@given(texts)
def test_what_is_cut_fits_and_is_the_texts_beginning(text: str):
    short = cut(text)
    assert ussd_fits(short)
    if short not in (text, text.strip()):
        assert short.endswith("...")
        assert text.strip().startswith(short[:-3])
        assert short[:-3].strip()


MENU = "What would you like?\n" + "\n".join(f"{number}. A thing with a name" for number in range(1, 15))


def test_a_menu_is_broken_between_its_lines():
    found = pages(MENU, "# More")
    lines = [page.split("\n") for page in found]
    assert all(page[-1] == "# More" for page in lines[:-1])
    assert [line for page in lines for line in page if line != "# More"] == MENU.split("\n")
    assert len(found) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("word " * 40, ["word " * 34 + "word\n# More", "word word word word word"]),
        ("x" * 200, ["x" * 175 + "\n# More", "x" * 25]),
        ("Yes\n" + "word " * 40, ["Yes\n" + "word " * 33 + "word\n# More", "word " * 5 + "word"]),  # not a page for one
        ("x" * 100 + "\n" + "y" * 74 + "\n" + "z" * 9, ["x" * 100 + "\n" + "y" * 74 + "\n# More", "z" * 9]),
        ("ê" * 100, ["ê" * 73 + "\n# More", "ê" * 27]),
        ("\N{GRINNING FACE}" * 50, ["\N{GRINNING FACE}" * 36 + "\n# More", "\N{GRINNING FACE}" * 14]),
        (" " * 300, [""]),
    ],
)
def test_a_long_text_is_broken_into_pages(text, expected):
    assert pages(text, "# More") == expected


@given(texts, more_texts)
def test_pages_fit_end_with_the_option_and_lose_nothing(text: str, more_text: str):
    found = pages(text, more_text)
    tail = f"\n{more_text}"
    assert all(ussd_fits(page) for page in found)
    assert all(page.endswith(tail) for page in found[:-1])
    bodies = [*(page.removesuffix(tail) for page in found[:-1]), found[-1]]
    assert is_made_of(bodies, text)
    assert all(body.strip() for body in bodies) or not text.strip()


@pytest.mark.parametrize("letter", ["x", "\N{GRINNING FACE}"])
def test_an_option_that_is_too_long_still_leaves_room_for_the_text(letter):
    found = pages(letter * 200, "\N{GRINNING FACE}" * 500)
    assert all(ussd_fits(page) for page in found)
    assert "".join(found).count(letter) >= 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("word " * 40, ["(1/2) " + "word " * 30 + "word", "(2/2) " + "word " * 8 + "word"]),
        ("x" * 161, ["(1/2) " + "x" * 154, "(2/2) " + "x" * 7]),
        ("ê" * 71, ["(1/2) " + "ê" * 64, "(2/2) " + "ê" * 7]),
        ("[" * 81, ["(1/2) " + "[" * 77, "(2/2) " + "[" * 4]),
        (" " * 300, [""]),
    ],
)
def test_a_long_text_is_broken_into_several_sms(text, expected):
    assert sms_parts(text) == expected


@pytest.mark.parametrize(("length", "last"), [(9 * 154, 9), (9 * 154 + 1, 10), (99 * 152, 99), (99 * 152 + 1, 101)])
def test_parts_leave_room_for_their_number(length, last):
    parts = sms_parts("x" * length)
    assert parts[-1].startswith(f"({last}/{last}) ")
    assert all(sms_fits(part) for part in parts)


@given(texts)
def test_sms_parts_fit_are_numbered_and_lose_nothing(text: str):
    parts = sms_parts(text)
    assert all(sms_fits(part) for part in parts)
    if len(parts) > 1:
        heads = [re.match(r"\((\d+)/(\d+)\) ", part) for part in parts]
        assert [(int(head[1]), int(head[2])) for head in heads] == [(i, len(parts)) for i in range(1, len(parts) + 1)]
        parts = [part[head.end() :] for part, head in zip(parts, heads, strict=True)]
        assert all(part.strip() for part in parts)
    assert is_made_of(parts, text)


@given(st.sampled_from(["x", "[", "ê", "\N{GRINNING FACE}", "x\N{GRINNING FACE}"]), st.integers(1, 3000))
def test_a_huge_word_ends_too(letters: str, times: int):
    text = letters * times
    assert "".join(page.removesuffix("\n#") for page in pages(text, "#")) == text
    assert "".join(re.sub(r"^\(\d+/\d+\) ", "", part) for part in sms_parts(text)) == text
    assert ussd_fits(cut(text))
