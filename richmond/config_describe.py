"""Settings -> the text of an ini with every key, secrets masked. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

from richmond.settings import Settings, WorkerSettings

MASK = "********"

_SECRET = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)
_KEYS = {"class_path": "class", "stable_s": "stable-seconds"}
_DERIVED = ("name", "routing_key")  # not keys of the ini


def describe(settings: Settings) -> str:
    """The effective ini: defaults filled in, paths absolute, passwords as ********."""
    parts = [f"# Effective settings of {settings.path}\n"]
    parts.append(_section("richmond", settings.richmond))
    parts += [_section(account.section, account) for account in settings.accounts]
    parts += [_section(name, getattr(settings, name)) for name in ("amqp", "rabbitmq", "simulator", "web", "otel")]
    parts += [_worker(worker) for worker in settings.workers]
    return "\n".join(parts)


def key_of(attribute: str) -> str:
    """The ini's key for an attribute of a settings class: `stop_timeout_s` is `stop-timeout`."""
    return _KEYS.get(attribute) or attribute.removesuffix("_s").replace("_", "-")


def _section(name: str, values: object) -> str:
    lines = [f"[{name}]"]
    for field in fields(values):  # type: ignore[arg-type]
        value = getattr(values, field.name)
        if not isinstance(value, Mapping) and field.name not in _DERIVED:
            lines.append(f"{key_of(field.name)} = {_text(field, value)}".rstrip())
    return "\n".join(lines) + "\n"


def _worker(worker: WorkerSettings) -> str:
    text = _section(f"worker:{worker.name}", worker)
    for name, values in (("environment", worker.environment), ("options", worker.options)):
        if values:
            text += f"[[{name}]]\n"
            text += "".join(f"{key} = {MASK if _SECRET.search(key) else value}\n" for key, value in values.items())
    return text


def _text(field: Field[Any], value: object) -> str:
    if not field.repr:
        return MASK if value else ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ", ".join(value)
    if value is None:
        return "stderr" if field.name == "log" else ""
    return str(value)


__all__ = ["MASK", "describe", "key_of"]
