"""`richmond dead`: list, show, retry, drop, purge. What it says and asks; the rest is in `dead` and `dead_queue`."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from richmond import dead
from richmond.errors import AMQPError, UsageError

if TYPE_CHECKING:
    from richmond.dead_queue import DeadQueue, Held
    from richmond.settings import Settings

LIMIT = 100
MOST_STAY = 20  # letters whose reason to stay is said one by one
INTERRUPTED = 130
STAYED = 1

_F = TypeVar("_F", bound=Callable[..., Any])


def _age(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    return None if value is None else dead.seconds(value)


def _ids(_ctx: click.Context, _param: click.Parameter, value: Sequence[str]) -> tuple[str, ...]:
    return dead.checked_ids(value)


_ini = click.option(
    "-c",
    "--config",
    "ini",
    type=click.Path(path_type=Path),
    default=lambda: click.get_current_context().obj,
    show_default="that of richmond dead",
    help="The ini of the installation.",
)
_reveal = click.option("--reveal", is_flag=True, help="Show whole numbers and texts of subscribers.")
_json = click.option("--json", "as_json", is_flag=True, help="As JSON.")
_all = click.option("--all", "everything", is_flag=True, help="All letters that the filters take, instead of IDs.")
_some_ids = click.argument("ids", metavar="[ID...]", nargs=-1, callback=_ids)


def _filters(f: _F) -> _F:
    """--reason, --worker, --older-than, --newer-than: the same everywhere."""
    for option in (
        click.option("--newer-than", "newer_than_s", metavar="AGE", callback=_age, help="Such as 10m."),
        click.option("--older-than", "older_than_s", metavar="AGE", callback=_age, help="Such as 90s, 2h, 7d, 1w."),
        click.option("--worker", metavar="CLASS", help="Of this worker class only."),
        click.option("--reason", help="With this reason only."),
    ):
        f = option(f)
    return f


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in this order


@click.group(cls=_Verbs, name="dead", short_help="List, retry and drop dead letters.")
@click.pass_context
def group(ctx: click.Context, ini: Path) -> None:
    """Dead letters: messages that could not be handled, and replies that could not be sent.

    An ID may be shortened while it is the beginning of one letter's only. Looking at letters changes nothing.

    \b
    richmond dead list --reason handler-failed
    richmond dead show 4f2a
    richmond dead retry 4f2a             once more to the queue that it came from
    richmond dead retry --all --worker EchoWorker
    richmond dead drop 4f2a
    richmond dead purge --older-than 7d
    """
    ctx.obj = ini


@group.command(name="list", short_help="Which there are, and why.")
@_ini
@_filters
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="Of so many, the oldest.")
@_json
@_reveal
def list_(ini: Path, limit: int, as_json: bool, reveal: bool, **filters: Any) -> None:
    """Which dead letters there are, the oldest first, and how many there are of each reason.

    \b
    richmond dead list
    richmond dead list --worker EchoWorker --newer-than 10m
    richmond dead list --json --limit 1000 | jq '.[].exception'
    """
    settings = _load(ini)
    wanted = dead.Filter(**filters)
    shown: list[dead.Letter] = []
    reasons: Counter[str] = Counter()
    with _open(settings) as queue:
        for held in _matching(queue, wanted):
            reasons[held.letter.reason] += 1
            if len(shown) < limit:
                shown.append(held.letter)
    views = [_view(letter, settings, reveal) for letter in shown]
    if as_json:
        _print_json(views)
    else:
        _print_table(views, reasons, queue.seen)
    if len(shown) < reasons.total():
        click.echo(f"{reasons.total() - len(shown)} more match; see them with --limit {reasons.total()}", err=True)
    _say_unseen(queue)


@group.command(short_help="One of them, with all that is known.")
@_ini
@_json
@_reveal
@click.argument("id", callback=lambda _ctx, _param, value: dead.checked_ids([value])[0])
def show(ini: Path, id: str, as_json: bool, reveal: bool) -> None:
    """One dead letter with all that is known of it. Numbers are masked and texts left out, unless you say --reveal.

    \b
    richmond dead show 4f2a
    richmond dead show 4f2a --reveal
    """
    settings = _load(ini)
    with _open(settings) as queue:
        letter = _chosen(queue, [id])[0].letter
    view = _view(letter, settings, reveal)
    if as_json:
        _print_json(view)
    else:
        _print_letter(view)


@group.command(short_help="Have them handled once more.")
@_ini
@_all
@_filters
@click.option("--to", metavar="QUEUE", help="Another queue than the one that they came from.")
@_some_ids
def retry(ini: Path, ids: Sequence[str], everything: bool, to: str | None, **filters: Any) -> None:
    """Put dead letters back into the queue that they came from, to be handled once more.

    Each is taken out of the dead-letter queue when RabbitMQ has confirmed it in the other one. One whose queue does
    not exist any more stays. A reply (from richmond.send) can only be sent while its session is open.

    \b
    richmond dead retry 4f2a 91c0
    richmond dead retry --all --reason handler-failed --worker EchoWorker
    richmond dead retry --all --reason no-route --to richmond.receive
    """
    stay: list[str] = []

    def put_back(queue: DeadQueue, held: Held) -> bool:
        letter = held.letter
        target = to or letter.queue
        why = (
            queue.retry(held, target)
            if target
            else "it does not say which queue it came from; give one with --to QUEUE"
        )
        if why == "unroutable":
            why = f"queue {target} does not exist any more"
        if why:
            stay.append(f"{letter.id} stays: {why}")
        return not why

    _settle(ini, ids, everything, dead.Filter(**filters), put_back, "retried", stay)


@group.command(short_help="Delete them.")
@_ini
@_all
@_filters
@_some_ids
def drop(ini: Path, ids: Sequence[str], everything: bool, **filters: Any) -> None:
    """Delete dead letters.

    \b
    richmond dead drop 4f2a 91c0
    richmond dead drop --all --reason session-over --older-than 2h
    """
    _settle(ini, ids, everything, dead.Filter(**filters), _drop, "dropped")


@group.command(short_help="Delete the old ones.")
@_ini
@_filters
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(ini: Path, yes: bool, **filters: Any) -> None:
    """Delete dead letters older than an age, after asking.

    \b
    richmond dead purge --older-than 7d
    richmond dead purge --older-than 7d --yes          in a cron job
    """
    wanted = dead.Filter(**filters)
    if wanted.older_than_s is None:
        raise UsageError("say how old: richmond dead purge --older-than 7d; or see richmond dead drop --all")
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("nobody is there to ask: add --yes")
        with _open(_load(ini)) as queue:
            count = sum(1 for _ in _matching(queue, wanted))
        if not count:
            click.echo("no dead letters that old")
            return
        click.confirm(f"Delete {_letters(count)}?", abort=True)
    _settle(ini, (), True, wanted, _drop, "dropped")


def _drop(queue: DeadQueue, held: Held) -> bool:
    queue.drop(held)
    return True


def _settle(
    ini: Path,
    ids: Sequence[str],
    everything: bool,
    wanted: dead.Filter,
    settle: Callable[[DeadQueue, Held], bool],
    done: str,
    stay: Sequence[str] = (),
) -> None:
    """Letters by their IDs or by a filter, one after another. Ctrl-C ends it between two of them."""
    if bool(ids) == everything:
        raise UsageError("give the IDs that richmond dead list shows, or --all")
    if ids and wanted != dead.Filter():
        raise UsageError("filters go with --all, not with IDs")
    count = 0
    with _open(_load(ini)) as queue, _signals(queue):
        try:
            for held in _chosen(queue, ids) if ids else _matching(queue, wanted):
                if queue.stopped:
                    break
                count += settle(queue, held)
        except AMQPError as e:
            raise type(e)(f"{e}; {_letters(count)} {done} before that: see what is left with richmond dead list") from e
    for line in stay[:MOST_STAY]:
        click.echo(line, err=True)
    if len(stay) > MOST_STAY:
        click.echo(f"and {len(stay) - MOST_STAY} more stay", err=True)
    click.echo(f"{_letters(count)} {done}")
    if queue.stopped:
        click.echo("interrupted: the others are still there", err=True)
        sys.exit(INTERRUPTED)
    _say_unseen(queue)
    if stay:
        sys.exit(STAYED)


def _matching(queue: DeadQueue, wanted: dead.Filter) -> Iterator[Held]:
    now = time.time()
    return (held for held in queue.letters() if wanted.takes(held.letter, now))


def _chosen(queue: DeadQueue, ids: Sequence[str]) -> list[Held]:
    """Those that `ids` name; all of them or UsageError. None if we are to stop."""
    found: list[Held] = []
    for held in queue.letters():
        if dead.begins_with(held.letter, ids):
            found.append(held)
            if len(found) > len(ids) + LIMIT:  # one of them says too little: no need to hold more
                break
    if queue.stopped:
        return []
    whole = dead.resolve(ids, (held.letter for held in found), queue.name)
    return [held for held in found if held.letter.id in whole]


@contextmanager
def _open(settings: Settings) -> Iterator[DeadQueue]:
    from richmond.dead_queue import DeadQueue, alone, find

    def wait() -> None:
        click.echo("another richmond dead is at work; waiting for it ...", err=True)

    with alone(settings.path, wait), DeadQueue(find(settings)) as queue:
        if queue.strangers:
            click.echo(f"another program consumes {queue.name}: what it holds is not seen here", err=True)
        yield queue


@contextmanager
def _signals(queue: DeadQueue) -> Iterator[None]:
    """Ctrl-C and SIGTERM let the letter in hand be finished; a second one ends it at once."""

    def stop(number: int, _frame: object) -> None:
        queue.stop()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _load(ini: Path) -> Settings:
    import os

    from richmond import config

    return config.load(ini, os.environ)


def _view(letter: dead.Letter, settings: Settings, reveal: bool) -> dead.View:
    from richmond import log

    return dead.view(letter, time.time(), None if reveal or settings.richmond.log_messages else log.mask)


def _print_json(value: object) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _print_table(views: Sequence[dead.View], reasons: Counter[str], seen: int) -> None:
    """As `richmond status` does: aligned, coloured on a terminal only, and no text cut."""
    from richmond import view

    if not views:
        click.echo(f"none of the {_letters(seen)} matches" if seen else "no dead letters")
        return
    headers = ("id", "age", "reason", "worker", "kind", "number", "attempts")
    rows = [
        view.Row(
            [
                dead.printable(cell) or "-"
                for cell in (v.id, _ago(v), v.reason, v.worker, v.kind, v.msisdn, str(v.attempts or ""))
            ],
            dead.printable(v.exception),
        )
        for v in views
    ]
    counts = [view.Row((str(count), dead.printable(reason) or "-")) for reason, count in reasons.most_common()]
    out = view.console()
    for line in view.table(headers, rows, "exception", out.width, right=("age", "attempts")):
        view.print_line(out, line)
    view.print_line(out, "")
    for line in view.table(("letters", "reason"), counts, "", out.width, right=("letters",)):
        view.print_line(out, line)


def _print_letter(v: dead.View) -> None:
    facts = {
        "id": v.id,
        "reason": v.reason,
        "exception": v.exception,
        "worker": v.slot or v.worker,
        "queue": v.queue,
        "died": f"{v.time}, {_ago(v)} ago" if v.time else "",
        "attempts": str(v.attempts or ""),
        "bytes": str(v.bytes),
    }
    _print_facts(facts)
    click.echo("message")
    if isinstance(v.message, dict):
        _print_facts({f"  {key}": value if isinstance(value, str) else repr(value) for key, value in v.message.items()})
    else:
        click.echo(f"  {dead.printable(v.message)}")


def _print_facts(facts: dict[str, str]) -> None:
    size = max(map(len, facts), default=0)
    for name, value in facts.items():
        click.echo(f"{dead.printable(name):<{size}}  {dead.printable(value) or '-'}")


def _ago(v: dead.View) -> str:
    from richmond import view

    return "" if v.age_s is None else view.duration(v.age_s)


def _letters(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"


def _say_unseen(queue: DeadQueue) -> None:
    if queue.unseen and queue.full:
        click.echo(f"{_letters(queue.unseen)} more were not looked at: drop or retry some of these first", err=True)
    elif queue.unseen:
        click.echo(f"{_letters(queue.unseen)} more are in the hands of another program", err=True)
