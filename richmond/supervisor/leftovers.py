"""Workers of a dead master that cannot end, because somebody has stopped them: the next master wakes them.

One that is stopped before its spawner dies is woken by the kernel (see `spawner._be_worker`); this is for one that is
stopped later, or in the same instant. It is told by the name of the shared memory that it counts in, which is that of
its installation. Being woken harms nobody, so that no certainty is needed of whose process it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from pathlib import Path


def name_of(pid_file: Path) -> str:
    """Of the shared memory of this installation, and of no other."""
    return f"richmond-{hashlib.sha256(os.fsencode(pid_file.resolve())).hexdigest()[:16]}"


def wake(name: str) -> list[int]:
    """Continue those that are stopped; they have long been told to end. Returns their pids."""
    woken = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):  # it ends, or belongs to somebody else
                text = (process / "stat").read_text()
                state = text.rpartition(")")[2].split()[0]
                if state == "T" and "(richmond:" in text and name in (process / "maps").read_text():
                    os.kill(int(process.name), signal.SIGCONT)
                    woken.append(int(process.name))
    return woken
