"""docs/messages.md says what messages.py does."""

import json
import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest

from richmond import messages

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "messages.md").read_text()
DIRECTIONS = {
    "From the gateway": (messages._INBOUND, messages.decode_inbound),
    "To the gateway": (messages._OUTBOUND, messages.decode_outbound),
}
SECTIONS = [
    (direction, kind, part)
    for direction in DIRECTIONS
    for kind, part in re.findall(
        r"^### `([a-z-]+)`\n(.*?)(?=^### |\Z)",
        TEXT.split(f"\n## {direction}\n")[1].split("\n## ")[0],
        re.MULTILINE | re.DOTALL,
    )
]


def table(text: str) -> dict[str, tuple[str, bool]]:
    """Key -> type, needed; of the first table with these columns."""
    rows = re.findall(r"^\| `(\w+)` \| ([a-z ]+) \| (yes|no) \|", text, re.MULTILINE)
    assert len(rows) == len({key for key, _, _ in rows})
    return {key: (kind, needed == "yes") for key, kind, needed in rows}


def told(kind: Any) -> str:
    """How the documentation calls a type."""
    if get_origin(kind) in (UnionType, type(int | None)) or str(get_origin(kind)) == "typing.Union":
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is Literal:
        return "string"
    if get_origin(kind) in (list, tuple):
        return "list of strings"
    return {str: "string", int: "number", float: "number"}[kind]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_every_kind_is_described_once(direction):
    kinds, _ = DIRECTIONS[direction]
    assert sorted(kind for told, kind, _ in SECTIONS if told == direction) == sorted(kinds)


@pytest.mark.parametrize(("direction", "kind", "text"), SECTIONS, ids=lambda value: value if len(value) < 30 else "")
def test_its_examples_are_messages_and_its_table_names_all_keys(direction, kind, text):
    kinds, decode = DIRECTIONS[direction]
    struct = kinds[kind]
    examples = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert examples
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for example in examples:
        assert type(decode(example.encode())) is struct
        assert json.loads(example).keys() - {"kind"} <= fields.keys()
    common = table(TEXT.split(f"\n## {direction}\n")[1].split("\n### ")[0])
    own = table(text)
    assert own.keys() & common.keys() <= {"msisdn", "in_reply_to", "account", "worker"}
    rows = common | own if kind != "ussd" or direction == "From the gateway" else own
    if direction == "From the gateway" and kind == "ussd":
        rows |= {key: (kind_told, False) for key, (kind_told, _) in common.items()}
    types = get_type_hints(struct)
    assert rows == {name: (told(types[field.name]), field.required) for name, field in fields.items()}


def test_every_example_in_it_is_of_a_section_above():
    found = sum(len(re.findall("```json", text)) for _, _, text in SECTIONS)
    assert found == TEXT.count("```json") == TEXT.count("```") / 2


def test_its_links_lead_somewhere():
    assert all((ROOT / "docs" / link).exists() for link in re.findall(r"\]\(([\w./]+)\)", TEXT))


def test_every_header_that_richmond_writes_is_explained():
    written = {
        header
        for path in (ROOT / "richmond").rglob("*.py")
        for header in re.findall(r'"(x-richmond-[a-z]+(?:-[a-z]+)*)"', path.read_text())
    }
    assert written <= set(re.findall(r"^\| `(x-richmond-[a-z-]+)`", TEXT, re.MULTILINE))
