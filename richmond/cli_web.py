"""`richmond web`: where the dashboard is, with the token that changes need."""

from __future__ import annotations

import os
from pathlib import Path

import click

from richmond.errors import ControlError, UsageError
from richmond.supervisor import protocol
from richmond.supervisor.status import from_dict

TIMEOUT_S = 5.0


@click.command(name="web", short_help="The dashboard's address, with its token.")
@click.option("--open", "opens", is_flag=True, help="Open it in a browser, too.")
@click.option("--token", "only_token", is_flag=True, help="Print the token only, for curl.")
def command(ini: Path, opens: bool, only_token: bool) -> None:
    """The dashboard's address, with the token that changes need. Whoever has the link may scale, restart and reload.

    It stands behind a #, so that no browser sends it with the address. The page keeps it until its tab is closed.

    \b
    richmond web
    richmond web --open
    curl -H "Authorization: Bearer $(richmond web --token)" -X POST http://127.0.0.1:8663/classes/EchoWorker/restart
    """
    from richmond import config
    from richmond.supervisor.control import call
    from richmond.web import token

    settings = config.load_anyhow(ini, os.environ)
    if not settings.web.enabled:
        raise UsageError(f"{ini} says [web] enabled = no: there is no dashboard")
    snapshot = from_dict(call(settings.richmond.socket, protocol.GetStatus(), TIMEOUT_S)["status"])
    if not snapshot.web:
        raise ControlError(snapshot.web_problem or "there is no dashboard yet; ask again in a moment")
    found = token.read(settings.web.token_file)
    link = f"{snapshot.web}#token={found}"
    click.echo(found if only_token else link)
    if opens:
        # Not the link itself: everybody on this host can read the arguments of a program.
        page = settings.web.token_file.with_suffix(".html")
        page.unlink(missing_ok=True)
        page.touch(0o600)
        page.write_text(f'<meta http-equiv="refresh" content="0; url={link}">\n')
        click.launch(str(page))
