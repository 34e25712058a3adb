"""`richmond check`: what it says."""

from __future__ import annotations

import os
from pathlib import Path

import click

from richmond.errors import ConfigError, Unreachable


@click.command(short_help="Validate the ini, print what it comes to.")
@click.option("--connect", is_flag=True, help="Also try to reach the gateways and RabbitMQ.")
def check(ini: Path, connect: bool) -> None:
    """Validate the ini, import each worker class in a process of its own, and print the effective settings, with
    passwords masked.

    Exit code: 2 if something of this is wrong, 1 if with --connect a server does not answer. No gateway is logged in
    to, since that would push out the client that is logged in.

    \b
    richmond check -c etc/richmond.ini
    richmond check --connect
    """
    from richmond import config, preflight

    settings = config.load(ini, os.environ)
    click.echo(config.describe(settings))
    problems = preflight.import_problems(settings)
    silent = []
    for found in preflight.reach(settings) if connect else ():
        if found.ok:
            click.echo(f"# {found.text}")
        else:
            silent.append(found.text)
    if problems:
        raise ConfigError(problems + silent)
    if silent:
        raise Unreachable("\n".join(silent))
