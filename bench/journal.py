"""Measures the journal alone: messages a second that are on the disk, `python -m bench.journal`.

Beside it, in the same run and in turns, the least that could be done: the same bytes appended to a plain file with one
write and one fsync a batch, with nothing that could take an entry out again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from richmond.journal import Entry, Journal

BATCHES = (1, 10, 100, 1000)
MAX_BYTES = 1 << 30
DRAINED_AT_ONCE = 500
ENTRY = Entry(
    "sms",
    "richmond",
    "ssmi.receive.Lunch",
    b'{"kind":"sms","id":"5f2c1a9e-1b3","received":1790000000.123456,"account":"default","msisdn":"27831112222",'
    b'"sequence":"12345","message":"Please book me a table for four people at seven, and tell Thandi we are late"}',
    1790000000.0,
)


def appending(append: Callable[[], object], seconds: float, most: int) -> list[float]:
    """How long each batch took, in seconds; no more than `most` of them."""
    took = []
    began = before = time.perf_counter()
    while before - began < seconds and len(took) < most:
        append()
        now = time.perf_counter()
        took.append(now - before)
        before = now
    return took


def run(directory: Path, batch: int, seconds: float) -> dict[str, Any]:
    entries = [ENTRY] * batch
    data = (ENTRY.body + ENTRY.routing_key.encode() + ENTRY.exchange.encode() + ENTRY.kind.encode()) * batch
    most = MAX_BYTES // (2 * len(data))
    journal = Journal(directory / "journal.db", MAX_BYTES)

    def append() -> None:
        if not journal.append(entries):
            raise SystemExit(f"{directory} takes no more: is the disk full?")

    took = appending(append, seconds, most)
    began, drained = time.perf_counter(), 0
    while found := journal.peek(DRAINED_AT_ONCE):
        journal.done(entry.id for entry in found)
        drained += len(found)
    drain_s = time.perf_counter() - began
    journal.close()
    with (directory / "plain").open("wb", buffering=0) as plain:

        def write() -> None:
            plain.write(data)
            os.fsync(plain.fileno())

        plain_took = appending(write, seconds, most)
    took.sort()
    return {
        "batch": batch,
        "journal_s": batch * len(took) / sum(took),
        "plain_s": batch * len(plain_took) / sum(plain_took),
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[len(took) * 99 // 100] * 1000,
        "drained_s": drained / drain_s,
    }


def measure(where: Path, seconds: float, repeat: int) -> list[dict[str, Any]]:
    """A row of medians for each batch size."""
    runs = []
    for _ in range(repeat):
        for batch in BATCHES:
            with tempfile.TemporaryDirectory(prefix="richmond-bench-", dir=where) as directory:
                runs.append(run(Path(directory), batch, seconds))
    return [
        {key: statistics.median(r[key] for r in runs if r["batch"] == batch) for key in runs[0]}
        | {"ratio": statistics.median(r["journal_s"] / r["plain_s"] for r in runs if r["batch"] == batch)}
        for batch in BATCHES
    ]


def main() -> None:
    p = argparse.ArgumentParser(prog="python -m bench.journal", description=__doc__)
    p.add_argument("--seconds", type=float, default=1.0, help="of each measurement (1)")
    p.add_argument("--repeat", type=int, default=3, help="of all, in turns; the table has medians (3)")
    p.add_argument("--directory", type=Path, default=Path(), help="on the disk to measure (the current one)")
    p.add_argument("--json", action="store_true", help="print JSON instead of a table")
    o = p.parse_args()
    rows = measure(o.directory, o.seconds, o.repeat)
    if o.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(title=f"The journal: messages a second, of {len(ENTRY.body)} bytes", title_justify="left")
    for header in ("batch", "journal", "write + fsync", "journal / plain", "p50 ms", "p99 ms", "drained"):
        table.add_column(header, justify="right")
    for row in rows:
        table.add_row(
            f"{row['batch']:,}",
            f"{row['journal_s']:,.0f}",
            f"{row['plain_s']:,.0f}",
            f"{row['ratio']:.2f}",
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            f"{row['drained_s']:,.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
