"""What `richmond start` says once everything is up: what runs, where, and what to try next."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from richmond.settings import Settings
from richmond.supervisor.status import Link, Snapshot, WorkerClass, takes

MSISDN = "27831112222"
DIALS = 3  # at most, with an example for each class


def banner(snapshot: Snapshot, settings: Settings, default_ini: str) -> str:
    """`default_ini`: the one that is used without -c."""
    lines = ["richmond is up. Ctrl-C ends it."]
    own = {snapshot.simulator: "the built-in simulator", snapshot.private_node: "a private node"}
    lines += [_line(link.name, link.address, _state(link), own.get(link.address or "-", "")) for link in snapshot.links]
    for cls in snapshot.classes:
        count = f"{cls.running} worker" if cls.running == 1 else f"{cls.running} workers"
        lines.append(_line(cls.name, count, "every other code" if cls.is_default else takes(cls)))
    if snapshot.web:
        lines.append(_line("dashboard", snapshot.web))
    lines.append(_line("log", str(settings.richmond.log or "here")))
    lines.append("Try, in a second terminal:")
    program = _program()
    option = "" if _same(default_ini, settings.path) else f" -c {shlex.quote(os.path.relpath(settings.path))}"
    return "\n".join(lines + [f"  {program} {verb}{option}{rest}" for verb, rest in _examples(snapshot)])


def _line(name: str, *facts: str) -> str:
    return f"  {name:<16}{', '.join(fact for fact in facts if fact)}"


def _state(link: Link) -> str:
    return link.state if link.state in ("up", "off") or not link.last_error else f"{link.state}: {link.last_error}"


def _examples(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Verbs and their arguments."""
    examples = []
    if snapshot.simulator:
        codes = ["*120*663#"] if any(cls.is_default for cls in snapshot.classes) else []
        codes += [cls.codes[0] for cls in snapshot.classes if cls.codes]
        examples += [("dial", f" '{code}1#'" if code.endswith("*") else f" '{code}'") for code in codes[:DIALS]]
        examples += [("gateway sms", rest) for cls in snapshot.classes if (rest := _sms(cls))][:1]
    if snapshot.web:
        examples.append(("web", "  # the dashboard, with a link that may change things"))
    examples.append(("status", ""))
    for cls in snapshot.classes[:1]:
        examples.append(("scale", f" {cls.name} {min(8, max(2, cls.max))}"))
    return examples


def _sms(cls: WorkerClass) -> str:
    """Arguments for one that the class takes."""
    to = f" --to {cls.short_codes[0]}" if cls.short_codes else ""
    text = cls.keywords[0] if cls.keywords else "Hello"
    return f" {MSISDN} '{text}'{to}" if to or cls.keywords or cls.sms else ""


def _program() -> str:
    """How this program was called, as one would type it here."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{shlex.quote(os.path.relpath(sys.executable))} -m richmond"
    if str(called.parent) in os.environ.get("PATH", "").split(os.pathsep):
        return called.name
    return shlex.quote(os.path.relpath(called))


def _same(one: str, other: Path) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False
