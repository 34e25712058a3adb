"""From records to a table: a row for each fault, a column for each program. No measuring."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

Records = list[dict[str, Any]]
ENOUGH_FOR_P99 = 100
NEVER_S = 15


@dataclass(frozen=True, slots=True)
class Line:
    title: str
    row: str
    cell: Callable[[Records], str]


def times(key: str) -> Callable[[Records], str]:
    def cell(records: Records) -> str:
        values = [r[key] for r in records]
        came = sorted(value for value in values if value is not None)
        if not came:
            return f"never (in {NEVER_S} s)"
        never = f", never {len(values) - len(came)} of {len(values)}" if len(came) < len(values) else ""
        if len(came) == 1:
            return _time(came[0]) + never
        most = came[min(len(came) - 1, int(0.99 * len(came)))] if len(came) >= ENOUGH_FOR_P99 else came[-1]
        name = "p99" if len(came) >= ENOUGH_FOR_P99 else "most"
        return f"{_time(statistics.median(came))}, {name} {_time(most)} ({len(came)}){never}"

    return cell


def words(records: Records) -> str:
    counts = Counter(r["outcome"] for r in records)
    if len(counts) == 1:
        return next(iter(counts))
    return " or ".join(f"{text} ({count}x)" for text, count in counts.most_common())


def megabytes(records: Records) -> str:
    master, helpers, worker = (statistics.median(r[f"{name}_mb"] for r in records) for name in
                               ("master", "helpers", "worker"))  # fmt: skip
    return f"{master:.1f}" + (f" + {helpers:.1f}" if helpers else "") + f", {worker:.1f} MB"


def percent(records: Records) -> str:
    whole, master = (statistics.median(r[key] for r in records) for key in ("cpu_percent", "master_cpu_percent"))
    return f"{whole:.2f} %, workers apart {master:.2f} %"


LINES = (
    Line("kill -9 a worker: its successor is forked after", "crash", times("forked_ms")),
    Line("and has answered what came in that moment after", "crash", times("answered_ms")),
    Line("SIGSTOP a worker, timeout 3 s: its successor is forked after", "stopped", times("forked_ms")),
    Line("kill -9 the master: nothing is left after", "master-killed", times("gone_ms")),
    Line("SIGHUP with a broken file", "sighup-broken", words),
    Line("its reload verb with a broken file", "verb-broken", words),
    Line("reload to code that cannot be imported", "broken-code", words),
    Line("2 to 3 processes by the file and the reload verb", "grow-file", words),
    Line("2 to 3 processes by a verb", "grow-verb", words),
    Line("the worker dies at once, for 12 s", "dies-at-once", words),
    Line("the worker dies after 1.2 s each time, for 12 s", "dies-slowly", words),
    Line("a misspelt key in the configuration", "misspelt", words),
    Line("USS of the master (+ its helpers), of an idle worker", "memory", megabytes),
    Line("CPU when idle with 64 workers, of a core", "idle", percent),
)


def table(document: dict[str, Any]) -> list[list[str]]:
    """Cells, the header first; rows that were not measured are left out."""
    records: Records = document["records"]
    programs: list[str] = document["programs"]
    found = [["", *programs]]
    for line in LINES:
        its = {name: [r for r in records if r["row"] == line.row and r["program"] == name] for name in programs}
        if any(its.values()):
            found.append([line.title, *(line.cell(rs) if rs else "" for rs in its.values())])
    return found


def show(document: dict[str, Any], console: Console) -> None:
    header, *rows = table(document)
    drawn = Table(title=_facts(document), title_justify="left", show_lines=True)
    for name in header:
        drawn.add_column(name, overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)


def markdown(document: dict[str, Any]) -> str:
    header, *rows = table(document)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join([f"{_facts(document)}:", "", *("| " + " | ".join(line) + " |" for line in lines)])


def _facts(document: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    machine = document["machine"]
    return f"{versions}; Python {machine['python']}, {machine['cores']} cores"


def _time(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"
