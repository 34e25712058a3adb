"""/phone: telephones in the browser, at the built-in simulator. They use its socket, as `richmond dial` does.

A page has one stream of events, and posts its requests to the line that the stream's first event names. A page that is
closed ends its stream, and that hangs up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bottle
import gevent
import msgspec
from gevent.socket import wait_read

from richmond.errors import NotRunning, RichmondError
from richmond.settings import Settings, WebSettings
from richmond.simulator import wire
from richmond.web.pages import page
from richmond.web.phone_line import PhoneLine, shown
from richmond.web.site import Answer, Site

LINES = "/phone/line"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_PAGES = 16
BEAT_S = 15.0  # a comment whenever nothing has happened for so long: proxies close what is silent
EXAMPLE = "*120*663#"  # for the class that takes every code
NO_SIMULATOR = (
    "there is no telephone here: the simulator does not run, Richmond is to be connected to a real gateway. "
    "Dial with a real telephone."
)


def routes(app: bottle.Bottle, site: Site) -> None:
    phones = _Phones(site)
    app.route("/phone", "GET", phones.page)
    app.route(LINES, "GET", phones.stream)
    app.route(f"{LINES}/<name>", "POST", phones.request)


def is_free(path: str, settings: WebSettings) -> bool:
    """What takes no token: a subscriber of the simulator is no operator, as long as this host alone gets here.

    A line has a name that only its own page was told, which no other site's script can read.
    """
    return path.startswith(f"{LINES}/") and settings.host in LOOPBACK and not settings.hosts


class _Phones:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._lines: dict[str, PhoneLine] = {}

    def page(self) -> bottle.HTTPResponse:
        self._settings()
        return page("phone.html")

    def stream(self) -> Iterator[bytes]:
        settings = self._settings()
        if len(self._lines) >= MOST_PAGES:
            raise NotRunning(f"{MOST_PAGES} pages with telephones are open; close one")
        line = PhoneLine(settings.simulator.socket)
        try:
            accounts = line.status().accounts
        except RichmondError:
            line.close()
            raise
        free = is_free(f"{LINES}/{line.name}", settings.web)
        hello = {"line": line.name, "free": free, "accounts": accounts, **_facts(settings)}
        self._lines[line.name] = line
        bottle.response.content_type = "text/event-stream"
        bottle.response.set_header("Cache-Control", "no-store")
        return self._happenings(line, hello, bottle.request.environ["richmond.socket"])

    def request(self, name: str) -> bytes | Answer:
        """What the simulator refuses is no fault of the page: 200, with `"ok": false`."""
        line = self._lines.get(name)
        if line is None:
            raise NotRunning("this telephone is off: the page that had it has lost its connection")
        answer = line.ask(bottle.request.body.read())
        if isinstance(answer, wire.Error):
            return {"ok": False, "error": answer.text}
        bottle.response.content_type = "application/json"
        return wire.encode(answer)

    def _settings(self) -> Settings:
        settings = self._site.settings
        if not settings.simulator.enabled:
            raise bottle.HTTPError(404, NO_SIMULATOR)
        return settings

    def _happenings(self, line: PhoneLine, hello: dict[str, Any], client: Any) -> Iterator[bytes]:
        watch = gevent.spawn(_hang_up_with, client, line)
        try:
            yield b"event: hello\ndata: %b\n\n" % msgspec.json.encode(hello)
            for news in line.news(BEAT_S):
                yield b":\n\n" if news is None else b"data: %b\n\n" % shown(news)
        finally:
            watch.kill()
            del self._lines[line.name]
            line.close()


def _hang_up_with(client: Any, line: PhoneLine) -> None:
    """The browser sends nothing on a stream: whatever can be read there is its end."""
    wait_read(client.fileno())
    line.close()


def _facts(settings: Settings) -> dict[str, Any]:
    """What a telephone may dial, and how long its session may be silent."""
    codes = [{"code": code, "worker": w.name} for w in settings.workers for code in w.codes if code.endswith("#")]
    codes = [{"code": EXAMPLE, "worker": w.name} for w in settings.workers if w.is_default] + codes
    return {"codes": codes, "session_timeout_s": settings.simulator.session_timeout_s}
