"""Measures the SSMI codec alone, beside what one would write without it: `python -m bench.codec`.

The naive way splits at every comma and formats a string: no check, no types, no half lines, and a text with a comma in
it comes out in pieces. Both work in the same run, in turns, on as much as one read from the socket brings.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from richmond.ssmi.codec import Command, DeliveryReport, Event, EventDecoder, MoSms, SendSms, SendUssd, Ussd, encode

ENCODING = "iso-8859-1"
LINES = 800  # about what one read of the broker's brings
MSISDN = "27831112222"
TEXT = "Welcome to the canteen.\n1. Bunny chow\n2. Gatsby\n3. Koeksisters\n0. Out"

PARSED: dict[str, Event] = {
    "USSD": Ussd(MSISDN, "2", "0", "3"),
    "SMS": MoSms(MSISDN, "17", "Please call me back, after six"),
    "DR": DeliveryReport(MSISDN, "12345", "0"),
}
BUILT: dict[str, tuple[Command | Event, Callable[[Any], str]]] = {
    "USSD": (SendUssd(MSISDN, "2", TEXT), lambda line: f"SSMI,110,{line.msisdn},{line.ussd_type},{line.message}\r"),
    "SMS": (SendSms("0", MSISDN, TEXT), lambda line: f"SSMI,2,{line.validity},{line.msisdn},{line.message}\r"),
    "DR": (PARSED["DR"], lambda line: f"SSMI,104,{line.msisdn},{line.sequence},{line.ret_code}\r"),
}


def pairs() -> dict[tuple[str, str], tuple[Callable[[], object], Callable[[], object]]]:
    """What each case does with LINES lines: the codec, and the naive way."""
    work: dict[tuple[str, str], tuple[Callable[[], object], Callable[[], object]]] = {}
    for kind, event in PARSED.items():
        data = encode(event, ENCODING) * LINES
        decoder = EventDecoder(ENCODING, 65536)
        assert decoder.feed(data) == [event] * LINES
        work["parse", kind] = (
            lambda decoder=decoder, data=data: decoder.feed(data),
            lambda data=data: [line.split(",") for line in data.decode(ENCODING).split("\r")],
        )
    for kind, (line, naive) in BUILT.items():
        assert encode(line, ENCODING) == naive(line).encode(ENCODING)
        lines = [line] * LINES
        work["build", kind] = (
            lambda lines=lines: [encode(line, ENCODING) for line in lines],
            lambda lines=lines, naive=naive: [naive(line).encode(ENCODING) for line in lines],
        )
    return work


def rate(work: Callable[[], object], seconds: float) -> float:
    """Lines a second."""
    rounds = 0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        work()
        rounds += 1
    return rounds * LINES / elapsed


def measure(seconds: float, repeat: int) -> list[dict[str, Any]]:
    """A row for each case: medians, and what each run found."""
    work = pairs()
    runs: dict[tuple[str, str], list[tuple[float, float]]] = {case: [] for case in work}
    for _ in range(repeat):
        for case, (codec, naive) in work.items():
            runs[case].append((rate(codec, seconds), rate(naive, seconds)))
    return [
        {
            "does": does,
            "kind": kind,
            "codec_lines_s": statistics.median(codec for codec, _ in found),
            "naive_lines_s": statistics.median(naive for _, naive in found),
            "ratio": statistics.median(naive / codec for codec, naive in found),
            "runs": found,
        }
        for (does, kind), found in runs.items()
    ]


def main() -> None:
    p = argparse.ArgumentParser(prog="python -m bench.codec", description=__doc__)
    p.add_argument("--seconds", type=float, default=0.5, help="of each measurement (0.5)")
    p.add_argument("--repeat", type=int, default=5, help="of all, in turns; the table has medians (5)")
    p.add_argument("--json", action="store_true", help="print JSON instead of a table")
    o = p.parse_args()
    rows = measure(o.seconds, o.repeat)
    if o.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(title="The SSMI codec: lines a second", title_justify="left")
    for header in ("", "", "codec", "naive", "naive / codec", "codec, µs a line"):
        table.add_column(header, justify="right" if header else "left")
    for row in rows:
        codec, naive = row["codec_lines_s"], row["naive_lines_s"]
        table.add_row(
            row["does"], row["kind"], f"{codec:,.0f}", f"{naive:,.0f}", f"{row['ratio']:.2f}", f"{1e6 / codec:.2f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
