"""What open dashboards cost: `python -m bench.web`.

A whole Richmond with its simulator and a private RabbitMQ node, eight workers and subscribers who dial, first with
nobody looking, then with dashboards open, and again, in turns. A dashboard is its stream of events, read as it comes;
what a browser does with it is the browser's. CPU is the master's, in percent of one core; times are the subscribers',
from dialling to the menu.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil

from bench import processes
from bench.installation import start_command, status

INI = """
[richmond]
directory = {directory}
[web]
port = 0
[worker:EchoWorker]
workers = 8
min = 8
max = 8
"""
PATIENCE_S = 60.0


def measure(pages: int, rate: float, seconds: float, rounds: int) -> list[tuple[int, dict[str, float]]]:
    """In the order in which it was done: pages open, and what was measured."""
    found = []
    with tempfile.TemporaryDirectory(prefix="richmond-bench-") as name:
        ini = Path(name) / "richmond.ini"
        ini.write_text(INI.format(directory=name))
        with processes.started(start_command(ini)) as process:
            deadline = time.monotonic() + PATIENCE_S
            while not ((s := status(Path(name))) and s.phase == "running" and s.classes[0].running == 8):
                if time.monotonic() > deadline:
                    raise SystemExit("the installation does not come up")
                time.sleep(0.1)
            for _ in range(rounds):
                for count in (0, pages):
                    with watching(s.web, count):
                        found.append((count, once(ini, process.pid, rate, seconds)))
    return found


def once(ini: Path, master: int, rate: float, seconds: float) -> dict[str, float]:
    process = psutil.Process(master)
    if not rate:
        time.sleep(2)
    before, begin = process.cpu_times(), time.monotonic()
    ledger = {}
    if rate:
        load = ["gateway", "load", "-c", str(ini), "--ussd", f"{rate:g}", "--seconds", f"{seconds:g}", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "richmond", *load], capture_output=True, text=True, check=True, cwd=processes.ROOT
        )
        ledger = json.loads(done.stdout)["ussd"]
    else:
        time.sleep(seconds)
    took, after = time.monotonic() - begin, process.cpu_times()
    cpu = 100 * (after.user + after.system - before.user - before.system) / took
    return {"cpu": cpu} | {key: ledger[key] for key in ("p50_ms", "p99_ms") if key in ledger}


@contextlib.contextmanager
def watching(address: str, count: int) -> Iterator[None]:
    streams = [urlopen(f"{address}events") for _ in range(count)]
    threads = [threading.Thread(target=_read, args=(stream,), daemon=True) for stream in streams]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for stream in streams:
            with contextlib.suppress(OSError):
                stream.fp.raw._sock.shutdown(2)
        for thread in threads:
            thread.join(5)


def _read(stream) -> None:
    with contextlib.suppress(Exception):  # it ends by being shut down
        while stream.readline():
            pass


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.web", description="What open dashboards cost.")
    parser.add_argument("--pages", type=int, default=5)
    parser.add_argument("--rate", type=float, default=200, help="subscribers a second; 0: nobody dials")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found = measure(options.pages, options.rate, options.seconds, options.rounds)
    names = found[0][1].keys()
    for count in (0, options.pages):
        of = [one for pages, one in found if pages == count]
        figures = (f"{name} {statistics.median(one[name] for one in of):.2f}" for name in names)
        all_of_it = ", ".join(f"{one['cpu']:.2f}" for one in of)
        print(f"{count} dashboards: {', '.join(figures)}   (cpu: {all_of_it})")


if __name__ == "__main__":
    main()
