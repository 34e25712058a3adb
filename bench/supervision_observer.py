"""What an outsider sees of processes, whoever supervises them: /proc, and nothing else.

A process that has ended counts as gone, whether or not somebody has waited for it. Moments are those of
time.perf_counter, half a millisecond late at most on a machine that has nothing else to do.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

PROC = Path("/proc")
LOOK_S = 0.0005

T = TypeVar("T")

clock = time.perf_counter


@dataclass(frozen=True, slots=True, order=True)
class Seen:
    """One process for all its life: a number may come again, with another start time."""

    started: int  # clock ticks since the machine was booted
    pid: int

    @property
    def alive(self) -> bool:
        stat = _stat(self.pid)
        return stat is not None and stat[0] not in "ZX" and stat[1] == self.started

    @property
    def command(self) -> str:
        """Empty if it is gone."""
        with contextlib.suppress(OSError):
            return (PROC / str(self.pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""


def see(pid: int) -> Seen | None:
    """None: it is gone."""
    stat = _stat(pid)
    return Seen(stat[1], pid) if stat is not None and stat[0] not in "ZX" else None


def children(pid: int) -> set[Seen]:
    found: set[Seen] = set()
    with contextlib.suppress(OSError):
        for task in (PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                found |= {seen for child in (task / "children").read_text().split() if (seen := see(int(child)))}
    return found


def family(pid: int) -> set[Seen]:
    """A process and its descendants; empty if it is gone."""
    root = see(pid)
    return {root}.union(*(family(child.pid) for child in children(pid))) if root else set()


def inhabitants(directory: Path) -> set[Seen]:
    """Those whose working directory is in `directory`, whoever their parent is by now."""
    found: set[Seen] = set()
    for entry in PROC.iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(directory):
                found |= {seen} if (seen := see(int(entry.name))) else set()
    return found


def until(condition: Callable[[], T], timeout_s: float, every_s: float = LOOK_S) -> T | None:
    """The first true value; None if there is none in time."""
    deadline = clock() + timeout_s
    while not (value := condition()):
        if clock() > deadline:
            return None
        time.sleep(every_s)
    return value


def until_forked(parent: int, known: Iterable[Seen], timeout_s: float) -> tuple[Seen, float] | None:
    """The first child of `parent` that is not known, and when it was seen; None: there was none in time."""
    known = set(known)
    new = until(lambda: children(parent) - known, timeout_s)
    return (min(new), clock()) if new else None


def until_gone(processes: Iterable[Seen], timeout_s: float) -> float | None:
    """When the last of them was gone; None: some of them are there after that time."""
    left = set(processes)

    def none_left() -> bool:
        left.intersection_update([process for process in left if process.alive])
        return not left

    return clock() if until(none_left, timeout_s) else None


def _stat(pid: int) -> tuple[str, int] | None:
    """State and start time."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])
