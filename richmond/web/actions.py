"""What can be changed from a page: scale, restart, reload. A POST of JSON each, answered as on the control socket.

A dry run of a reload is `richmond reload --dry-run`, in a process of its own: it imports the worker classes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import bottle
import gevent
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
        if body(_Reload).dry_run:
            code, text = gevent.spawn(_rehearse, site.settings.path).get()  # to its end, also if who asks has gone
            if code:
                raise UsageError(text or f"richmond reload --dry-run has ended with exit code {code}")
            return {"ok": True, "text": text}
        return ask(protocol.Reload())

    app.route("/classes/<name>/scale", "POST", scale)
    app.route("/classes/<name>/restart", "POST", restart)
    app.route("/restart", "POST", restart)
    app.route("/reload", "POST", reload)


def _rehearse(ini: Path) -> tuple[int, str]:
    """Exit code, and what was said."""
    found = subprocess.run(
        [sys.executable, "-P", "-m", "richmond", "reload", "--dry-run", "-c", str(ini.absolute())],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", start_new_session=True, check=False,
    )  # fmt: skip
    return found.returncode, "\n".join(filter(None, [found.stdout.strip(), found.stderr.strip()]))


def body(kind: type[Any]) -> Any:
    """The request's JSON as a struct. UsageError if it is none."""
    try:
        return msgspec.json.decode(bottle.request.body.read() or b"{}", type=kind)
    except msgspec.DecodeError as e:
        raise UsageError(f"not a request: {e}") from e
