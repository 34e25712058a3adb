"""What a reload finds on disk: the ini, and the files that workers have imported."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from richmond import config
from richmond.errors import RichmondError
from richmond.settings import Settings
from richmond.supervisor.fleet import Fleet
from richmond.supervisor.reloading import fixed


def read(running: Settings) -> tuple[Settings, tuple[str, ...]]:
    """The ini of `running` as it is now, as far as it can be taken over, and notes on what cannot. ConfigError."""
    return fixed(config.load(running.path, os.environ), running)


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
