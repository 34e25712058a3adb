"""All pages as one WSGI application, behind the guard. Imported with the first visitor (`server`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import bottle

from richmond.errors import NotRunning, RichmondError, UsageError
from richmond.web import actions, dead_letters, guard, health, pages, phone
from richmond.web.site import Answer, Site


class Application:
    """`app`: with the pages that were there before. `token`: as it is now.

    A RichmondError that a page raises becomes `{"ok": false, "error": "..."}`.
    """

    def __init__(self, app: bottle.Bottle, site: Site, token: Callable[[], str]) -> None:
        self._app = app
        self._site = site
        self._token = token
        app.install(_Failures())
        app.default_error_handler = _plainly
        for module in (pages, phone, actions, dead_letters, health):
            module.routes(app, site)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = {
            key[5:].lower().replace("_", "-"): value for key, value in environ.items() if key.startswith("HTTP_")
        }
        settings = self._site.settings.web
        free = phone.is_free(environ["PATH_INFO"], settings)
        no = guard.refusal(environ["REQUEST_METHOD"], headers, settings.hosts, self._token(), free=free)

        def start(status: str, given: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*given, *guard.HEADERS], exc_info)

        if no is None:
            found: Iterable[bytes] = self._app(environ, start)
            return found
        start(no.status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{no.text}\n".encode()]


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
