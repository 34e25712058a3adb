"""Measures Richmond's whole path beside its peers on this machine: `make bench`, or `python -m bench --help`.

Machines differ and are noisy, so the runs of all systems are interleaved: compare ratios of one run of this command.
`python -m bench chart FILE.json DIRECTORY` draws what an earlier one has found.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import chart, installation, report
from bench.run import Load, Scenario, run
from bench.systems import SYSTEMS
from richmond.rabbitmq import PrivateNode

INSTALLATION = "installation"  # a scenario without load: start, scale, idle
SCENARIOS = (INSTALLATION, "closed:512", "closed:64", "open:100", "open:1000")
WIDTH = 160  # of the table where there is no terminal


def scenario(text: str) -> Scenario | str:
    try:
        return text if text == INSTALLATION else Scenario.parse(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e


def systems(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in SYSTEMS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    return names


def options() -> argparse.Namespace:
    p = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--scenario", type=scenario, action="append", metavar="S", help=f"again for more: {SCENARIOS}")
    p.add_argument("--peers", type=systems, default=list(SYSTEMS), metavar="A,B", help=f"of {','.join(SYSTEMS)}")
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--repeat", type=int, help="runs of each kind, interleaved (5)")
    p.add_argument("--seconds", type=float, help="measured of each run (8)")
    p.add_argument("--warmup", type=float, help="seconds before that (2)")
    p.add_argument("--idle", type=float, help="seconds of idleness to watch (60)")
    p.add_argument("--quick", action="store_true", help="one short run of each kind, to see that it works")
    p.add_argument("--out", type=Path, metavar="FILE.json")
    o = p.parse_args()
    for name, normal, quick in (("repeat", 5, 1), ("seconds", 8, 2), ("warmup", 2, 1), ("idle", 60, 5)):
        if getattr(o, name) is None:
            setattr(o, name, quick if o.quick else normal)
    o.scenario = o.scenario or [scenario(text) for text in SCENARIOS]
    return o


def measure(o: argparse.Namespace, progress: Callable[[str], None]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "settings": {"workers": o.workers, "repeat": o.repeat, "seconds": o.seconds, "warmup": o.warmup},
        "guarantees": {name: SYSTEMS[name].guarantee for name in o.peers},
        "installation": [],
        "runs": [],
    }
    if INSTALLATION in o.scenario:
        for i in range(o.repeat):
            progress(f"start, scale and idle, {i + 1} of {o.repeat}")
            document["installation"].append(installation.measure(o.idle))
    loads = [s for s in o.scenario if s != INSTALLATION]
    if loads:
        with tempfile.TemporaryDirectory(prefix="richmond-bench-") as directory:
            private = PrivateNode(Path(directory))
            try:
                node = private.start(60)
                for load in loads:
                    for i in range(o.repeat):
                        for name in o.peers:
                            progress(f"{load}, {name}, {i + 1} of {o.repeat}")
                            document["runs"].append(
                                run(name, load, Load(o.workers, o.seconds, o.warmup), node) | {"repeat": i}
                            )
            finally:
                private.stop(20)
    return document


def main() -> None:
    if sys.argv[1:2] == ["chart"]:
        chart.main(sys.argv[2:])
        return
    o = options()
    # As Ctrl-C does: whatever was started is ended on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    terminal = Console(stderr=True)
    with terminal.status("") as status:
        document = measure(o, status.update if terminal.is_terminal else terminal.print)
    report.show(document, Console(width=None if sys.stdout.isatty() else WIDTH, emoji=False))  # no 💯 for open:100
    if o.out:
        o.out.write_text(json.dumps(document, indent=1) + "\n")
    if any("error" in r for r in document["runs"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
