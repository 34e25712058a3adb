"""How long the first message waits that wakes a class with min = 0: `python -m bench.wake`.

A whole Richmond with its simulator and a private RabbitMQ node. Again and again nobody runs, a subscriber dials, and
the handler says how long ago the broker had read the message from the gateway's socket. The whole way of the
subscriber, from dialling to the menu, is measured beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench import processes
from bench.installation import start_command, status
from richmond.simulator import wire
from richmond.simulator.line import Line
from richmond.supervisor.status import Snapshot

INI = """
[richmond]
directory = {directory}
workers-path = {directory}
sample-interval = 0.2
[worker:Sleeper]
class = sleeper.Sleeper
workers = 0
min = 0
max = 4
scale-down = 0.5
"""
CODE = """
import time

from richmond.workers.ussd import SessionType, USSDWorker


class Sleeper(USSDWorker):
    def consume(self, data):
        self.waited = time.time() - data["received"]
        super().consume(data)

    def new_ussd_session(self, msisdn, message):
        self.reply(msisdn, f"{self.waited:.6f}", SessionType.end)
"""
PATIENCE_S = 60.0
MARKS = (0, 50, 90, 99, 100)


def measure(times: int) -> list[tuple[float, float]]:
    """Of each wake-up: seconds from the gateway's socket to the handler, and from dialling to the menu."""
    with tempfile.TemporaryDirectory(prefix="richmond-bench-") as name:
        directory = Path(name)
        (directory / "sleeper.py").write_text(CODE)
        ini = directory / "richmond.ini"
        ini.write_text(INI.format(directory=directory))
        with processes.started(start_command(ini)) as process:
            wait(directory, lambda s: s.phase == "running" and not s.problems)
            found = [wake(directory, number) for number in range(times)]
        process.wait()
        return found


def wake(directory: Path, number: int) -> tuple[float, float]:
    wait(directory, lambda s: s.classes[0].target == 0 and not s.classes[0].slots)
    began = time.perf_counter()
    with Line(directory / "simulator.sock") as line:
        line.send(wire.Dial(msisdn=f"2783{number:07}", code="*120*663#"))
        while not isinstance(event := line.next(PATIENCE_S), wire.Menu):
            if event is None or isinstance(event, wire.Error):
                raise processes.Ended(f"no menu: {event}")
        return float(event.text), time.perf_counter() - began


def wait(directory: Path, condition) -> Snapshot:  # type: ignore[no-untyped-def]
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        snapshot = status(directory)
        if snapshot is not None and condition(snapshot):
            return snapshot
        time.sleep(0.02)
    raise processes.Ended(f"not within {PATIENCE_S:g} s; the last status: {status(directory)}")


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def main() -> None:
    p = argparse.ArgumentParser(prog="python -m bench.wake", description=__doc__)
    p.add_argument("--times", type=int, default=50)
    found = measure(p.parse_args().times)
    print(f"{len(found)} wake-ups, ms" + "".join(f"{f'p{mark}':>8}" for mark in MARKS))
    for title, values in (("socket to handler", [f[0] for f in found]), ("dialled to menu", [f[1] for f in found])):
        print(f"{title:18}" + "".join(f"{1000 * percentile(values, mark):8.0f}" for mark in MARKS))
    sys.exit(0)


if __name__ == "__main__":
    main()
