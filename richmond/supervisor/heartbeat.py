"""Tells systemd how we are: ready, reloading, stopping, one line of status, and that we make progress. Greenlets.

Progress, for its watchdog, is that the inbox loop has come to a pulse that was put into its inbox, that the broker's
greenlets have taken the turn that was asked of them, and that none that the master needs has ended. A process of which
this is not true says nothing more, and is killed and started again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import gevent
from gevent.event import Event as Signal

from richmond.sd_notify import Notifier
from richmond.supervisor.fleet import Fleet
from richmond.supervisor.lifecycle import State
from richmond.supervisor.services import Services

log = logging.getLogger(__name__)

STATUS_S = 2.0


class Pulse:
    """Goes through the inbox."""

    def __init__(self) -> None:
        self._back = Signal()

    def turned(self) -> None:
        self._back.set()

    def came_back(self, timeout_s: float) -> bool:
        return bool(self._back.wait(timeout_s))


class Heartbeat:
    def __init__(self, notifier: Notifier, services: Services) -> None:
        self._notifier = notifier
        self._services = services
        self._up = False  # a reload before that is a part of the start
        self._put: Callable[[Pulse], None] = lambda pulse: None
        self._needed: Sequence[gevent.Greenlet] = ()

    def start(
        self, put: Callable[[Pulse], None], fleet: Callable[[], Fleet], needed: Sequence[gevent.Greenlet]
    ) -> None:
        """`put`: into the inbox. `needed`: greenlets that never end while all is well."""
        self._put, self._needed = put, needed
        if self._notifier.listens:
            gevent.spawn(self._tell_status, fleet)
        if self._notifier.watchdog_s:
            gevent.spawn(self._beat)

    def ready(self) -> None:
        self._up = True
        self._notifier.ready()

    def reloading(self) -> None:
        if self._up:
            self._notifier.reloading()

    def reloaded(self) -> None:
        """Or not: then all is as before."""
        if self._up:
            self._notifier.ready()

    def stopping(self, why: str) -> None:
        self._notifier.stopping()
        self._notifier.status(f"stopping: {why}")

    def stuck(self, timeout_s: float) -> str:
        """What makes no progress although it should, perhaps found out only after so long; empty: nothing."""
        pulse = Pulse()
        self._put(pulse)
        if not pulse.came_back(timeout_s):
            return "the loop does not turn"
        if ended := [greenlet for greenlet in self._needed if greenlet.dead]:
            return f"{len(ended)} greenlets that are needed have ended"
        stuck = self._services.stuck()
        return f"{stuck} does not turn" if stuck else ""

    def _beat(self) -> None:
        period_s = self._notifier.watchdog_s / 2
        while True:
            wake = gevent.spawn_later(period_s, int)
            if why := self.stuck(period_s):
                log.error("watchdog: %s", why)
            else:
                self._notifier.alive()
            wake.join()

    def _tell_status(self, fleet: Callable[[], Fleet]) -> None:
        while True:
            if not fleet().stopping:
                self._notifier.status(self._status(fleet()))
            gevent.sleep(STATUS_S)

    def _status(self, fleet: Fleet) -> str:
        if not fleet.started:
            return self._services.step or "starting"
        classes = fleet.classes.values()
        running, target = sum(cls.count(State.RUNNING) for cls in classes), sum(cls.target for cls in classes)
        fatal = [cls.spec.name for cls in classes if cls.count(State.FATAL)]
        parts = [f"{running} of {target} workers run"]
        if fatal:
            parts.append(f"FATAL: {', '.join(fatal)}")
        if not self._services.linked():
            parts.append("a link is down")
        return "; ".join(parts)
