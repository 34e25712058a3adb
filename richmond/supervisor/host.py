"""What this host has left for more workers: memory and CPU, and what the workers that run take of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
_SCHEDULED = 2  # clock_getcpuclockid(3): all threads of a process, those that have ended too


@dataclass(frozen=True, slots=True)
class Use:
    """Of one class's workers."""

    cpu: float  # their part of the host's CPUs since the last look, 0 to 1
    worker_bytes: int | None  # what one of them has to itself, on average; None: nobody has been looked at yet


@dataclass(frozen=True, slots=True)
class Left:
    memory_free: int  # bytes
    cpu: float  # busy since the last look, 0 to 1
    uses: Mapping[str, Use]  # by class


class Host:
    """Reads the memory of one worker of each class at a look, in turn: a reading takes as long as the rest together."""

    def __init__(self, cgroups: Path = CGROUPS) -> None:
        self._cgroups = cgroups
        self._cpu_s: dict[int, float] = {}  # pid -> CPU time at the last look
        self._bytes: dict[int, int] = {}  # pid -> memory of its own
        self._turn = 0
        self._looked = time.monotonic()
        psutil.cpu_percent()  # the reference for the first look

    def look(self, classes: Mapping[str, Iterable[int]]) -> Left:
        """`classes`: the pids of their workers."""
        now = time.monotonic()
        capacity_s = max(1e-3, now - self._looked) * (psutil.cpu_count() or 1)
        self._looked = now
        self._turn += 1
        before, self._cpu_s = self._cpu_s, {}
        uses = {name: self._use(list(pids), before, capacity_s) for name, pids in classes.items()}
        self._bytes = {pid: size for pid, size in self._bytes.items() if pid in self._cpu_s}
        free = int(min(psutil.virtual_memory().available, cgroup_free(self._cgroups)))
        return Left(free, psutil.cpu_percent() / 100, uses)

    def _use(self, pids: Sequence[int], before: Mapping[int, float], capacity_s: float) -> Use:
        spent_s = 0.0
        for pid in pids:
            with suppress(OSError):  # it has gone
                self._cpu_s[pid] = time.clock_gettime(~pid << 3 | _SCHEDULED)
                spent_s += self._cpu_s[pid] - before.get(pid, 0.0)
        living = [pid for pid in pids if pid in self._cpu_s]
        if living:
            pid = living[self._turn % len(living)]
            with suppress(psutil.Error):
                self._bytes[pid] = psutil.Process(pid).memory_full_info().uss
        sizes = [self._bytes[pid] for pid in living if pid in self._bytes]
        return Use(min(1.0, spent_s / capacity_s), sum(sizes) // len(sizes) if sizes else None)


def cgroup_free(root: Path = CGROUPS) -> float:
    """Bytes until the limit of the cgroup that we are in, or of one around it; inf where there is none (cgroups v2)."""
    free = float("inf")
    with suppress(OSError, IndexError):
        own = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].splitlines()[0] if root == CGROUPS else ""
        group = root / own
        while True:
            with suppress(OSError, ValueError, KeyError):
                limit = int((group / "memory.max").read_text())  # "max" is no number
                stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                used = int((group / "memory.current").read_text()) - int(stat["inactive_file"])
                free = min(free, max(0, limit - used))
            if group == root:
                break
            group = group.parent
    return free
