"""What is asked of Linux itself: what becomes of a process when its parent dies, who runs first, an alarm clock."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import suppress

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

# linux/time.h, bits/timerfd.h
_CLOCK_MONOTONIC = 1
_TFD_CLOEXEC = os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)
_timerfd_settime = _libc.timerfd_settime
_TimerSpec = ctypes.c_long * 4  # interval and time to go, each in seconds and nanoseconds
_OFF = ctypes.byref(_TimerSpec())
_NOW = ctypes.byref(_TimerSpec(0, 0, 0, 1))


def signal_on_parents_death(number: signal.Signals) -> None:
    """Have the kernel send us `number` when the thread that forked us ends. One that ended before is not noticed."""
    _prctl(_PR_SET_PDEATHSIG, number)


def become_subreaper() -> None:
    """Adopt the orphans among our descendants: the workers of a spawner that was killed stay ours to wait for."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def let_others_finish() -> None:
    """From now on neither this thread nor what it starts takes the processor from who has it, only because it wakes.

    With fewer cores than busy processes, each message would else interrupt RabbitMQ in the midst of its next one, and
    everything would be read and written one by one. sched(7): SCHED_BATCH. Shares of the processor stay as they are.
    """
    if os.sched_getscheduler(0) == os.SCHED_OTHER:  # else somebody has chosen: chrt, CPUSchedulingPolicy
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class Alarm:
    """Rings once, `seconds` after it was last set. Setting it wakes nobody, so it costs what a system call costs."""

    def __init__(self, seconds: float) -> None:
        """Not set yet. OSError if the kernel has no more."""
        self._fd = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._spec = ctypes.byref(_TimerSpec(0, 0, int(seconds), round(seconds % 1 * 1e9)))

    def set(self) -> None:
        _timerfd_settime(self._fd, 0, self._spec, None)

    def cancel(self) -> None:
        _timerfd_settime(self._fd, 0, _OFF, None)

    def ring(self) -> None:
        _timerfd_settime(self._fd, 0, _NOW, None)

    def wait(self) -> None:
        """Until it rings; at once if it has."""
        os.read(self._fd, 8)

    def close(self) -> None:
        os.close(self._fd)


def _prctl(option: int, value: int) -> None:
    """OSError if the kernel refuses."""
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
