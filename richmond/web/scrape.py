"""/metrics, without prometheus_client until somebody asks for it: that takes 2 MB of the master's memory."""

from __future__ import annotations

from typing import Any

import bottle

from richmond.web.happened import Happened
from richmond.web.recent import Recent
from richmond.web.site import Site


def routes(app: bottle.Bottle, site: Site) -> None:
    happened = Happened()
    site.feed.listeners.append(happened.on_event)
    registry: Any = None

    def answer() -> bytes:
        nonlocal registry
        from richmond.web import metrics

        if registry is None:
            registry = metrics.registry(Recent(site.snapshot), happened)
        data, bottle.response.content_type = metrics.encoded(registry, bottle.request.headers.get("Accept", ""))
        return data

    app.get("/metrics", callback=answer)
