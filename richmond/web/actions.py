"""What can be changed from a page: scale, restart, reload. A POST of JSON each, answered as on the control socket."""

from __future__ import annotations

from typing import Any

import bottle
import msgspec

from richmond.errors import ControlError, UsageError
from richmond.supervisor import protocol
from richmond.web.site import Answer, Site


class _Count(msgspec.Struct, forbid_unknown_fields=True):
    count: int | None  # null: the queue decides again


class _Reload(msgspec.Struct, forbid_unknown_fields=True):
    dry_run: bool = False


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


def routes(app: bottle.Bottle, site: Site) -> None:
    def ask(request: protocol.Request) -> Answer:
        answer: Answer = site.ask(request)
        if not answer["ok"]:
            raise (UsageError if answer.get("usage") else ControlError)(answer["error"])
        return answer

    def scale(name: str) -> Answer:
        return ask(protocol.Scale(name, body(_Count).count))

    def restart(name: str | None = None) -> Answer:
        body(_Nothing)
        return ask(protocol.Restart(name))

    def reload() -> Answer:
        return ask(protocol.Reload(dry_run=body(_Reload).dry_run))

    app.route("/classes/<name>/scale", "POST", scale)
    app.route("/classes/<name>/restart", "POST", restart)
    app.route("/restart", "POST", restart)
    app.route("/reload", "POST", reload)


def body(kind: type[Any]) -> Any:
    """The request's JSON as a struct. UsageError if it is none."""
    try:
        return msgspec.json.decode(bottle.request.body.read() or b"{}", type=kind)
    except msgspec.DecodeError as e:
        raise UsageError(f"not a request: {e}") from e
