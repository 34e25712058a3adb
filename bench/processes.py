"""Processes under measurement: started, their CPU and memory read, all of them ended."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
STOP_S = 20


class Ended(Exception):
    """A process that was needed is gone."""


@contextmanager
def started(
    command: list[str], environ: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Ends with SIGTERM; what is left of the process and its descendants then is killed."""
    with log.open("wb") if log else contextlib.nullcontext(subprocess.DEVNULL) as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out if log else None
        )
    try:
        yield process
    finally:
        family = tree(process.pid)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        for left in [p for p in family if p.is_running()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        process.wait()


def tree(pid: int) -> list[psutil.Process]:
    """A process and all of its descendants, itself first; empty if it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def leaves(family: Iterable[psutil.Process]) -> set[int]:
    """Those without children: the workers, of every system that is measured here."""
    pids = {p.pid for p in family}
    return pids - {p.ppid() for p in family}


def cpu_s(family: Iterable[psutil.Process]) -> float:
    """CPU seconds that they have used; ProcessLookupError if one of them is gone."""
    return sum(_cpu_s(p.pid) for p in family)


def uss_mb(process: psutil.Process) -> float:
    return process.memory_full_info().uss / 2**20


def _cpu_s(pid: int) -> float:
    # The clock of clock_getcpuclockid(3): in nanoseconds, and with the threads that have ended; /proc has one or the
    # other.
    scheduled = 2
    try:
        return time.clock_gettime((~pid << 3) | scheduled)
    except OSError as e:
        raise ProcessLookupError(f"process {pid} has ended") from e
