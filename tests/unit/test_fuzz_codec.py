"""A short run of tests/fuzz/fuzz_codec.py: nothing is found, and the inputs get everywhere."""

import pytest
from fuzz.fuzz_codec import CLASSES, DIRECTIONS, fuzz

IGNORED = {"empty", "no-header", "bad-id", "too-few-fields", "line-too-long", "undecodable"}
REASONS = {"events": IGNORED | {"unknown-code"}, "commands": IGNORED | {"too-many-fields"}}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_ten_thousand_mutations_find_nothing(direction):
    seen = fuzz((direction,), inputs=10_000, seed=1)[direction].seen
    names = {cls.__name__ for cls in CLASSES[direction]} | {"Unknown"}
    assert names | {f"written: {name}" for name in names} | REASONS[direction] <= set(seen)
    assert {"refused: line-break", "refused: comma", "refused: not-encodable", "refused: colon"} <= set(seen)
