"""What open dashboards cost: `python -m bench.web`, `python -m bench.web --browsers 5`.

A whole Richmond with its simulator and a private RabbitMQ node, eight workers and subscribers who dial, first with
nobody looking, then with dashboards open, and again, in turns. A dashboard is its stream of events, read as it comes,
or, with `--browsers`, the page in a Chromium of its own session, which paints on the same machine; the browser runs
all the time, without a page. CPU is the master's alone, in percent of one core; times are the subscribers', from
dialling to the menu.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
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
SETTLE_S = 2.0  # a page that has just been opened asks for more than one that is open

Watching = Callable[[str, int], contextlib.AbstractContextManager[None]]


def measure(
    watching: Watching, pages: int, rate: float, seconds: float, rounds: int
) -> list[tuple[int, dict[str, float]]]:
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
            for turn in range(rounds):
                for count in (0, pages)[:: -1 if turn % 2 else 1]:
                    with watching(s.web, count):
                        time.sleep(SETTLE_S)
                        found.append((count, once(ini, process.pid, rate, seconds)))
    return found


def once(ini: Path, master: int, rate: float, seconds: float) -> dict[str, float]:
    process = [psutil.Process(master)]
    before, begin = processes.cpu_s(process), time.monotonic()
    ledger = {}
    if rate:
        load = ["gateway", "load", "-c", str(ini), "--ussd", f"{rate:g}", "--seconds", f"{seconds:g}", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "richmond", *load], capture_output=True, text=True, check=True, cwd=processes.ROOT
        )
        ledger = json.loads(done.stdout)["ussd"]
    else:
        time.sleep(seconds)
    cpu = 100 * (processes.cpu_s(process) - before) / (time.monotonic() - begin)
    return {"cpu": cpu} | {key: ledger[key] for key in ("p50_ms", "p99_ms") if key in ledger}


@contextlib.contextmanager
def streams_only(address: str, count: int) -> Iterator[None]:
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


@contextlib.contextmanager
def chromium() -> Iterator[Watching]:
    from playwright.sync_api import Error as PlaywrightError
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("Chromium is missing. As root: scripts/install-chromium.sh")
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []  # there is none for root
        browser = playwright.chromium.launch(executable_path=program, args=options)

        @contextlib.contextmanager
        def watching(address: str, count: int) -> Iterator[None]:
            sessions = [browser.new_context() for _ in range(count)]
            try:
                for session in sessions:
                    page = session.new_page()
                    page.goto(address)
                    try:
                        page.locator(".slot[data-state=RUNNING]").first.wait_for(timeout=1000 * PATIENCE_S)
                    except PlaywrightError as e:
                        raise SystemExit(f"a page shows no worker: {page.locator('body').inner_text()[:2000]}") from e
                yield
            finally:
                for session in sessions:
                    session.close()

        yield watching
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.web", description="What open dashboards cost.")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--pages", type=int, default=5, help="so many streams of events, without a browser")
    kind.add_argument("--browsers", type=int, default=0, help="so many pages in Chromium instead")
    parser.add_argument("--rate", type=float, default=200, help="subscribers a second; 0: nobody dials")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    pages = options.browsers or options.pages
    with chromium() if options.browsers else contextlib.nullcontext(streams_only) as watching:
        found = measure(watching, pages, options.rate, options.seconds, options.rounds)
    names = found[0][1].keys()
    for count in (0, pages):
        of = [one for open_pages, one in found if open_pages == count]
        figures = (f"{name} {statistics.median(one[name] for one in of):.2f}" for name in names)
        all_of_it = ", ".join(f"{one['cpu']:.2f}" for one in of)
        print(f"{count} dashboards: {', '.join(figures)}   (cpu: {all_of_it})")


if __name__ == "__main__":
    main()
