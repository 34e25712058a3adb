"""`richmond events`: what it says and asks; what an event is stands in `supervisor.events`."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import click

from richmond import since as since_
from richmond.errors import NotRunning
from richmond.supervisor import events as events_
from richmond.supervisor import protocol

LINES = 100
TIMEOUT_S = 10.0


@click.command(short_help="What has changed: workers, links, classes.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--since", metavar="MOMENT", help="Such as 10m, 2h, 14:05, 2026-01-31 or '2026-01-31 14:05'.")
@click.option("-n", "--lines", type=click.IntRange(min=0), help=f"The last so many.  [default: {LINES}, or all since]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def events(ini: Path, follow: bool, since: str | None, lines: int | None, as_json: bool) -> None:
    """One line for each change of state: workers, links, classes, scaling, reloads, crashes, dead letters.

    The master remembers the last 1,000. Whoever reads too slowly is cut off; `number` in --json shows gaps.

    \b
    richmond events -f
    richmond events --since 10m
    richmond events -f --json | jq 'select(.level == "error")'
    """
    from richmond import config
    from richmond.supervisor.control import stream

    socket = config.load_anyhow(ini, os.environ).richmond.socket
    start = None if since is None else since_.moment(since, time.time())
    request = protocol.Events(start, LINES if lines is None and since is None else lines, follow)
    with contextlib.suppress(KeyboardInterrupt):
        for answer in stream(socket, request, TIMEOUT_S):
            for data in answer["events"]:
                event = events_.from_dict(data)
                click.echo(events_.to_json(event).decode() if as_json else events_.to_text(event))
            if not follow:
                return
        raise NotRunning("no more events: richmond has stopped, or this reader was too slow")
