"""`richmond logs`: what it says and asks; the reading is in `log_reader`."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from richmond import since as since_
from richmond.errors import InstallationError, RichmondError, UsageError
from richmond.log_lines import Entry, to_json, to_text

if TYPE_CHECKING:
    from richmond.settings import Settings

LINES = 100
LOOK_S = 0.2  # between two looks at a file that is followed
_OTHERS = ("master", "spawner", "hook")


def _complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        settings = _find(Path(ctx.params.get("ini") or os.environ.get("RICHMOND_INI", "etc/richmond.ini")))
    except RichmondError:
        return []
    names = [*(worker.name for worker in settings.workers), *_OTHERS]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command(short_help="What was logged and printed.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--since", metavar="MOMENT", help="Such as 10m, 2h, 14:05, 2026-01-31 or '2026-01-31 14:05'.")
@click.option("-n", "--lines", type=click.IntRange(min=0), help=f"The last so many.  [default: {LINES}, or all since]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, whatever is in the files.")
@click.argument("process", metavar="[CLASS[:N]]", required=False, shell_complete=_complete)
def logs(ini: Path, follow: bool, since: str | None, lines: int | None, as_json: bool, process: str | None) -> None:
    """What was logged, and what workers printed, over rotated files too. Richmond need not run.

    CLASS is a worker class, CLASS:N one of its workers; master, spawner and hook go, too.

    \b
    richmond logs -f
    richmond logs EchoWorker --since 10m
    richmond logs EchoWorker:0 -n 20 --json | jq .text
    """
    from richmond.log_reader import Tail, families

    settings = _find(ini)
    start = None if since is None else since_.moment(since, time.time())
    count = LINES if lines is None and since is None else lines
    name = None if process is None else _checked(process, settings)
    if settings.richmond.log is None:
        raise UsageError(f"{ini} says log = stderr: look there (under systemd: journalctl -u richmond)")

    def wanted(entry: Entry) -> bool:
        return process is None or entry.process == process or (entry.slot or ("",))[0] == process

    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def say(entries: list[Entry]) -> None:
        for entry in sorted(entries, key=lambda entry: entry.at):
            click.echo(to_json(entry) if as_json else to_text(entry, colour), nl=False, color=colour)

    try:
        with contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
            tails = {path: stack.enter_context(Tail(path)) for path in families(settings.richmond, name)}
            if not follow and not any(tail.exists for tail in tails.values()):
                raise InstallationError(f"{settings.richmond.log} is not there: has richmond ever run?")
            found = [e for tail in tails.values() for e in tail.last(wanted, count, start, process or "")]
            found.sort(key=lambda entry: entry.at)
            say(found if count is None else found[len(found) - min(count, len(found)) :])
            while follow:
                sys.stdout.flush()
                time.sleep(LOOK_S)
                for path in families(settings.richmond, name):
                    if path not in tails:  # a class that has begun to have a file of its own
                        tails[path] = stack.enter_context(Tail(path, at_end=False))
                say([entry for tail in tails.values() for entry in tail.more() if wanted(entry)])
    except OSError as e:
        if isinstance(e, BrokenPipeError):
            raise
        raise InstallationError(f"{e.filename}: {e.strerror}") from e


def _find(ini: Path) -> Settings:
    from richmond import config

    return config.load_anyhow(ini, os.environ)


def _checked(process: str, settings: Settings) -> str | None:
    """The class that is asked for; None: it is no worker."""
    if process in _OTHERS:
        return None
    name, colon, number = process.rpartition(":")
    if not colon:
        name = process
    elif not number.isdecimal():
        raise UsageError(f"{process!r} is no worker: say e.g. {name or 'EchoWorker'}:0")
    names = [worker.name for worker in settings.workers]
    if name not in names:
        raise UsageError(f"no worker class {name}; there are: {', '.join(sorted(names))}; and {', '.join(_OTHERS)}")
    return name
