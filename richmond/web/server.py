"""The web server inside the master: it listens where [web] says, and serves from its first visitor on.

A port that somebody else has keeps nothing from starting: status and log say so, and it is tried again and again.
Server and pages are imported for the first visitor only: 2.5 MB that a master at which nobody looks does without.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import bottle
import gevent
from gevent import socket

from richmond.errors import RichmondError
from richmond.settings import WebSettings
from richmond.supervisor import protocol
from richmond.supervisor.event_feed import EventFeed
from richmond.supervisor.fleet import Fleet
from richmond.supervisor.report import Reporter
from richmond.web import live, scrape, token
from richmond.web.site import Site

if TYPE_CHECKING:
    from richmond.web.application import Application
    from richmond.web.http import Server

log = logging.getLogger(__name__)

RETRY_S = 5.0
_BACKLOG = 64


class WebServer:
    """`problem`: why it does not serve although it should."""

    def __init__(
        self,
        feed: EventFeed,
        reporter: Reporter,
        fleet: Callable[[], Fleet],
        ask: Callable[[protocol.Request], Any],
        stuck: Callable[[float], str],
    ) -> None:
        self._site = Site(feed, reporter, fleet, ask, stuck)
        self._remembering: bottle.Bottle | None = None  # pages that know what has happened since it was first to serve
        self._application: Application | None = None  # from the first visitor on, as its server
        self._server: Server | None = None
        self._settings: WebSettings | None = None
        self._token = ""
        self._listener: socket.socket | None = None
        self._waiting: gevent.Greenlet | None = None  # for the port, then for the first visitor there
        self.problem = ""

    @property
    def address(self) -> str:
        """Of the pages; empty while there are none."""
        if self._listener is None or self._settings is None:
            return ""
        return url(self._settings.host, self._listener.getsockname()[1])

    def start(self) -> None:
        """Also after a reload: takes over what has changed in the settings, and tries anew what could not be loaded."""
        settings = self._site.settings.web
        if settings.enabled:
            self._read_token(settings)
        if settings != self._settings:
            self.stop()
            self._settings = settings
            if settings.enabled:
                self._remember()
                self._listen(settings)
                self._waiting = gevent.spawn(self._wait, settings)

    def stop(self) -> None:
        if self._waiting is not None:
            self._waiting.kill()
        self._waiting = None
        self._close()
        self.problem = ""

    def _remember(self) -> None:
        if self._remembering is None:
            self._remembering = bottle.Bottle()
            live.routes(self._remembering, self._site)
            scrape.routes(self._remembering, self._site)

    def _listen(self, settings: WebSettings) -> None:
        before = self.problem
        try:
            self._listener = listen(settings.host, settings.port)
        except OSError as e:
            where = f"{settings.host}:{settings.port}"
            self.problem = f"the dashboard cannot be at {where}: {e.strerror}; see [web] host and port"
            if self.problem != before:
                log.warning("%s", self.problem)
            return
        self.problem = ""
        log.info("the dashboard is at %s", self.address)

    def _wait(self, settings: WebSettings) -> None:
        """For the port, then for a visitor, who waits in its backlog while all that it takes is imported."""
        while self._listener is None:
            gevent.sleep(RETRY_S)
            self._listen(settings)
        socket.wait_read(self._listener.fileno())
        try:
            from richmond.web.application import Application
            from richmond.web.http import Server

            if self._application is None:
                self._application = Application(self._remembering, self._site, lambda: self._token)
            self._server = Server(self._listener, self._application, settings.max_clients)
        except Exception as e:  # meant: files that are missing, or not of this version, end the dashboard only
            self._close()
            self._settings = None  # so that a reload tries again
            self.problem = f"the dashboard cannot be loaded: {e}; install Richmond again, then richmond reload"
            log.exception("%s", self.problem)

    def _close(self) -> None:
        if self._server is not None:
            self._server.close_all()
        if self._listener is not None:
            self._listener.close()
        self._server = self._listener = None

    def _read_token(self, settings: WebSettings) -> None:
        try:
            self._token = token.keep(settings.token_file)
        except RichmondError as e:
            self._token = ""
            log.error("nothing can be changed from the dashboard: %s", e)


def url(host: str, port: int) -> str:
    """Where a browser on this host finds it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def listen(host: str, port: int) -> socket.socket:
    """OSError if that cannot be."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
