"""The simulator's traces against the real thing: `python -m bench.scaling`.

A whole Richmond with a private RabbitMQ node, workers that sleep, and the messages of a trace at the moment when the
trace has them. The model gets the same messages and the same settings. Time is compressed and the load thinned, so
that a trace takes a minute and a half. Worker-seconds are those of processes seen from outside, waits those that
handlers saw.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import amqpstorm
import msgspec
import psutil

from bench import processes, scaling_chart
from bench.installation import start_command, status
from bench.wake import wait
from richmond import config
from richmond.rabbitmq import PrivateNode
from richmond.settings import AmqpSettings
from richmond.sim import traces, world
from richmond.sim.measure import Measured, measure
from richmond.sim.rule import Limits
from richmond.sim.rules.ours import Ours
from richmond.sim.traces import Load, Trace
from richmond.sim.world import Look, Run
from richmond.supervisor.policy import ScalingSpec

COMPRESSED = 10  # times as fast
THINNED = 20  # one message of so many; each takes as much longer, so that as many workers are busy
SPEC = ScalingSpec(min=1, max=16, drain_target_s=2.0, scale_down_s=8.0, interval_s=0.5)
NAMES = ("step", "ramp", "spikes")
TAIL_S = 5.0  # after the last message
LOOK_S = 0.1
BEGIN, END = "<!-- python -m bench.scaling writes from here -->", "<!-- to here -->"
INI = """
[richmond]
directory = {directory}
workers-path = {directory}
sample-interval = {spec.interval_s}
[amqp]
{amqp}
[worker:Sleeper]
class = sleeper.Sleeper
workers = {spec.min}
min = {spec.min}
max = {spec.max}
prefetch = 1
drain-target = {spec.drain_target_s}
scale-down = {spec.scale_down_s}
target-utilisation = {spec.target_utilisation}
"""
CODE = """
import os
import time

from richmond.workers.base import RichmondWorker


