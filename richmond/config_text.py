"""The text of an ini -> its sections and values with their line numbers. configobj does the structure.

A value is everything after the `=`, less spaces around it and one pair of quotes: no inline comments and no lists,
so that codes and passwords may hold `#` and commas. To that end configobj sees, in place of each value, the number of
its line, which also tells later on where a value came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from configobj import ConfigObj, ConfigObjError, DuplicateError, NestingError, Section

_KEY_VALUE = re.compile(r"(\s*[^\s#;\[=][^=]*=)(.*)", re.DOTALL)
_HEADER = re.compile(r"\s*(\[+)\s*(.*?)\s*\]+\s*(#.*)?")
_VARIABLE = re.compile(r"%\(ENV_([^)]*)\)s")
_MAX_SYNTAX_PROBLEMS = 20


@dataclass(slots=True)
class Problem:
    """One thing that is wrong, and where: in which line (0: nowhere in particular), section and key."""

    text: str
    line: int = 0
    section: str = ""
    key: str = ""

    def render(self, path: Path) -> str:
        where = [str(path)]
        if self.line:
            where.append(f"line {self.line}")
        if self.section or self.key:
            where.append(f"{f'[{self.section}] ' if self.section else ''}{self.key}".rstrip())
        return f"{', '.join(where)}: {self.text}"


@dataclass(slots=True)
class IniText:
    """`conf`: section -> key -> text, sub-sections nested. `lines`: (section,) or (section, key) -> line number."""

    conf: ConfigObj
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read(path: Path, environ: Mapping[str, str]) -> IniText:
    """Read as much as can be read; all that cannot is in `problems`. Raises nothing."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as e:
        why = e.strerror if isinstance(e, OSError) else str(e)
        return IniText(ConfigObj(), problems=[Problem(f"cannot be read: {why}; name the ini with -c FILE")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        return IniText(ConfigObj(), problems=[Problem("is not UTF-8 here; save the file as UTF-8", line)])
    lines = re.split(r"\r\n|\n|\r", text)
    values: dict[int, str] = {}
    skeleton = [_hollow(line, number, values) for number, line in enumerate(lines, 1)]
    ini = _structure(skeleton)
    _fill(ini, ini.conf, (), values, environ)
    for at, entry in enumerate(skeleton, 1):
        header = _HEADER.fullmatch(entry)
        if header and header[1] == "[":
            ini.lines.setdefault((header[2].strip("'\""),), at)
    return ini


def _hollow(line: str, number: int, values: dict[int, str]) -> str:
    match = _KEY_VALUE.fullmatch(line)
    if match:
        values[number] = match[2].strip()
        return f"{match[1]} {number}"
    return "" if line.lstrip().startswith(";") else line


def _structure(skeleton: list[str]) -> IniText:
    """Let configobj parse, taking out line by line what it refuses, so that the rest can be checked as well."""
    problems: list[Problem] = []
    while True:
        try:
            return IniText(ConfigObj(skeleton, interpolation=False, list_values=False), problems=problems)
        except ConfigObjError as e:
            first = e.errors[0] if getattr(e, "errors", None) else e
        number = first.line_number
        if len(problems) == _MAX_SYNTAX_PROBLEMS:
            problems.append(Problem("and more of that kind: is this an ini at all?", number))
            return IniText(ConfigObj(), problems=problems)
        problems.append(_syntax_problem(first, skeleton[number - 1], skeleton, number))
        is_header = skeleton[number - 1].lstrip().startswith("[")
        skeleton[number - 1] = ""
        while is_header and number < len(skeleton) and not skeleton[number].lstrip().startswith("["):
            skeleton[number] = ""  # what follows a header that is refused must not fall to the section above
            number += 1


def _syntax_problem(error: ConfigObjError, line: str, skeleton: list[str], number: int) -> Problem:
    section = ""
    for above in reversed(skeleton[: number - 1]):
        header = _HEADER.fullmatch(above)
        if header and header[1] == "[":
            section = header[2]
            break
    shown = line.strip()
    if isinstance(error, DuplicateError):
        if shown.startswith("["):
            return Problem(f"{shown} is there twice; put all its keys into one", number)
        return Problem("is there twice; keep one of them", number, section, shown.partition("=")[0].strip())
    if isinstance(error, NestingError):
        return Problem(f"{shown} does not belong here; valid is [section] or, below one, [[options]]", number)
    if not shown.startswith("[") and "=" not in shown:
        return Problem("is neither [section] nor key = value nor a comment (# at its start)", number, section)
    return Problem("cannot be read; valid is [section] or key = value", number, section)


def _fill(
    ini: IniText, part: Section, above: tuple[str, ...], values: Mapping[int, str], environ: Mapping[str, str]
) -> None:
    for key in list(part.scalars):
        number = int(part[key])
        ini.lines[(*above, key)] = number
        value = _unquote(values[number])
        missing = sorted({name for name in _VARIABLE.findall(value) if name not in environ})
        for name in missing:
            text = f"%(ENV_{name})s: the environment has no {name}; set it, or write the value here"
            ini.problems.append(Problem(text, number, " ".join(above), key))
        if missing:
            del part[key]
        else:
            part[key] = _VARIABLE.sub(lambda match: environ[match[1]], value)
    for name in part.sections:
        _fill(ini, part[name], (*above, name), values, environ)


def _unquote(value: str) -> str:
    quote = value[:1]
    if quote in ("'", '"') and len(value) >= 2 and value[-1] == quote and quote not in value[1:-1]:
        return value[1:-1]
    return value
