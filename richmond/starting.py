"""`richmond start`: the master with a terminal around it, or, with --daemon, until it is up."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import click

import richmond
from richmond.daemon import Background, detach
from richmond.errors import NotRunning, RichmondError, UsageError
from richmond.linux import let_others_finish
from richmond.settings import Settings
from richmond.supervisor import protocol
from richmond.supervisor.control import call
from richmond.supervisor.status import Snapshot, from_dict

STATUS_TIMEOUT_S = 5.0


def run(ini: Path, settings: Settings, default_ini: str, daemon: bool) -> int:
    """Until a signal or `richmond stop`. Before gevent is loaded; the exit code."""
    background = _into_background(ini, settings) if daemon else None
    let_others_finish()
    from gevent import monkey

    monkey.patch_all()
    from richmond.banner import banner
    from richmond.sd_notify import Notifier
    from richmond.supervisor.installation import prepare
    from richmond.supervisor.master import Master

    logs = prepare(settings)

    def say(text: str) -> None:
        with suppress(OSError):  # the terminal may have gone; that is no reason to end
            click.echo(text)

    def on_up(snapshot: Snapshot) -> None:
        text = banner(snapshot, settings, default_ini)
        if background is None or settings.richmond.log is None:
            say(text)
            return
        for problem in snapshot.problems:
            click.echo(f"richmond: {problem}", err=True)
        say(f"richmond is up, with pid {os.getpid()}; it ends with: richmond stop\n{text.partition(chr(10))[2]}")
        background.leave_terminal(logs, settings.richmond.log)

    def on_stop(why: str) -> None:
        say(f"{why}: richmond stops, once what is in hand is done. Another Ctrl-C or SIGTERM ends it at once.")

    say(f"richmond {richmond.__version__} starts, as {ini} says ...")
    code = Master(settings, logs, on_up, on_stop, Notifier(os.environ)).run()
    say("richmond has stopped.")
    return code


def _into_background(ini: Path, settings: Settings) -> Background:
    if settings.richmond.log is None:
        raise UsageError(f"{ini} says log = stderr, which --daemon leaves behind: name a file in log")

    def trouble() -> str:
        """What keeps it from being up, as far as it can say."""
        try:
            snapshot = from_dict(call(settings.richmond.socket, protocol.GetStatus(), STATUS_TIMEOUT_S)["status"])
        except NotRunning:
            return "richmond: starting"
        except RichmondError as e:
            return f"richmond: {e}"
        return "\n".join(f"richmond: {problem}" for problem in snapshot.problems)

    return detach(trouble)
