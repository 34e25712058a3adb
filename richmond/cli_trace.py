"""`richmond trace`: what it says. Where the messages of one subscriber were, and when."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from richmond.errors import UsageError
from richmond.supervisor import protocol

TIMEOUT_S = 10.0
_MSISDN = re.compile(r"\+?[0-9]{1,15}")
_HOPS = ("received", "published", "delivered", "replied", "sent")


@click.command(name="trace", short_help="Where a subscriber's messages were, and when.")
@click.option("--json", "as_json", is_flag=True, help="The same facts as one JSON array, times in Unix seconds.")
@click.argument("msisdn")
def command(ini: Path, as_json: bool, msisdn: str) -> None:
    """The last messages of the subscriber MSISDN, the oldest first, with the time at each hop: read from the gateway's
    socket, confirmed by RabbitMQ, delivered to a worker, replied by it, written to the socket. Needs trace = yes in
    [richmond]; texts are not kept.

    \b
    richmond trace 27831112222
    richmond trace 27831112222 --json | jq '.[-1]'
    """
    from richmond import config
    from richmond.supervisor.control import call

    if not _MSISDN.fullmatch(msisdn):
        raise UsageError(f"{msisdn!r} is not a subscriber's number: 1 to 15 digits, as in 27831112222")
    settings = config.load_anyhow(ini, os.environ)
    messages = call(settings.richmond.socket, protocol.Trace(msisdn), TIMEOUT_S)["messages"]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(messages), indent=2).decode())
    elif messages:
        for line in table(messages):
            click.echo(line)
    else:
        click.echo("no message of this subscriber has come or gone since richmond began to trace")


def table(messages: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The first hop as a time of the day, the others in milliseconds after it."""
    rows = [("time", "kind", *_HOPS, "outcome"), *map(_row, messages)]
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = ("time", "kind", "outcome")
    for row in rows:
        cells = zip(row, sizes, rows[0], strict=True)
        yield "  ".join(f"{c:<{size}}" if name in left else f"{c:>{size}}" for c, size, name in cells).rstrip()


def _row(message: dict[str, Any]) -> tuple[str, ...]:
    times = [message.get(hop) for hop in _HOPS]
    first = min((at for at in times if at is not None), default=0.0)
    hops = ["-" if at is None else f"+{1000 * (at - first):.1f} ms" for at in times]
    clock = datetime.fromtimestamp(first).isoformat(" ", "milliseconds")
    return clock, message["kind"], *hops, message.get("outcome", "")
