"""`richmond scale`: what it asks and says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from richmond.errors import UsageError
from richmond.supervisor import protocol
from richmond.supervisor.protocol import CALL_TIMEOUT_S, WAIT_TIMEOUT_S
from richmond.supervisor.why import Load, Why


def run(ini: Path, worker: str, count: str | None, *, wait: bool, why: bool, as_json: bool) -> None:
    from richmond import config
    from richmond.supervisor.control import call

    if why == (count is not None) or (why and wait) or (as_json and not why):
        raise UsageError(
            f"say a COUNT, or --why (and --json) without one; try: richmond scale {worker} 8, "
            f"or: richmond scale --why {worker}"
        )
    socket = config.load_anyhow(ini, os.environ).richmond.socket
    if why:
        answer = msgspec.convert(call(socket, protocol.Why(worker), CALL_TIMEOUT_S)["why"], Why)
        if as_json:
            click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
        else:
            for line in lines(answer):
                click.echo(line)
        return
    try:
        number = None if count == "auto" else int(count or "")
    except ValueError:
        raise UsageError(f"{count!r} is neither a number nor auto; try: richmond scale {worker} 8") from None
    click.echo(call(socket, protocol.Scale(worker, number, wait), WAIT_TIMEOUT_S if wait else CALL_TIMEOUT_S)["text"])


def lines(why: Why) -> Iterator[str]:
    """In plain words: the target, the figures behind it, and what limits it."""
    yield f"{why.name}: {why.target} worker{'' if why.target == 1 else 's'}, because: {why.reason}"
    starting = f", {why.starting} start" if why.starting else ""
    fatal = f", {why.fatal} are FATAL" if why.fatal else ""
    elsewhere = f"; the queue has {why.consumers} consumers in all" if why.consumers is not None else ""
    yield f"  workers   {why.running} run{starting}{fatal}{elsewhere}"
    if why.load is not None:
        yield from _load(why, why.load)
    else:
        yield "  load      no fresh figures"
    if why.wanted is not None:
        yield f"  wanted    {why.wanted}, within min = {why.min} and max = {why.max}"
    yield f"  all       {why.workers} of max-workers = {why.max_workers}; weight = {why.weight}"
    for limit in why.limits or ("nothing",):
        yield f"  limit     {limit}"
    if why.age_s is not None:
        yield f"  figures   {why.age_s:.1f} s old"


def _load(why: Why, load: Load) -> Iterator[str]:
    share = f"; {load.share:.0%} of the queue's load is this host's" if load.share < 0.995 else ""
    yield f"  waiting   {load.waiting} messages in the queue, {load.in_hand} in hand{share}"
    yield f"  arrivals  {load.arrivals_per_s:.1f} messages/s, {_duration(load.message_s)} in the handler for each"
    yield f"  busy      {load.utilisation:.0%} of the workers' time (target-utilisation = {why.target_utilisation:g})"
    yield f"  needed    {load.needed:.1f} workers, with drain-target = {why.drain_target_s:g} s for what waits"
    yield f"  lately    {load.lately} at most were needed within {load.window_s:g} s: before that nobody leaves"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
