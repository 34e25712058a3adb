"""Keeps the private RabbitMQ node running: whatever ended it, it is started again as it was. Greenlets.

The same port and password, so that broker, workers and whoever else is connected come back by themselves.
"""

from __future__ import annotations

import logging
import os
import time

import gevent
from gevent.socket import wait_read

from richmond.errors import RichmondError
from richmond.rabbitmq import NodeInfo, PrivateNode

log = logging.getLogger(__name__)

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0  # also: it has lived longer than that, so what ended it is something new


class NodeKeeper:
    """`info`: the node as it last ran. `problem`: why it does not now, in plain words."""

    def __init__(self, node: PrivateNode, start_timeout_s: float) -> None:
        self.info: NodeInfo | None = None
        self.problem = ""
        self._node = node
        self._start_timeout_s = start_timeout_s
        self._keeping: gevent.Greenlet | None = None

    def start(self) -> NodeInfo:
        """As PrivateNode.start; from then on it is kept running."""
        self.info = info = self._node.start(self._start_timeout_s)
        self._keeping = gevent.spawn(self._keep, info)
        return info

    def leave(self) -> None:
        """Let it be, whatever becomes of it."""
        if self._keeping is not None:
            self._keeping.kill()

    def stop(self, timeout_s: float) -> None:
        self.leave()
        self._node.stop(timeout_s)

    def _keep(self, info: NodeInfo) -> None:
        retry_s = 0.0
        while True:
            since = time.monotonic()
            _await_end(info.pid)
            log.error("the private RabbitMQ node (pid %d) died: restarting it", info.pid)
            self.problem = "the private RabbitMQ node died; restarting it"
            if time.monotonic() - since > LONGEST_RETRY_S:
                retry_s = 0.0
            while True:
                gevent.sleep(retry_s)
                retry_s = min(2 * retry_s or FIRST_RETRY_S, LONGEST_RETRY_S)
                try:
                    self.info = info = self._node.start(self._start_timeout_s, same_port=True)
                    break
                except RichmondError as e:
                    log.error("%s; the next attempt follows in %g s", e, retry_s)
                    self.problem = f"the private RabbitMQ node died, and cannot be restarted: {e}"
            self.problem = ""
            log.warning("the private RabbitMQ node runs again (pid %d)", info.pid)


def _await_end(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        wait_read(pidfd)
    finally:
        os.close(pidfd)