class Sleeper(RichmondWorker):
    def setup_worker(self):
        self.waits = os.open(os.path.join(os.path.dirname(__file__), "waits"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def consume(self, data):
        sent, seconds = map(float, data["message"].split())
        os.write(self.waits, f"{max(0.0, time.time() - sent):.6f}\\n".encode())
        time.sleep(seconds)
"""


def smaller(trace: Trace) -> Trace:
    loads = tuple(
        Load(
            tuple(at / COMPRESSED for at in load.arrivals[::THINNED]),
            tuple(seconds * THINNED / COMPRESSED for seconds in load.handler_s[::THINNED]),
        )
        for load in trace.loads
    )
    return replace(trace, seconds=trace.seconds / COMPRESSED + TAIL_S, loads=loads)


def model(trace: Trace) -> Run:
    limits = Limits(SPEC.min, SPEC.max, SPEC.max, SPEC.drain_target_s)
    return world.run(trace, Ours(SPEC, limits, 1), [SPEC.min])


def reality(trace: Trace, node: PrivateNode) -> Run:
    info = node.running()
    assert info is not None
    with tempfile.TemporaryDirectory(prefix="richmond-bench-") as name:
        directory = Path(name)
        (directory / "sleeper.py").write_text(CODE)
        ini = directory / "richmond.ini"
        amqp = "".join(f"{key} = {getattr(info, key)}\n" for key in ("host", "port", "username", "password", "vhost"))
        ini.write_text(INI.format(directory=directory, spec=SPEC, amqp=amqp))
        settings = config.load(ini, {}).amqp
        with processes.started(start_command(ini)):
            wait(directory, lambda s: s.phase == "running" and s.classes[0].running == SPEC.min)
            (slot,) = (s for s in status(directory).classes[0].slots)
            spawner = psutil.Process(slot.pid).parent()
            began = time.time()
            publisher = threading.Thread(target=publish, args=(trace, settings, began))
            publisher.start()
            looks = list(watch(trace, settings, spawner, began))
            publisher.join()
            log = (directory / "richmond.log").read_text()
        waits = tuple(map(float, (directory / "waits").read_text().split()))
        lost = len(trace.loads[0].arrivals) - len(waits)  # not begun yet at the end: they have waited until then
        waits += tuple(trace.seconds - at for at in trace.loads[0].arrivals[-lost:]) if lost else ()
        seconds = sum(look.workers for look in looks) * trace.seconds / len(looks)
        return Run((waits,), seconds, (tuple(changes(log, began)),), tuple(looks), (looks[-1].workers,))


def publish(trace: Trace, amqp: AmqpSettings, began: float) -> None:
    with connect(amqp) as connection:
        channel = connection.channel()
        for n, (at, seconds) in enumerate(zip(trace.loads[0].arrivals, trace.loads[0].handler_s, strict=True)):
            time.sleep(max(0.0, began + at - time.time()))
            body = {"msisdn": f"2783{n:07}", "ussd_type": "1", "ussd_phase": "2", "message": f"{time.time()} {seconds}"}
            channel.basic.publish(msgspec.json.encode(body).decode(), amqp.receive_routing_key, amqp.exchange)


def watch(trace: Trace, amqp: AmqpSettings, spawner: psutil.Process, began: float) -> Iterator[Look]:
    arrivals = trace.loads[0].arrivals
    with connect(amqp) as connection:
        channel = connection.channel()
        while (now := time.time() - began) < trace.seconds:
            depth = channel.queue.declare(amqp.receive_queue, passive=True)["message_count"]
            yield Look(now, sum(at <= now for at in arrivals), depth, len(spawner.children()))
            time.sleep(max(0.0, LOOK_S - (time.time() - began - now)))


def connect(amqp: AmqpSettings) -> amqpstorm.Connection:
    return amqpstorm.Connection(amqp.host, amqp.username, amqp.password, port=amqp.port, virtual_host=amqp.vhost)


def changes(log: str, began: float) -> Iterator[tuple[float, int]]:
    for at, count in re.findall(r"^(\S+ \S+) .* Sleeper: \d+ -> (\d+) workers", log, re.MULTILINE):
        yield time.mktime(time.strptime(at[:19], "%Y-%m-%d %H:%M:%S")) + float(at[19:]) - began, int(count)


def table(found: dict[str, tuple[Run, Run]]) -> Iterator[str]:
    yield "| trace | | messages | mean wait s | p95 | p99 | worker-seconds | changes | reversals |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, runs in found.items():
        for kind, run in zip(("model", "reality"), runs, strict=True):
            m: Measured = measure(run)
            yield (
                f"| {name} | {kind} | {m.messages:,} | {m.wait_mean:.3f} | {m.wait_p95:.2f} | {m.wait_p99:.2f} | "
                f"{m.worker_seconds:.0f} | {m.actions} | {m.reversals} |"
            )


def write(found: dict[str, tuple[Run, Run]], page: Path) -> None:
    """Into the page, between the marks; and the picture beside it."""
    picture = page.with_name("scaling-reality.svg")
    picture.write_text(scaling_chart.draw(found))
    text = "\n".join((BEGIN, "", *table(found), "", f"![Model and reality]({picture.name})", "", END))
    old = page.read_text()
    before, _, rest = old.partition(BEGIN)
    page.write_text(before + text + rest.partition(END)[2])


def main() -> None:
    p = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    p.add_argument("--trace", action="append", choices=NAMES, help=f"again for more: {', '.join(NAMES)}")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--page", type=Path, metavar="FILE.md", help="put table and picture there, between their marks")
    o = p.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(prefix="richmond-bench-") as directory:
        node = PrivateNode(Path(directory))
        try:
            node.start(60)
            for name in o.trace or NAMES:
                trace = smaller(traces.builtin(name, o.seed))
                found[name] = model(trace), reality(trace, node)
        finally:
            node.stop(20)
    print("\n".join(table(found)))
    if o.page:
        write(found, o.page)


if __name__ == "__main__":
    main()
