"""A socket to a gateway: dialled, kept alive, and what of it has arrived."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from gevent import socket

from richmond.settings import SsmiSettings

_LOOK_S = 0.05  # a confirmation that comes with nothing to read wakes nobody
_BYTES_ACKED = 120  # where it is in Linux' struct tcp_info
_TCP_INFO_BYTES = 128
# Beside the link check, which notices in two minutes; these say so to firewalls, and notice a host that vanished.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


def dialled(settings: SsmiSettings) -> Any:
    sock = socket.create_connection((settings.host, settings.port), timeout=settings.login_timeout_s)
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    return sock


def unreachable(error: OSError, settings: SsmiSettings) -> str:
    where = f"{settings.host}:{settings.port}"
    if isinstance(error, socket.gaierror):
        return (
            f"the host name {settings.host} cannot be resolved ({error.strerror}): check host in [{settings.section}]"
        )
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens on {where}: is the gateway running, are host and port in [{settings.section}] right?"
    if isinstance(error, TimeoutError):
        return f"no connection to {where} within {settings.login_timeout_s:g} s: is a firewall in the way?"
    return f"no connection to {where}: {error.strerror or error}"


class Unconfirmed:
    """What the socket has taken, until the gateway's host has confirmed its bytes.

    SSMI confirms no line, but TCP does. What was written to a network that is gone stays in the kernel for minutes,
    until the link is known to be dead: that has not arrived. `done`: a batch, and whether it has.
    """

    def __init__(self, sock: Any, done: Callable[[Any, bool], None]) -> None:
        self._sock = sock
        self._done = done
        self._written = self._confirmed()
        self._batches: deque[tuple[int, Any]] = deque()  # the end of each, in bytes since the begin
        self._timer: gevent.Greenlet | None = None

    def wrote(self, count: int, batch: Any) -> None:
        """So many bytes are in the socket. `batch`: what of them is waited for; None: nothing."""
        self._written += count
        if batch is not None:
            self._batches.append((self._written, batch))
            self.look()

    def look(self) -> None:
        if not self._batches:
            return
        confirmed = self._confirmed()
        while self._batches and self._batches[0][0] <= confirmed:
            self._done(self._batches.popleft()[1], True)
        if self._batches and (self._timer is None or self._timer.dead):
            self._timer = gevent.spawn_later(_LOOK_S, self._again)

    def end(self) -> None:
        """Before the socket is closed: what has not arrived now never will, as far as anybody knows."""
        self.look()
        if self._timer is not None:
            self._timer.kill(block=False)
        while self._batches:
            self._done(self._batches.pop()[1], False)

    def _again(self) -> None:
        self._timer = None
        self.look()

    def _confirmed(self) -> int:
        info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        return int(struct.unpack_from("Q", info, _BYTES_ACKED)[0])
