"""`richmond top`: what it asks; what it shows is in `top` and `top_frame`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


@click.command(short_help="What runs, live.")
def top(ini: Path) -> None:
    """What runs, live: classes and workers, with the last minutes of queues, rates and counts.

    Keys: q ends it, the arrows select a class, + and - scale it by one, r restarts its workers one by one, s sorts the
    workers. In a pipe, or on a terminal that can do no more, it prints one frame and ends.

    \b
    richmond top
    richmond top | head -20
    """
    from rich.console import Console

    from richmond import config, top, view

    socket = config.load_anyhow(ini, os.environ).richmond.socket
    console = Console(highlight=False)
    if console.is_terminal and not console.is_dumb_terminal and sys.stdin.isatty():
        top.Top(socket, console).run()
    else:
        top.show_once(socket, view.console())
