"""The command line: one small function a verb. What it says comes from the modules; what it exits with, from errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem, get_completion_class

import richmond
from richmond import cli_check, cli_dead, cli_events, cli_gateway, cli_logs, cli_simulate, cli_top, cli_trace, cli_web
from richmond.errors import ConfigError, ControlError, NotRunning, RichmondError, UsageError
from richmond.settings import Settings
from richmond.supervisor import pidfile, protocol
from richmond.supervisor.protocol import CALL_TIMEOUT_S, WAIT_TIMEOUT_S
from richmond.supervisor.status import from_dict, healthy

STATUS_TIMEOUT_S = 5.0
UNHEALTHY = 150  # LSB leaves 150 to 199 to the application
DEAD_WITH_PID_FILE = 1
_TAKES_OVER = "richmond start takes over what is left, richmond stop ends it"

_F = TypeVar("_F", bound=Callable[..., Any])


class _Verbs(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RichmondError as e:
            for line in str(e).splitlines():
                click.echo(f"richmond: {line}", err=True)
            ctx.exit(e.exit_code)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of a day's work, not of the alphabet


def _default_ini() -> str:
    """$RICHMOND_INI, or the first that exists of etc/richmond.ini here and /etc/richmond.ini."""
    places = ("etc/richmond.ini", "/etc/richmond/richmond.ini", "/etc/richmond.ini")
    return os.environ.get("RICHMOND_INI") or next((p for p in places if Path(p).exists()), places[0])


def _ini_option(f: _F) -> _F:
    return click.option(
        "-c",
        "--config",
        "ini",
        type=click.Path(path_type=Path),
        default=_default_ini,
        show_default="$RICHMOND_INI, else etc/richmond.ini, else /etc/richmond/richmond.ini",
        help="The ini of the installation.",
    )(f)


def _load(ini: Path) -> Settings:
    from richmond import config

    return config.load(ini, os.environ)


def _find(ini: Path) -> Settings:
    """For verbs that talk to a running master: it has its own settings, and judges the ini itself."""
    from richmond import config

    return config.load_anyhow(ini, os.environ)


def _call(settings: Settings, request: protocol.Request, timeout_s: float = CALL_TIMEOUT_S) -> dict[str, Any]:
    from richmond.supervisor.control import call

    return call(settings.richmond.socket, request, timeout_s)


def _complete_class(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        settings = _find(Path(ctx.params.get("ini") or _default_ini()))
    except RichmondError:
        return []
    return [CompletionItem(w.name) for w in settings.workers if w.name.startswith(incomplete)]


_HELP = {"help_option_names": ["-h", "--help"]}


@click.group(cls=_Verbs, context_settings=_HELP)
@click.version_option(richmond.__version__, prog_name="richmond")
def cli() -> None:
    """Connects USSD and SMS gateways to worker processes over RabbitMQ.

    \b
    richmond start                       everything, in the foreground
    richmond dial '*120*663#'            a telephone in the terminal
    richmond status                      what runs, and what is wrong
    richmond scale EchoWorker 8          eight workers, until `scale EchoWorker auto`
    """


@cli.command(short_help="Run everything.")
@_ini_option
@click.option("--daemon", is_flag=True, help="Return when all is up, and go on in the background.")
def start(ini: Path, daemon: bool) -> None:
    """Run the installation in the foreground, until Ctrl-C, SIGTERM or `richmond stop`.

    With --daemon it returns once everything is up (exit code 0), or says why it is not (1); under systemd use
    deploy/richmond.service instead.

    \b
    richmond start -c etc/richmond.ini
    richmond start --daemon
    kill -HUP `cat var/richmond.pid`         reload, as `richmond reload`
    """
    from richmond import starting

    sys.exit(starting.run(ini, _load(ini), _default_ini(), daemon))


@cli.command(short_help="End everything, in order.")
@_ini_option
@click.option("--keep-node", is_flag=True, help="Leave the private RabbitMQ node running.")
def stop(ini: Path, keep_node: bool) -> None:
    """Let workers finish what they hold, send the replies on their way, and end everything.

    Ends a private RabbitMQ node too, also one that a killed master left behind.

    \b
    richmond stop
    richmond stop --keep-node
    """
    from richmond.rabbitmq import PrivateNode

    settings = _find(ini)
    timeout_s = settings.richmond.stop_timeout_s
    try:
        answer = _call(settings, protocol.Stop(keep_node), 2 * timeout_s + CALL_TIMEOUT_S)
    except NotRunning:
        node = PrivateNode(settings.richmond.directory / "rabbitmq", settings.rabbitmq.port)
        if keep_node or not settings.rabbitmq.private or node.running() is None:
            click.echo("richmond was not running")
            return
        node.stop(timeout_s)
        click.echo("richmond was not running; its private RabbitMQ node has been stopped")
        return
    click.echo(answer["text"])


@cli.command(short_help="What runs, and what is wrong.")
@_ini_option
@click.option("--json", "as_json", is_flag=True, help="The same facts as one JSON object.")
def status(ini: Path, as_json: bool) -> None:
    """What runs, and what is wrong.

    Exit code: 0 running and healthy, 1 dead but its pid file is there, 3 not running, 150 running but something is
    wrong.

    \b
    richmond status
    richmond status --json | jq .problems
    """
    import msgspec

    def without(phase: str, text: str, remedy: str, code: int) -> NoReturn:
        short = {"phase": phase, "problems": [text], "warnings": []}
        click.echo(msgspec.json.encode(short).decode() if as_json else f"{text}; {remedy}")
        sys.exit(code)

    settings = _find(ini)
    pid_file = settings.richmond.pid_file
    try:
        answer = _call(settings, protocol.GetStatus(), STATUS_TIMEOUT_S)
    except NotRunning as e:
        if pidfile.left_behind(pid_file):
            without("dead", f"richmond is dead, and left {pid_file} behind", _TAKES_OVER, DEAD_WITH_PID_FILE)
        without("stopped", "richmond is not running", "start it with: richmond start", e.exit_code)
    except ControlError as e:
        without("silent", str(e), f"its pid is in {pid_file}", UNHEALTHY)
    snapshot = from_dict(answer["status"])
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(snapshot), indent=2).decode())
    else:
        from richmond import view

        view.show(snapshot, view.console())
    sys.exit(0 if healthy(snapshot) else UNHEALTHY)


# A count may be negative by mistake: that is for us to explain, not an unknown option.
@cli.command(
    short_help="Pin the number of workers, or hand it back.", context_settings={"ignore_unknown_options": True}
)
@_ini_option
@click.option("--wait", is_flag=True, help="Return when so many run and consume.")
@click.option("--why", is_flag=True, help="Say why it has as many as it has, instead of a COUNT.")
@click.option("--json", "as_json", is_flag=True, help="With --why: the figures as one JSON object.")
@click.argument("worker", metavar="CLASS", shell_complete=_complete_class)
@click.argument("count", required=False)
def scale(ini: Path, wait: bool, why: bool, as_json: bool, worker: str, count: str | None) -> None:
    """Pin the number of workers of CLASS to COUNT, or hand it back to the queue with `auto`.

    A pin may go beyond the class's bounds, up to max-workers. It survives a reload, not a restart of Richmond.

    \b
    richmond scale EchoWorker 8
    richmond scale --wait EchoWorker 0
    richmond scale EchoWorker auto
    richmond scale --why EchoWorker
    """
    from richmond import cli_scale

    cli_scale.run(ini, worker, count, wait=wait, why=why, as_json=as_json)


@cli.command(short_help="Take over the changed ini and code.")
@_ini_option
@click.option("--dry-run", is_flag=True, help="Say what it would do, and change nothing.")
@click.option("--wait", is_flag=True, help="Return when all that it changes runs, or was rolled back.")
def reload(ini: Path, dry_run: bool, wait: bool) -> None:
    """Take over the changed ini and changed worker code, as SIGHUP does; says what changed.

    An ini with a mistake in it changes nothing: what is wrong is said, with its line. Workers are replaced one by one.
    Where new ones do not come up, the old ones serve on, and richmond status says why. --dry-run also imports each
    class, in a process of its own.

    \b
    richmond reload
    richmond reload --dry-run
    richmond reload --wait
    """
    timeout_s = WAIT_TIMEOUT_S if wait else CALL_TIMEOUT_S
    click.echo(_call(_find(ini), protocol.Reload(wait, dry_run), timeout_s)["text"])
    if dry_run:
        from richmond import preflight

        if problems := preflight.import_problems(_load(ini)):
            raise ConfigError(problems)


@cli.command(short_help="Replace workers one by one.")
@_ini_option
@click.option("--wait", is_flag=True, help="Return when the new workers have replaced the old ones.")
@click.argument("worker", metavar="[CLASS]", required=False, shell_complete=_complete_class)
def restart(ini: Path, wait: bool, worker: str | None) -> None:
    """Replace the workers of CLASS (or of all classes) one by one, with nothing lost.

    \b
    richmond restart EchoWorker
    richmond restart --wait
    """
    timeout_s = WAIT_TIMEOUT_S if wait else CALL_TIMEOUT_S
    click.echo(_call(_find(ini), protocol.Restart(worker, wait), timeout_s)["text"])


@cli.command(short_help="A telephone in the terminal.")
@_ini_option
@click.argument("code")
@click.argument("answers", nargs=-1)
@click.option("--msisdn", help="The telephone's number.  [default: a free one]")
@click.option("--account", default="", metavar="USER", help="Of the account with this user name.  [default: the first]")
@click.option("--wait", is_flag=True, help="After the last answer let the session time out instead of hanging up.")
@click.option("--timeout", "timeout_s", default=20.0, show_default=True, help="Seconds to wait for each reply.")
def dial(
    ini: Path, code: str, answers: Sequence[str], msisdn: str | None, account: str, wait: bool, timeout_s: float
) -> None:
    """A telephone in the terminal, at the built-in gateway simulator. Ctrl-D hangs up.

    With ANSWERS, or with answers from a pipe, it prints the conversation. Exit code then: 0 if all of them were
    taken, 1 if no reply came or the session ended early.

    \b
    richmond dial '*120*663#'
    richmond dial '*120*666#' foo bar
    printf 'hello\\n0\\n' | richmond dial '*120*663#'
    """
    from richmond.simulator import phone

    settings = _find(ini)
    if not settings.simulator.enabled:
        raise UsageError(f"{ini} has no simulator ([simulator] enabled): dial with a real telephone")
    interactive = not answers and sys.stdin.isatty()
    sys.exit(
        phone.run(
            settings.simulator.socket,
            code,
            msisdn=msisdn,
            account=account,
            answers=answers or None,
            stdin=sys.stdin,
            stdout=sys.stdout,
            interactive=interactive,
            timeout_s=timeout_s,
            wait=wait,
        )
    )


cli.add_command(_ini_option(cli_check.check))
cli.add_command(_ini_option(cli_top.top))
cli.add_command(_ini_option(cli_web.command))
cli.add_command(_ini_option(cli_logs.logs))
cli.add_command(_ini_option(cli_events.events))
cli.add_command(_ini_option(cli_gateway.group))
cli.add_command(_ini_option(cli_dead.group))
cli.add_command(_ini_option(cli_trace.command))
cli.add_command(cli_simulate.command, "simulate")


@cli.command(short_help="Only the broker, in the foreground.")
@_ini_option
def broker(ini: Path) -> None:
    """Only the broker, in the foreground: gateway to RabbitMQ and back, no workers.

    \b
    richmond broker -c etc/richmond.ini
    """
    from gevent import monkey

    monkey.patch_all()
    from richmond import standalone

    sys.exit(standalone.run_broker(_load(ini)))


@cli.command(short_help="One worker in the foreground.")
@_ini_option
@click.option("-w", "--worker", "worker", required=True, metavar="CLASS", help="Dotted path, or a name of the ini.")
def worker(ini: Path, worker: str) -> None:
    """One worker in the foreground, the same code without the supervisor: for a debugger, or one process a container.

    \b
    richmond worker -w richmond.workers.ussd.EchoWorker -c etc/richmond.ini
    """
    from richmond import standalone

    sys.exit(standalone.run_worker(_load(ini), worker))


@cli.command(short_help="Only the gateway simulator.")
@_ini_option
def simulator(ini: Path) -> None:
    """Only the gateway simulator, in the foreground: for clients of your own.

    \b
    richmond simulator -c etc/richmond.ini
    """
    from gevent import monkey

    monkey.patch_all()
    from richmond import standalone

    sys.exit(standalone.run_simulator(_load(ini)))


@cli.command(short_help="Print the version.")
def version() -> None:
    """Print the version.

    \b
    richmond version
    """
    click.echo(f"richmond {richmond.__version__}")


@cli.command(short_help="Print the shell's completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    richmond completion bash >> ~/.bashrc
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "richmond", "_RICHMOND_COMPLETE").source())


def main() -> None:
    """The console script."""
    try:
        cli.main(prog_name="richmond")
    except BrokenPipeError:  # `richmond status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ControlError.exit_code)


if __name__ == "__main__":
    main()
