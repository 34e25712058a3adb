"""What people and programs read of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from richmond.sim.hosts import ABOUT, Shared
from richmond.sim.measure import OPTIMUM, OURS, Measured, Verdict, compare, promises
from richmond.sim.traces import Trace

COLUMNS = ("rule", "wait mean", "p95", "p99 s", "worker-seconds", "actions", "reversals", "richmond beside it")


def facts(trace: Trace, found: Mapping[str, Measured], drain_target_s: float) -> dict[str, Any]:
    """For --json."""
    return {
        "trace": trace.name,
        "about": trace.about,
        "rules": {name: asdict(measured) for name, measured in found.items()},
        "promises": [asdict(verdict) for verdict in promises(trace, found, drain_target_s)],
        "compared": {name: asdict(compare(found[OURS], m)) for name, m in _others(found).items()},
    }


def rows(found: Mapping[str, Measured]) -> Iterable[tuple[str, ...]]:
    for name, m in found.items():
        beside = compare(found[OURS], m).text if name in _others(found) else ""
        waits = f"{m.wait_mean:.2f}", f"{m.wait_p95:.2f}", f"{m.wait_p99:.2f}"
        yield (name, *waits, f"{m.worker_seconds:.0f}", f"{m.actions}", f"{m.reversals}", beside)


def show(console: Console, trace: Trace, found: Mapping[str, Measured], drain_target_s: float) -> None:
    table = Table(box=None, pad_edge=False)
    for n, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if n in (0, len(COLUMNS) - 1) else "right", no_wrap=True)
    for row in rows(found):
        table.add_row(*row, style="bold" if row[0] == OURS else "")
    kept = [_told(verdict) for verdict in promises(trace, found, drain_target_s)]
    console.print(Group(Text(f"{trace.name}: {trace.about}", "bold"), table, Text("; ".join(kept)), Text()))


def markdown(trace: Trace, found: Mapping[str, Measured], drain_target_s: float, picture: str) -> str:
    lines = [f"### {trace.name}", "", f"{trace.about[0].upper()}{trace.about[1:]}.", ""]
    if picture:
        lines += [f"![{trace.name}: load, backlog and workers]({picture})", ""]
    lines += [f"| {' | '.join(COLUMNS)} |", f"|---|{'---:|' * (len(COLUMNS) - 2)}---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows(found)]
    kept = "; ".join(_told(verdict) for verdict in promises(trace, found, drain_target_s))
    return "\n".join([*lines, "", f"{kept}.", ""])


HOST_COLUMNS = ("hosts", "wait mean", "p95", "p99 s", "worker-seconds", "most workers", "reversals", "a host has")


def host_rows(found: Sequence[Shared]) -> Iterable[tuple[str, ...]]:
    for shared in found:
        m = shared.measured
        waits = f"{m.wait_mean:.2f}", f"{m.wait_p95:.2f}", f"{m.wait_p99:.2f}"
        yield (
            f"{shared.hosts}", *waits, f"{m.worker_seconds:.0f}", f"{shared.most}", f"{m.reversals}",
            f"{shared.fewest} to {shared.largest}",
        )  # fmt: skip


def show_hosts(console: Console, found: Sequence[Shared]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in HOST_COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for row in host_rows(found):
        table.add_row(*row)
    console.print(Group(Text(f"hosts: {ABOUT}", "bold"), table, Text()))


def markdown_hosts(found: Sequence[Shared]) -> str:
    lines = ["### hosts", "", f"{ABOUT[0].upper()}{ABOUT[1:]}.", ""]
    lines += [f"| {' | '.join(HOST_COLUMNS)} |", f"|{'---:|' * len(HOST_COLUMNS)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in host_rows(found)), ""])


def _told(verdict: Verdict) -> str:
    return verdict.text if verdict.good else f"NOT KEPT: {verdict.text}"


def _others(found: Mapping[str, Measured]) -> dict[str, Measured]:
    return {name: m for name, m in found.items() if name not in (OURS, OPTIMUM)}
