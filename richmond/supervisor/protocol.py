"""The control socket's wire format: one JSON object a line, a request and then its answer. No I/O.

By hand: `nc -U var/richmond.sock`, then `{"op": "status"}`.

    {"op": "status"}                                        -> {"ok": true, "status": {...}}
    {"op": "scale", "class": "EchoWorker", "count": 8}      -> {"ok": true, "text": "..."}
    {"op": "scale", "class": "EchoWorker", "count": null, "wait": true}
    {"op": "why", "class": "EchoWorker"}                    -> {"ok": true, "why": {...}}
    {"op": "restart", "class": "EchoWorker", "wait": true}     "class" left out: every class
    {"op": "events", "last": 10, "follow": true}            -> {"ok": true, "events": [...]}, again and again
    {"op": "trace", "msisdn": "27831112222"}                -> {"ok": true, "messages": [...]}
    {"op": "reload", "wait": true}    {"op": "reload", "dry_run": true}    {"op": "stop"}    {"op": "ping"}

What goes wrong is answered, too: `{"ok": false, "error": "...", "usage": true}`, and the connection stays open.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from richmond.errors import UsageError

CALL_TIMEOUT_S = 10.0  # until an answer that waits for nothing
WAIT_TIMEOUT_S = 600.0  # with "wait"
MAX_LINE_BYTES = 64 * 1024  # of a request; an answer may be longer


class Ping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="ping"):
    """Answered with the master's pid."""


class GetStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="status"):
    """The whole Snapshot, as `richmond status --json` prints it."""


class Scale(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="scale"):
    """`count` null hands the count back to the policy. `wait`: answer when that many run and consume."""

    worker: str = msgspec.field(name="class")
    count: int | None
    wait: bool = False


class Why(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="why"):
    """The figures behind the present target of a class, as `richmond scale --why CLASS --json` prints them."""

    worker: str = msgspec.field(name="class")


class Restart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="restart"):
    """Replace the workers of a class (null: of all) one by one."""

    worker: str | None = msgspec.field(name="class", default=None)
    wait: bool = False


class Reload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="reload"):
    """Read the ini again, as SIGHUP does; the answer says what changes, or what is wrong.

    `wait`: answer when all that it changes runs. `dry_run`: only say what it would do.
    """

    wait: bool = False
    dry_run: bool = False


class Trace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="trace"):
    """The last messages of a subscriber with the time at each hop, the oldest first. Needs `trace = yes`."""

    msisdn: str


class Events(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="events"):
    """The last events (`events`, the oldest first); with `follow`, an answer for each later one.

    `since`: Unix seconds. `last`: at most so many.
    """

    since: float | None = None
    last: int | None = None
    follow: bool = False


class Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="stop"):
    """As SIGTERM. `keep_node`: leave the private RabbitMQ node running."""

    keep_node: bool = False


Request = Ping | GetStatus | Scale | Why | Restart | Reload | Trace | Events | Stop

_OPS = tuple(str(kind.__struct_config__.tag) for kind in get_args(Request))
_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)


def decode(line: bytes) -> Request:
    """UsageError if it is no request."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:  # the last: a thousand brackets
        about_a_key = isinstance(e, msgspec.ValidationError) and "op`" not in str(e)
        hint = "" if about_a_key else f'; send e.g. {{"op": "status"}}; op is one of {", ".join(_OPS)}'
        raise UsageError(f"not a request: {e}{hint}") from e


def encode(message: Any) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def failure(error: str, usage: bool = False) -> dict[str, Any]:
    """`usage`: what was asked for cannot be; the command line exits with 2."""
    return {"ok": False, "error": error, "usage": usage}
