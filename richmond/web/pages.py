"""The files in static/, and `/`, the dashboard."""

from __future__ import annotations

from pathlib import Path

import bottle

from richmond.web.site import Site

STATIC = Path(__file__).with_name("static")


def page(name: str) -> bottle.HTTPResponse:
    """A file of static/. A browser asks each time whether it has changed."""
    found = bottle.static_file(name, root=str(STATIC))
    found.set_header("Cache-Control", "no-cache")
    return found


def routes(app: bottle.Bottle, site: Site) -> None:
    app.route("/", "GET", lambda: page("dashboard.html"))
    app.route("/static/<name:path>", "GET", page)
