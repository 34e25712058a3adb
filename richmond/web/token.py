"""The token that changes need: made at the first start, for its owner's eyes only."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from richmond.errors import RichmondError

_BYTES = 24
_LEAST = 16  # characters; a shorter one that somebody has put there can be guessed


def keep(path: Path) -> str:
    """The token in `path`, made if there is none. RichmondError if there can be none."""
    try:
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{secrets.token_urlsafe(_BYTES)}\n")
        return read(path)
    except OSError as e:
        raise RichmondError(f"{path} cannot be written: {e.strerror}; see [web] token-file") from e


def read(path: Path) -> str:
    """RichmondError if it cannot be read, or is none."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise RichmondError(f"{path} can be read by others; make a new one: rm it, and richmond reload")
        token = path.read_text("ascii").strip()
    except OSError as e:
        raise RichmondError(f"{path} cannot be read: {e.strerror}; see [web] token-file") from e
    except UnicodeDecodeError:
        token = ""
    if len(token) < _LEAST or len(token.split()) != 1:
        raise RichmondError(f"{path} holds no token of {_LEAST} characters or more; rm it, and richmond reload")
    return token
