"""/events, /history: what happens, as it happens, for pages that are open. One producer for all of them.

A page is sent what has changed since it was last sent anything, at most once a second. Nothing queues up for a slow
one: it gets less often what there is then, and one that takes nothing is cut off (`http`). While nobody looks, a row of
the history every few seconds is all that is done.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import bottle
import gevent
import msgspec
from gevent.event import Event as Signal

from richmond import log as texts
from richmond.durations import NONE
from richmond.errors import NotRunning
from richmond.supervisor import events
from richmond.supervisor.lifecycle import State
from richmond.web import history, state
from richmond.web.history import History
from richmond.web.site import Site

log = logging.getLogger(__name__)

TICK_S = 1.0
BEAT_S = 15.0  # so often a page hears from us at least
MOST_EVENTS = 100

_encode = msgspec.json.Encoder().encode


def routes(app: bottle.Bottle, site: Site) -> None:
    live = Live(site)
    app.route("/events", "GET", live.open)
    app.route("/history", "GET", live.hour)


class Live:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._pages: set[Signal] = set()
        self._version = 0
        self._plain: dict[str, Any] = {}  # what the parts below were made of
        self._parts: dict[str, tuple[int, bytes]] = {}  # by name: since which version, JSON
        self._events: deque[tuple[int, bytes]] = deque(maxlen=MOST_EVENTS)
        self._news = False
        self._history = History(_clean)
        self._row: tuple[int, bytes] = (0, b"")
        self._producing: gevent.Greenlet | None = None
        site.feed.listeners.append(self._on_event)
        gevent.spawn(self._remember)

    def hour(self) -> bytes:
        bottle.response.content_type = "application/json"
        bottle.response.set_header("Cache-Control", "no-store")
        return _encode({"step": history.STEP_S, "rows": list(self._history.rows), "marks": list(self._history.marks)})

    def open(self) -> Iterator[bytes]:
        most = self._site.settings.web.max_clients // 2  # the others are for requests
        if len(self._pages) >= most:
            raise NotRunning(f"{most} dashboards are open already; close one, or raise [web] max-clients")
        bottle.response.content_type = "text/event-stream"
        bottle.response.set_header("Cache-Control", "no-store")
        bottle.response.set_header("X-Accel-Buffering", "no")  # nginx would keep it back
        return self._stream()

    def _stream(self) -> Iterator[bytes]:
        signal = Signal()
        self._pages.add(signal)
        if self._producing is None:
            self._producing = gevent.spawn(self._produce)
        try:
            yield b"retry: 1000\n\n"
            version = number = 0
            names: set[str] = set()
            while True:
                signal.clear()
                frames = [*self._state_since(version, names), *self._events_since(number)]
                if version and self._row[0] > version:
                    frames.append(_frame("row", self._row[1]))
                names = set(self._parts)
                version = self._version
                number = self._events[-1][0] if self._events else 0
                if frames:
                    yield b"".join(frames)
                elif not signal.wait(BEAT_S):
                    yield _frame("beat", b"{}")
        finally:
            self._pages.discard(signal)

    def _state_since(self, version: int, names: set[str]) -> Iterator[bytes]:
        new = [(name, body) for name, (since, body) in self._parts.items() if since > version]
        new += [(name, b"null") for name in names - set(self._parts)]
        if new:
            yield _frame("state", b"{" + b",".join(_encode(name) + b":" + body for name, body in new) + b"}")

    def _events_since(self, number: int) -> Iterator[bytes]:
        new = [body for at, body in self._events if at > number]
        if new:
            yield _frame("happened", b"[" + b",".join(new) + b"]")

    # The producer.

    def _produce(self) -> None:
        try:
            while self._pages:
                began = time.monotonic()
                try:
                    self._refresh()
                except Exception:  # meant: a mistake here must not leave pages without any news
                    log.exception("the dashboard cannot be kept up to date")
                gevent.sleep(max(0.0, TICK_S - (time.monotonic() - began)))
        finally:
            self._producing = None
            self._plain, self._parts = {}, {}  # the next one who comes shall see nothing that is old

    def _refresh(self) -> None:
        plain = state.parts(self._site.snapshot(), time.time(), texts.mask)
        state.steady(self._plain, plain)
        version = self._version + 1
        changed = {name: value for name, value in plain.items() if self._plain.get(name) != value}
        gone = self._plain.keys() - plain.keys()
        if not (changed or gone or self._news):
            return
        for name in gone:
            del self._parts[name]
        for name, value in changed.items():
            self._parts[name] = version, _encode(value)
        self._plain, self._version, self._news = plain, version, False
        for page in self._pages:
            page.set()

    # Always.

    def _on_event(self, event: events.Event) -> None:
        self._history.on_event(event)
        shown = events.to_dict(event)
        shown = {key: shown.get(key) for key in ("number", "time", "kind", "level", "class")}
        self._events.append((event.number, _encode(shown | {"text": _clean(event.text)})))
        self._news = True

    def _remember(self) -> None:
        while True:
            gevent.sleep(history.STEP_S)
            try:
                row = self._history.add(self._read())
            except Exception:  # meant: a mistake here must not end it
                log.exception("the history misses a row")
                continue
            if row is not None and self._pages:
                self._row = self._version + 1, _encode(row)
                self._news = True

    def _read(self) -> history.Reading:
        reporter, fleet = self._site.reporter, self._site.fleet()
        counters = reporter.counters()
        waited = NONE
        for totals in reporter.count(fleet).values():
            waited = waited.plus(totals.waited)
        depths = reporter.depths()
        return history.Reading(
            time.time(),
            counters.get("ussd", 0) + counters.get("routed", 0),
            counters.get("sent", 0) + counters.get("sms-sent", 0),
            waited.counts,
            {name: depths.get(cls.spec.queue) for name, cls in fleet.classes.items()},
            {name: cls.count(State.RUNNING) for name, cls in fleet.classes.items()},
        )


def _clean(text: str) -> str:
    return state.masked(text, texts.mask)


def _frame(event: str, data: bytes) -> bytes:
    return b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"
