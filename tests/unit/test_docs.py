"""What the documentation says of the code is true."""

import json
import re
from pathlib import Path

import click
import msgspec
import pytest

from richmond import messages
from richmond.cli import cli
from richmond.supervisor import protocol

ROOT = Path(__file__).parent.parent.parent
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
README = (ROOT / "README.md").read_text()


def test_the_tree_in_architecture_md_is_the_tree_on_disk():
    tree = ARCHITECTURE.split("## The tree")[1].split("```")[1]
    told, folder = set(), []
    for line in tree.splitlines():
        match = re.match(r"( *)(\S+?\.py|\S+/)(?: |$)", line)
        if not match:
            continue
        depth = len(match[1]) // 2
        folder = [*folder[:depth], match[2]]
        if match[2].endswith(".py"):
            told.add("".join(folder))
    found = {str(p.relative_to(ROOT)) for p in (ROOT / "richmond").rglob("*.py") if p.name != "__init__.py"}
    assert told == found


def test_the_control_requests_in_architecture_md_are_understood_and_every_op_has_an_example():
    block = ARCHITECTURE.split("## The control socket")[1].split("```json")[1].split("```")[0]
    told = {type(protocol.decode(line.encode())) for line in block.strip().splitlines()}
    assert told == set(protocol.Request.__args__)


def test_the_messages_in_architecture_md_are_messages():
    examples = re.findall(r"`(\{\"msisdn\".*?\})`", ARCHITECTURE, re.DOTALL)
    assert len(examples) == 2
    messages.decode_message(json.dumps(json.loads(examples[0])).encode())
    messages.decode_reply(json.dumps(json.loads(examples[1])).encode())


def test_every_verb_is_in_the_readme_and_has_help_with_an_example():
    verbs = set(re.findall(r"^\| `richmond ([a-z]+)", README, re.MULTILINE))
    assert verbs == set(cli.commands)
    for name, command in cli.commands.items():
        context = click.Context(command, info_name=name)
        assert f"richmond {name}" in command.get_help(context).split("Options:")[0].split("\n\n", 1)[1], name


def test_every_dependency_is_explained():
    wanted = re.findall(r'^        "([a-z]+)[<>=]', (ROOT / "setup.py").read_text(), re.MULTILINE)
    table = ARCHITECTURE.split("## Dependencies")[1]
    assert [name for name in wanted if not re.search(rf"\b{name}\b", table)] == []


@pytest.mark.parametrize("name", re.findall(r"\]\(([\w./]+)\)", README))
def test_links_in_the_readme_lead_somewhere(name):
    assert (ROOT / name).exists()


def test_structs_of_the_wire_are_frozen():
    assert all(issubclass(t, msgspec.Struct) and t.__struct_config__.frozen for t in protocol.Request.__args__)
