"""What systemd is told, as sd_notify(3) says: datagrams to the socket that `NOTIFY_SOCKET` names.

Without one everything here does nothing. Nothing waits and nothing raises: a systemd that does not read is its own
trouble.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping


class Notifier:
    """Takes its variables out of `environ`, so that no child speaks to systemd in our name."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        usec = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", str(os.getpid()))
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._status = ""
        wanted = bool(address) and usec.isdecimal() and pid == str(os.getpid())
        self.watchdog_s = int(usec) / 1e6 if wanted else 0.0  # it wants to hear from us at least so often; 0: never

    @property
    def listens(self) -> bool:
        return bool(self._address)

    def ready(self) -> None:
        """Up, or done with a reload."""
        self._tell("READY=1")

    def reloading(self) -> None:
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def alive(self) -> None:
        self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; told only when it has changed."""
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={' '.join(text.split())}")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.setblocking(False)
            to.sendto("\n".join(lines).encode(), self._address)
