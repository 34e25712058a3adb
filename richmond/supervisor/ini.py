"""What a reload finds on disk: the ini, and the files that workers have imported."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from richmond import config
from richmond.errors import RichmondError
from richmond.settings import Settings
from richmond.supervisor import plan, protocol, reloading
from richmond.supervisor.fleet import Fleet, Reloaded


def read(running: Settings) -> tuple[Settings, tuple[str, ...]]:
    """The ini of `running` as it is now, as far as it can be taken over, and notes on what cannot. ConfigError."""
    return reloading.fixed(config.load(running.path, os.environ), running)


def rehearse(running: Settings, fleet: Fleet, resolve: Callable[[Settings], Settings], now: float) -> dict[str, Any]:
    """What a reload would do, as the answer to a request."""
    try:
        given, notes = read(running)
    except (RichmondError, OSError) as e:
        return protocol.failure(f"it would change nothing:\n{problem(e)}", usage=True)
    after, _ = plan.step(fleet, Reloaded(resolve(given), hashes(fleet), notes=notes), now, 0.0)
    return {"ok": True, "text": reloading.changes(fleet, after, notes)}


def hashes(fleet: Fleet) -> dict[str, str]:
    """Path -> SHA-256 of each file that a worker has imported; empty for one that cannot be read."""
    slots = [slot for cls in fleet.classes.values() for slot in cls.slots]
    return {path: _hash(Path(path)) for path in {path for slot in slots for path in slot.files}}


def problem(error: RichmondError | OSError) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
