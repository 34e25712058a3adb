"""`richmond gateway`: what the built-in gateway simulator does, on request. One small function a verb."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click

from richmond.errors import UsageError
from richmond.simulator import show, wire
from richmond.simulator.line import Line

MOST_RATE = 10_000.0  # messages a second
MOST_SECONDS = 86_400.0
_STATES = get_args(wire.FaultName)
_ONCE = ("drop", "reset", "garbage", "long", "calm")


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in this order


def _remember(ctx: click.Context, _param: click.Parameter, ini: Path | None) -> None:
    if ini is not None:
        ctx.obj = ini


_ini = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    show_default="that of richmond gateway",
    help="The ini of the installation.",
    expose_value=False,
    callback=_remember,
)
_account = click.option("--account", default="", metavar="USER", help="Only the account with this user name.")


@contextmanager
def _simulator(ctx: click.Context) -> Iterator[Line]:
    from richmond import config

    settings = config.load_anyhow(ctx.obj, os.environ)
    if not settings.simulator.enabled:
        raise UsageError(f"{ctx.obj} has no simulator ([simulator] enabled): this is for the built-in gateway only")
    with Line(settings.simulator.socket) as line:
        yield line


def _ask(ctx: click.Context, request: wire.Request) -> wire.Event:
    with _simulator(ctx) as line:
        return line.ask(request)


def _follow(line: Line, say: Callable[[wire.Event], None]) -> None:
    """Each event as it comes, until Ctrl-C."""
    try:
        while True:
            event = line.next(None)
            if event is not None:
                say(event)
    except KeyboardInterrupt:
        pass


@click.group(cls=_Verbs, name="gateway", short_help="The simulator: SMS, faults, load.")
@click.pass_context
def group(ctx: click.Context, ini: Path) -> None:
    """What the built-in gateway simulator does, on request.

    \b
    richmond gateway sms 27831112222 'Hello'          an SMS from a subscriber
    richmond gateway inbox 27831112222 -f             what that telephone gets
    richmond gateway report 2 --msisdn 27831112222    its SIM is full from now on
    richmond gateway fault mute                       link checks stay unanswered
    richmond gateway fault calm                       and all is well again
    richmond gateway log -f                           the raw SSMI lines
    """
    ctx.obj = ini


@group.command(short_help="Send an SMS from a subscriber.")
@_ini
@click.argument("msisdn")
@click.argument("text", default="")
@click.option("--to", default="", metavar="SHORTCODE", help="A premium SMS, to this short code.")
@click.option("--binary", "hex", default="", metavar="HEX", help="A binary SMS, instead of TEXT.")
@click.option("--pid", default="0", show_default=True, help="Of a binary SMS.")
@click.option("--coding", default="0", show_default=True, help="Of a binary SMS.")
@_account
@click.pass_context
def sms(ctx: click.Context, msisdn: str, text: str, to: str, hex: str, pid: str, coding: str, account: str) -> None:
    """Send an SMS from the telephone MSISDN.

    \b
    richmond gateway sms 27831112222 'Hello, you'
    richmond gateway sms 27831112222 'WIN a car' --to 31022
    richmond gateway sms 27831112222 --binary 68656c6c6f --pid 15 --coding 246
    """
    if bool(text) == bool(hex):
        raise UsageError("an SMS has either a TEXT or --binary HEX")
    _ask(ctx, wire.SendSms(msisdn=msisdn, text=text, to=to, hex=hex, pid=pid, coding=coding, account=account))
    click.echo(f"sent from {msisdn}" + (f" to {to}" if to else ""))


@group.command(short_help="What a telephone got.")
@_ini
@click.argument("msisdn")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.pass_context
def inbox(ctx: click.Context, msisdn: str, follow: bool) -> None:
    """The SMS, binary SMS, WAP pushes and MMS that the telephone MSISDN got, oldest first.

    \b
    richmond gateway inbox 27831112222
    richmond gateway inbox 27831112222 -f
    """

    def say(event: wire.Event) -> None:
        for message in event.messages if isinstance(event, wire.Inbox) else [event]:
            if isinstance(message, wire.Message):
                click.echo(show.message(message))

    with _simulator(ctx) as line:
        say(line.ask(wire.ReadInbox(msisdn=msisdn, follow=follow)))
        if follow:
            _follow(line, say)


@group.command(short_help="Which delivery reports SMS get.")
@_ini
@click.argument("code", default="0")
@click.option("--msisdn", default="", help="Only for this number.  [default: all without a rule of their own]")
@click.option("--delay", "delay_s", default=0.0, metavar="S", help="Seconds from the SMS to its report.")
@click.option("--no-seq", is_flag=True, help="No sequence (100).")
@click.option("--none", "no_report", is_flag=True, help="No delivery report (104).")
@click.option("--reset", is_flag=True, help="Forget the rules: sequence, and delivered, at once.")
@click.pass_context
def report(
    ctx: click.Context, code: str, msisdn: str, delay_s: float, no_seq: bool, no_report: bool, reset: bool
) -> None:
    """Which delivery report every SMS gets from now on, and whether it gets a sequence.

    CODE: 0 delivered (the default), 1 expired, 2 SIM full, 3 barred, 4 invalid address, 5 blacklisted, or any other.
    Only an SMS with code 0 reaches its telephone.

    \b
    richmond gateway report 2
    richmond gateway report 5 --msisdn 27831112222
    richmond gateway report 0 --delay 2.5
    richmond gateway report --no-seq --none
    richmond gateway report --reset
    """
    if not 0 <= delay_s <= wire.MAX_DELAY_S:
        raise UsageError(f"--delay {delay_s:g}: from 0 to {wire.MAX_DELAY_S:g} seconds")
    rule = wire.SetReport(msisdn=msisdn, code=code, delay_s=delay_s, seq=not no_seq, report=not no_report, reset=reset)
    _ask(ctx, rule)
    now = _ask(ctx, wire.ReadStatus())
    assert isinstance(now, wire.Status)
    click.echo(
        "\n".join(f"delivery reports of {text}" for text in now.reports) or "delivery reports: delivered, at once"
    )


@group.command(short_help="Make the gateway misbehave, or calm.")
@_ini
@click.argument("name", metavar="NAME", type=click.Choice([*_STATES, *_ONCE]))
@click.argument("value", required=False, type=float)
@click.option("--off", is_flag=True, help="End this one.")
@_account
@click.pass_context
def fault(ctx: click.Context, name: str, value: float | None, off: bool, account: str) -> None:
    """Make the gateway misbehave: until `--off`, or until `calm`, which ends all faults and NACKs.

    \b
    mute       link checks stay unanswered
    no-login   logins stay unanswered
    no-imsi    IMSI look-ups stay unanswered
    crlf       lines end with CR and LF
    bytes      lines go out in single bytes
    chunks     lines go out in pieces of random length
    delay S    lines go out S seconds late

    \b
    Once, at once:
    drop       closes the connections
    reset      the same, with a TCP reset
    garbage    sends lines that make no sense, one of each kind
    long [N]   sends a line of N bytes (100000)

    \b
    richmond gateway fault mute
    richmond gateway fault mute --off
    richmond gateway fault delay 2.5 --account bank
    richmond gateway fault drop
    richmond gateway fault calm
    """
    request: wire.Request
    if value is not None and name not in ("delay", "long"):
        raise UsageError(f"{name} takes no number; delay and long do")
    if off and name in _ONCE:
        raise UsageError(f"{name} is over at once: there is nothing to end")
    match name:
        case "calm":
            request = wire.Calm(account=account)
        case "drop" | "reset":
            request = wire.Drop(reset=name == "reset", account=account)
        case "garbage":
            request = wire.Garbage(account=account)
        case "long":
            length = 100_000.0 if value is None else value
            if not wire.MIN_LONG <= length <= wire.MAX_LONG:
                raise UsageError(f"long {length:g}: from {wire.MIN_LONG} to {wire.MAX_LONG} bytes")
            request = wire.Long(bytes=int(length), account=account)
        case "delay" if not off and (value is None or not 0 < value <= wire.MAX_DELAY_S):
            raise UsageError(f"say how long, up to {wire.MAX_DELAY_S:g} seconds: richmond gateway fault delay 2.5")
        case state:
            request = wire.SetFault(name=state, on=not off, seconds=value or 0.0, account=account)  # type: ignore[arg-type]
    _ask(ctx, request)
    click.echo(f"{name}{' ends' if off else ''}{f', for {account}' if account else ''}")


@group.command(short_help="Refuse the next login or line.")
@_ini
@click.argument("code", metavar="N", type=click.Choice(get_args(wire.NackCode)))
@click.option("--times", default=1, show_default=True, type=click.IntRange(1, 1_000_000), help="How many of them.")
@_account
@click.pass_context
def nack(ctx: click.Context, code: Any, times: int, account: str) -> None:
    """Refuse the next login (1 bad user name or password, 4 account suspended), or the next line that is no link check
    (2 unknown message type, 3 could not parse). `richmond gateway fault calm` takes it back.

    \b
    richmond gateway nack 4
    richmond gateway nack 3 --times 5
    """
    _ask(ctx, wire.SetNack(code=code, times=times, account=account))
    click.echo(f"the next {times} {'login' if code in '14' else 'line'}{'s' * (times > 1)} will be refused with {code}")


@group.command(short_help="Push the client out (199).")
@_ini
@click.option("--ip", default=wire.PushOut().ip, show_default=True, help="Of the other client.")
@_account
@click.pass_context
def logout(ctx: click.Context, ip: str, account: str) -> None:
    """Push the client out, as if another one had logged in with its account: 199, and the connection is closed.

    \b
    richmond gateway logout
    richmond gateway logout --account bank
    """
    _ask(ctx, wire.PushOut(ip=ip, account=account))
    click.echo("logged out")


@group.command(short_help="USSD with IMSI and more (111), or without.")
@_ini
@click.argument("state", metavar="on|off", type=click.Choice(["on", "off"]))
@click.pass_context
def extended(ctx: click.Context, state: str) -> None:
    """From now on USSD comes as 111, with IMSI and more (on), or as 110 (off).

    \b
    richmond gateway extended on
    """
    _ask(ctx, wire.Extended(on=state == "on"))
    click.echo(f"USSD comes as {111 if state == 'on' else 110}")


@group.command(short_help="Say any line as the gateway.")
@_ini
@click.argument("line", default="")
@click.option("--hex", default="", help="These bytes instead, without a carriage return that is not among them.")
@_account
@click.pass_context
def inject(ctx: click.Context, line: str, hex: str, account: str) -> None:
    """Say LINE to the client, as if the gateway had: free form, ids that nobody knows, anything.

    \b
    richmond gateway inject 'SSMI,105,free, text'
    richmond gateway inject 'SSMI,113,27831112222,17,foo'
    richmond gateway inject --hex 53534d492c3130350d
    """
    if bool(line) == bool(hex):
        raise UsageError("give either a LINE or --hex HEX")
    _ask(ctx, wire.Inject(line=line, hex=hex, account=account))
    click.echo("sent")


@group.command(short_help="Play subscribers at a rate.")
@_ini
@click.option("--ussd", "ussd_rate", default=0.0, metavar="RATE", help="Subscribers who dial, a second.")
@click.option("--sms", "sms_rate", default=0.0, metavar="RATE", help="SMS a second.")
@click.option("--seconds", default=10.0, show_default=True, help="For how long.")
@click.option("--code", default="*120*663#", show_default=True, help="What they dial.")
@click.option("--text", default="load", show_default=True, help="What the SMS say.")
@click.option("--to", default="", metavar="SHORTCODE", help="Premium SMS, to this short code.")
@click.option("--timeout", "timeout_s", default=20.0, show_default=True, help="Seconds until an answer is lost.")
@click.option("--one-way", is_flag=True, help="Nobody answers the SMS: that the gateway took it is enough.")
@click.option("--json", "as_json", is_flag=True, help="The ledger as one JSON object.")
@_account
@click.pass_context
def load(
    ctx: click.Context,
    ussd_rate: float,
    sms_rate: float,
    seconds: float,
    code: str,
    text: str,
    to: str,
    timeout_s: float,
    one_way: bool,
    as_json: bool,
    account: str,
) -> None:
    """Play subscribers who dial a code, and others who send SMS, at a rate; print what became of them.

    A call is answered by its first menu, and hung up then; an SMS by an SMS to its sender. Each is measured from the
    time when it was due, however late it could be sent. Exit code: 0 if all were answered, 1 if any was lost.

    \b
    richmond gateway load --ussd 50 --sms 10 --seconds 30
    richmond gateway load --ussd 200 --code '*120*666#' --json
    """
    from richmond.simulator import load as player

    for name, rate in (("--ussd", ussd_rate), ("--sms", sms_rate)):
        if not 0 <= rate <= MOST_RATE:
            raise UsageError(f"{name} {rate:g}: from 0 to {MOST_RATE:g} a second")
    if not (ussd_rate or sms_rate):
        raise UsageError("nothing to play: say --ussd RATE or --sms RATE")
    for name, value in (("--seconds", seconds), ("--timeout", timeout_s)):
        if not 0 < value <= MOST_SECONDS:
            raise UsageError(f"{name} {value:g}: more than 0, at most {MOST_SECONDS:g}")
    plan = player.Plan(ussd_rate, sms_rate, seconds, code, text, to, account, timeout_s, one_way)
    with _simulator(ctx) as line:
        totals = player.run(line, plan)
    click.echo(wire.as_json({kind.kind: kind for kind in totals}) if as_json else show.ledger(totals))
    ctx.exit(1 if any(kind.lost for kind in totals) else 0)


@group.command(short_help="The raw SSMI lines, both ways.")
@_ini
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.pass_context
def log(ctx: click.Context, follow: bool) -> None:
    """The last SSMI lines in both directions: time, connection, account, C> from the client or S> from the gateway.

    Numbers and texts are the simulator's own, and shown whole; what no terminal shows is escaped.

    \b
    richmond gateway log
    richmond gateway log -f
    """

    def say(event: wire.Event) -> None:
        for line in event.lines if isinstance(event, wire.Log) else [event]:
            if isinstance(line, wire.Line):
                click.echo(show.line(line))

    with _simulator(ctx) as line:
        say(line.ask(wire.ReadLog(follow=follow)))
        if follow:
            _follow(line, say)


@group.command(short_help="Clients, sessions, faults, counters.")
@_ini
@click.option("--json", "as_json", is_flag=True, help="The same facts as one JSON object.")
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Who is logged in, what is open, which faults are on, and what was counted.

    \b
    richmond gateway status
    richmond gateway status --json | jq .counters
    """
    now = _ask(ctx, wire.ReadStatus())
    assert isinstance(now, wire.Status)
    click.echo(wire.as_json(now) if as_json else show.status(now))
