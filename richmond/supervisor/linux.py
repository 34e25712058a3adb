"""The Linux calls that Python has no name for: what becomes of a process when its parent dies."""

from __future__ import annotations

import ctypes
import os
import signal

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def signal_on_parents_death(number: signal.Signals) -> None:
    """Have the kernel send us `number` when the thread that forked us ends. One that ended before is not noticed."""
    _prctl(_PR_SET_PDEATHSIG, number)


def become_subreaper() -> None:
    """Adopt the orphans among our descendants: the workers of a spawner that was killed stay ours to wait for."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    """OSError if the kernel refuses."""
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
