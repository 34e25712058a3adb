"""Compares Richmond with supervisord, Circus and gunicorn: the same faults, seen by the same outside observer.

Machines differ and are noisy, so all programs are measured in one run, in turns: compare the columns of a table, not
figures of different ones. Each runs in a scratch directory on free ports, beside a RabbitMQ node of the run's own, and
nothing of it is left afterwards, nor after Ctrl-C.

  python -m bench.supervision                                  everything, about 12 minutes
  python -m bench.supervision --only crash --repeat 20         20 turns of 3 s of kill -9 each: enough for a p99
  python -m bench.supervision --only stopped --only master-killed --repeat 3 --json faults.json
  python -m bench.supervision --markdown crash.json faults.json   the table of earlier runs, for the documentation
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import supervision_report as report
from bench.processes import Ended
from bench.supervision_faults import ROWS, Record, World, kill_all
from bench.supervision_peers import Circus, Gunicorn, Supervisord
from bench.supervision_program import Program
from bench.supervision_richmond import Richmond
from richmond.rabbitmq import PrivateNode

PROGRAMS: dict[str, type[Program]] = {p.name.lower(): p for p in (Richmond, Supervisord, Circus, Gunicorn)}
PACKAGES = {"supervisord": "supervisor"}
WIDTH = 180  # of the table where there is no terminal


def peers(text: str) -> list[str]:
    names = [name.lower() for name in text.split(",") if name]
    if unknown := [name for name in names if name not in PROGRAMS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(PROGRAMS)}")
    return names


def options() -> argparse.Namespace:
    p = argparse.ArgumentParser(
        prog="python -m bench.supervision", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--repeat", type=int, default=1, metavar="N", help="runs of each row, interleaved (1)")
    p.add_argument("--only", choices=ROWS, action="append", metavar="ROW", help=f"again for more: {', '.join(ROWS)}")
    p.add_argument("--peers", type=peers, default=list(PROGRAMS), metavar="A,B", help=f"of {','.join(PROGRAMS)}")
    p.add_argument("--idle", type=float, default=30, metavar="S", help="seconds of idleness to watch (30)")
    p.add_argument("--json", type=Path, metavar="FILE", help="every single run")
    p.add_argument("--markdown", type=Path, nargs="+", metavar="FILE", help="measure nothing: print FILEs as one table")
    return p.parse_args()


def measure(o: argparse.Namespace, progress: Any) -> dict[str, Any]:
    programs = [PROGRAMS[name] for name in o.peers]
    document: dict[str, Any] = {
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "programs": [p.name for p in programs],
        "versions": {p.name: metadata.version(PACKAGES.get(p.name, p.name.lower())) for p in programs},
        "command": ["python", "-m", "bench.supervision", *sys.argv[1:]],
        "records": [],
    }
    records: list[Record] = document["records"]
    directory = Path(tempfile.mkdtemp(prefix="supervision-"))
    private = PrivateNode(directory / "rabbitmq")
    try:
        world = World(programs, private.start(60), directory, o.repeat, o.idle, progress)
        for row in o.only or ROWS:
            records.extend(ROWS[row](world))
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # once is enough
            signal.signal(number, signal.SIG_IGN)
        private.stop(20)
        kill_all(directory)
        shutil.rmtree(directory, ignore_errors=True)
    return document


def merged(paths: list[Path]) -> dict[str, Any]:
    documents = [json.loads(path.read_text()) for path in paths]
    return documents[0] | {"records": [record for document in documents for record in document["records"]]}


def main() -> None:
    o = options()
    if o.markdown:
        print(report.markdown(merged(o.markdown)))
        return
    # As Ctrl-C does: whatever was started is ended on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    terminal = Console(stderr=True)
    try:
        with terminal.status("") as status:
            document = measure(o, status.update if terminal.is_terminal else terminal.print)
    except KeyboardInterrupt:
        sys.exit("ended early; nothing is left")
    except Ended as e:
        sys.exit(str(e))
    if o.json:
        o.json.write_text(json.dumps(document, indent=1) + "\n")
    report.show(document, Console(width=None if sys.stdout.isatty() else WIDTH))


if __name__ == "__main__":
    main()
