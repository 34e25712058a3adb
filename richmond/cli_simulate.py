"""`richmond simulate`: the scaling policy and its peers on traces of load, without a message sent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from richmond.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from richmond.sim.study import Study
    from richmond.sim.traces import Trace
    from richmond.supervisor.policy import ScalingSpec

HOSTS = "hosts"
_MISSING = "richmond simulate needs {}; install it with: pip install 'richmond[sim]', or use: make sim"


@click.command(short_help="The scaling policy and its peers on traces of load.")
@click.argument("names", metavar="[TRACE...]", nargs=-1)
@click.option("--file", "file", type=click.Path(path_type=Path, dir_okay=False), help="A trace of your own: CSV.")
@click.option("--handler", "handler_s", default=0.1, show_default=True, help="Seconds a message takes, with --file.")
@click.option("--min", "least", type=click.IntRange(0), default=1, show_default=True, help="Workers at least.")
@click.option("--max", "most", type=click.IntRange(1), default=40, show_default=True, help="Workers at most.")
@click.option("--drain-target", "drain_s", type=click.FloatRange(0.1), default=5.0, show_default=True, help="Seconds.")
@click.option("--utilisation", type=click.FloatRange(0.1, 0.95), default=0.85, show_default=True, help="Of workers.")
@click.option("--scale-down", "down_s", type=click.FloatRange(0.1), default=20.0, show_default=True, help="Seconds.")
@click.option("--sample-interval", "interval_s", type=click.FloatRange(0.1), default=2.0, show_default=True)
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same messages.")
@click.option("--json", "as_json", is_flag=True, help="The same facts as one JSON object a trace.")
@click.option("--pictures", type=click.Path(path_type=Path, file_okay=False), help="Draw each trace as SVG in there.")
@click.option("--png", is_flag=True, help="Draw PNG instead.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write the tables there, too.")
def command(
    names: Sequence[str], file: Path | None, handler_s: float, least: int, most: int, drain_s: float,
    utilisation: float, down_s: float, interval_s: float, seed: int, as_json: bool,
    pictures: Path | None, png: bool, markdown: Path | None,
) -> None:  # fmt: skip
    """Let the scaling policy and its peers loose on traces of load: how long messages wait, for how many workers.

    Without TRACE all of them: steady, step, ramp, noise, spikes, slow, bottleneck, classes, day, and hosts, where 1 to
    100 hosts share a queue. --file takes a CSV with a line for each second in which messages came: second,arrivals.

    \b
    richmond simulate step spikes
    richmond simulate step --utilisation 0.5
    richmond simulate --file monday.csv --handler 0.4 --pictures /tmp
    """
    try:
        import simpy  # noqa: F401
    except ImportError:
        raise UsageError(_MISSING.format("simpy")) from None
    from rich.console import Console

    from richmond.supervisor.policy import ScalingSpec

    if least > most:
        raise UsageError(f"--min {least} is above --max {most}")
    spec = ScalingSpec(least, most, drain_s, down_s, interval_s, utilisation)
    console = Console(highlight=False, width=None if os.isatty(1) else 160)
    told = []
    traces, hosts = _traces(names, file, handler_s, seed)
    for study in _studies(traces, spec):
        name = study.trace.name.replace(" ", "-") + (".png" if png else ".svg")
        told.append(_tell(study, spec, console, as_json, name if pictures else ""))
        if pictures:
            _draw(study, pictures / name)
    if hosts:
        told.append(_tell_hosts(spec, seed, console, as_json))
    if markdown:
        markdown.write_text("\n".join(told), encoding="utf-8")


def _traces(names: Sequence[str], file: Path | None, handler_s: float, seed: int) -> tuple[list[Trace], bool]:
    from richmond.sim import traces

    for name in names:
        if name not in (*traces.NAMES, HOSTS):
            raise UsageError(f"no trace {name}; there are: {', '.join([*traces.NAMES, HOSTS])}")
    wanted = names or (() if file else (*traces.NAMES, HOSTS))
    there = [traces.builtin(name, seed) for name in wanted if name != HOSTS]
    if file is None:
        return there, HOSTS in wanted
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{file} cannot be read: {e}") from None
    recorded = traces.recorded(file.name, lines, handler_s, seed)
    return [*there, recorded], HOSTS in wanted


def _studies(traces: Sequence[Trace], spec: ScalingSpec) -> Iterator[Study]:
    """The longest first, on all processors; told of in order."""
    from richmond.sim.study import study

    if len(traces) < 2:
        yield from (study(trace, spec) for trace in traces)
        return
    with ProcessPoolExecutor() as pool:
        longest = sorted(traces, key=lambda trace: -trace.seconds)
        running = {trace.name: pool.submit(study, trace, spec) for trace in longest}
        for trace in traces:
            yield running[trace.name].result()


def _tell(study: Study, spec: ScalingSpec, console: Console, as_json: bool, picture: str) -> str:
    from richmond.sim import table

    measured = study.measured
    if as_json:
        click.echo(json.dumps(table.facts(study.trace, measured, spec.drain_target_s)))
    else:
        table.show(console, study.trace, measured, spec.drain_target_s)
    return table.markdown(study.trace, measured, spec.drain_target_s, picture)


def _tell_hosts(spec: ScalingSpec, seed: int, console: Console, as_json: bool) -> str:
    from richmond.sim import hosts, table

    found = [hosts.shared(count, spec, seed) for count in hosts.HOSTS]
    if as_json:
        click.echo(json.dumps({"trace": HOSTS, "about": hosts.ABOUT, "hosts": [asdict(shared) for shared in found]}))
    else:
        table.show_hosts(console, found)
    return table.markdown_hosts(found)


def _draw(study: Study, path: Path) -> None:
    try:
        from richmond.sim import picture
    except ImportError:
        raise UsageError(_MISSING.format("matplotlib for pictures")) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.draw(study, path)
