"""From single runs to medians and ratios, and these as a table. No measuring."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

BASELINE = "richmond"
COUNTS = ("sent", "replied", "lost", "late", "wrong", "duplicate")
MEDIANS = (
    "rate", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "cpu_broker_ms", "cpu_workers_ms", "cpu_rabbitmq_ms",
    "cpu_gateway_ms", "uss_broker_mb", "uss_worker_mb",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """All runs of one system in one scenario."""

    system: str
    medians: dict[str, float]  # empty: no run got through
    counts: dict[str, int]  # summed over the runs
    spread: float  # of the rate: (most - least) / median
    errors: tuple[str, ...]

    def __getitem__(self, key: str) -> float:
        return self.medians[key]

    @property
    def cpu_ms(self) -> float:
        """Of the system's own processes, for 1,000 messages."""
        return self["cpu_broker_ms"] + self["cpu_workers_ms"]

    @property
    def faults(self) -> int:
        return self.counts["lost"] + self.counts["wrong"] + self.counts["duplicate"]


def cells(runs: list[dict[str, Any]]) -> dict[str, list[Cell]]:
    """By scenario; both in the order of the runs."""
    sorted_: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for run in runs:
        sorted_.setdefault(run["scenario"], {}).setdefault(run["system"], []).append(run)
    return {scenario: [_cell(system, its) for system, its in systems.items()] for scenario, systems in sorted_.items()}


def _cell(system: str, runs: list[dict[str, Any]]) -> Cell:
    good = [r for r in runs if "error" not in r]
    medians = {key: statistics.median(r[key] for r in good) for key in MEDIANS} if good else {}
    rates = [r["rate"] for r in good]
    return Cell(
        system,
        medians,
        {key: sum(r[key] for r in good) for key in COUNTS},
        (max(rates) - min(rates)) / medians["rate"] if medians.get("rate") else 0.0,
        tuple(r["error"] for r in runs if "error" in r),
    )


def show(document: dict[str, Any], console: Console) -> None:
    facts = document["machine"]
    settings = document["settings"]
    console.print(
        f"{facts['cores']} cores, Python {facts['python']}, {facts['system']}; "
        f"{settings['workers']} workers, {settings['repeat']} interleaved runs of {settings['seconds']:g} s: medians"
    )
    if document["installation"]:
        _show_installation(document["installation"], console)
    for scenario, found in cells(document["runs"]).items():
        console.print(_table(scenario, found))
    if document["runs"]:
        for name, guarantee in document["guarantees"].items():
            console.print(f"{name:19} {guarantee}", highlight=False)
    for run in document["runs"]:
        if "error" in run:
            console.print(f"{run['system']}, {run['scenario']}: {run['error']}", markup=False, highlight=False)


def _show_installation(runs: list[dict[str, float]], console: Console) -> None:
    value = {key: statistics.median(r[key] for r in runs) for key in runs[0]}
    table = Table(title="Richmond by itself", title_justify="left", show_header=False)
    table.add_row("start to ready, private RabbitMQ node included", f"{value['start_to_ready_s']:.2f} s")
    table.add_row("scale 1 to 8, all consuming, command included", f"{value['scale_1_to_8_s']:.2f} s")
    table.add_row(
        "USS of an idle worker: median of 8, most",
        f"{value['worker_uss_mb']:.1f} MB, {value['worker_uss_most_mb']:.1f} MB",
    )
    table.add_row("USS of the idle master", f"{value['master_uss_mb']:.1f} MB")
    table.add_row(
        f"CPU idle, 8 workers, {value['idle_s']:g} s, RabbitMQ apart", f"{value['idle_cpu_percent']:.2f} % of a core"
    )
    console.print(table)


def _table(scenario: str, found: list[Cell]) -> Table:
    kind, amount = scenario.split(":")
    title = f"{amount} sessions, closed loop" if kind == "closed" else f"{amount} messages/s, open loop"
    table = Table(title=f"{scenario}: {title}", title_justify="left")
    table.add_column("", no_wrap=True)
    ratio = "ratio" if kind == "closed" else "p99\nratio"
    for header in (
        "messages/s", "±", ratio, "p50\nms", "p90\nms", "p99\nms", "p99.9\nms", "CPU ms\nper 1000", "broker +\nworkers",
        "RabbitMQ", "USS MB", "lost", "late", "wrong", "dup",
    ):  # fmt: skip
        table.add_column(header, justify="right", no_wrap=True)
    compared = "rate" if kind == "closed" else "p99_ms"  # in open loop all have the same rate
    base = next((c[compared] for c in found if c.system == BASELINE and c.medians), None)
    for cell in found:
        if not cell.medians:
            table.add_row(cell.system, "failed")
            continue
        table.add_row(
            cell.system + (f" ({len(cell.errors)} failed)" if cell.errors else ""),
            f"{cell['rate']:,.0f}",
            f"{cell.spread / 2:.0%}",
            f"{cell[compared] / base:.2f}" if base else "",
            *(_ms(cell[key]) for key in ("p50_ms", "p90_ms", "p99_ms", "p999_ms")),
            f"{cell.cpu_ms:,.0f}",
            f"{cell['cpu_broker_ms']:,.0f}+{cell['cpu_workers_ms']:,.0f}",
            f"{cell['cpu_rabbitmq_ms']:,.0f}",
            f"{cell['uss_broker_mb']:.0f}+{cell['uss_worker_mb']:.0f}",
            *(f"{cell.counts[key]:,}" for key in ("lost", "late", "wrong", "duplicate")),
            style="bold" if cell.system == BASELINE else None,
        )
    return table


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
