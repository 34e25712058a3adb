"""The web server inside the master: it listens where [web] says, guards, and serves the pages.

A port that somebody else has keeps nothing from starting: status and log say so, and it is tried again and again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import bottle
import gevent

from richmond.errors import NotRunning, RichmondError, UsageError
from richmond.settings import WebSettings
from richmond.supervisor import protocol
from richmond.supervisor.event_feed import EventFeed
from richmond.supervisor.fleet import Fleet
from richmond.supervisor.report import Reporter
from richmond.web import actions, dead_letters, guard, health, live, pages, phone, scrape, token
from richmond.web.http import Server
from richmond.web.site import Answer, Site

log = logging.getLogger(__name__)

RETRY_S = 5.0
PAGES: tuple[Callable[[bottle.Bottle, Site], None], ...] = (
    pages.routes,
    phone.routes,
    live.routes,
    actions.routes,
    dead_letters.routes,
    scrape.routes,
    health.routes,
)


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
        self._app: bottle.Bottle | None = None  # until it is to serve for the first time
        self._settings = WebSettings()
        self._token = ""
        self._server: Server | None = None
        self._trying: gevent.Greenlet | None = None
        self.problem = ""

    @property
    def address(self) -> str:
        """Of the pages; empty while there are none."""
        return url(self._settings.host, self._server.port) if self._server is not None else ""

    def start(self) -> None:
        """Also after a reload: takes over what has changed in the settings."""
        settings = self._site.settings.web
        if settings.enabled:
            self._read_token(settings)
        if settings != self._settings:
            self.stop()
            self._settings = settings
            if settings.enabled and self._app is None:
                self._app = application(self._site)
            if settings.enabled and not self._listen():
                self._trying = gevent.spawn(self._try_again)

    def stop(self) -> None:
        if self._trying is not None:
            self._trying.kill()
        if self._server is not None:
            self._server.close_all()
        self._trying = self._server = None
        self.problem = ""

    def _listen(self) -> bool:
        settings, before = self._settings, self.problem
        try:
            self._server = Server(settings.host, settings.port, self._serve, settings.max_clients)
        except OSError as e:
            where = f"{settings.host}:{settings.port}"
            self.problem = f"the dashboard cannot be at {where}: {e.strerror}; see [web] host and port"
            if self.problem != before:
                log.warning("%s", self.problem)
            return False
        self.problem = ""
        log.info("the dashboard is at %s", self.address)
        return True

    def _try_again(self) -> None:
        gevent.sleep(RETRY_S)
        while not self._listen():
            gevent.sleep(RETRY_S)

    def _read_token(self, settings: WebSettings) -> None:
        try:
            self._token = token.keep(settings.token_file)
        except RichmondError as e:
            self._token = ""
            log.error("nothing can be changed from the dashboard: %s", e)

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = {
            key[5:].lower().replace("_", "-"): value for key, value in environ.items() if key.startswith("HTTP_")
        }
        settings, free = self._settings, phone.is_free(environ["PATH_INFO"], self._settings)
        no = guard.refusal(environ["REQUEST_METHOD"], headers, settings.hosts, self._token, free=free)

        def start(status: str, given: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*given, *guard.HEADERS], exc_info)

        if no is None:
            assert self._app is not None
            found: Iterable[bytes] = self._app(environ, start)
            return found
        start(no.status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{no.text}\n".encode()]


def url(host: str, port: int) -> str:
    """Where a browser on this host finds it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def application(site: Site) -> bottle.Bottle:
    """All pages. A RichmondError that a page raises becomes `{"ok": false, "error": "..."}`."""
    app = bottle.Bottle()
    app.install(_Failures())
    app.default_error_handler = _plainly
    for routes in PAGES:
        routes(app, site)
    return app


class _Failures:
    name = "failures"
    api = 2

    def apply(self, callback: Callable[..., Any], _route: bottle.Route) -> Callable[..., Any]:
        def answer(*args: Any, **options: Any) -> Any:
            try:
                return callback(*args, **options)
            except RichmondError as e:
                bottle.response.status = _status(e)
                failure: Answer = {"ok": False, "error": str(e)}
                return failure

        return answer


def _status(error: RichmondError) -> HTTPStatus:
    if isinstance(error, NotRunning):
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.BAD_REQUEST if isinstance(error, UsageError) else HTTPStatus.INTERNAL_SERVER_ERROR


def _plainly(error: bottle.HTTPError) -> str:
    bottle.response.content_type = "text/plain; charset=utf-8"
    return f"{error.status_line}: {error.body}\n"
