"""What the pages know of the installation, and what they can have it do. Each page module has `routes(app, site)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from richmond.settings import Settings
from richmond.supervisor import protocol
from richmond.supervisor.event_feed import EventFeed
from richmond.supervisor.fleet import Fleet
from richmond.supervisor.report import Reporter
from richmond.supervisor.status import Snapshot

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Site:
    """`ask`: what the control socket is asked, and its answer; it may block its greenlet.

    `stuck`: what of the master makes no progress, perhaps found out only after so many seconds; empty: nothing.
    """

    feed: EventFeed
    reporter: Reporter
    fleet: Callable[[], Fleet]
    ask: Callable[[protocol.Request], Any]
    stuck: Callable[[float], str]

    @property
    def settings(self) -> Settings:
        """As they are now, with every address filled in."""
        return self.fleet().settings

    def snapshot(self) -> Snapshot:
        """Waits for RabbitMQ, for a second at most."""
        return self.reporter.snapshot(self.fleet())
