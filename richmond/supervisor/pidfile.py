"""The lock of an installation: a pid file that is held locked for as long as the master lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from richmond.errors import AlreadyRunning


class PidFile:
    """`flock` on the file, not its content, says whether a master lives: a number may belong to a foreign process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        """AlreadyRunning, naming the pid, if a master holds it. True if one died and left the file behind."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as e:
                pid = os.read(fd, 32).decode(errors="replace").strip()
                os.close(fd)
                raise AlreadyRunning(
                    f"richmond already runs with pid {pid or 'unknown'} ({self._path}); "
                    "see richmond status, or end it with richmond stop"
                ) from e
            # the one who held it may have removed it between our open and our lock
            if self._path.exists() and os.fstat(fd).st_ino == self._path.stat().st_ino:
                break
            os.close(fd)
        stale = bool(os.read(fd, 32).strip())
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd
        return stale

    def release(self) -> None:
        if self._fd is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


def left_behind(path: Path) -> bool:
    """True if a master died without removing its pid file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return bool(file.read(32).strip())
    except (FileNotFoundError, BlockingIOError):
        return False
