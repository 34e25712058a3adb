"""Measures a whole Richmond on this machine: `make bench`, or `python -m bench [--seconds S] [--repeat N] [--idle S]`.

Start to ready, scaling from 1 to 8 workers, memory of an idle worker, CPU of an idle installation, and echo messages
a second from the gateway's socket and back, interleaved with a plain gevent and amqpstorm pipeline on the same
RabbitMQ. Machines differ and are noisy: compare ratios of one run.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.gateway import Gateway, Result
from richmond.errors import RichmondError
from richmond.rabbitmq import NodeInfo, PrivateNode
from richmond.supervisor import protocol
from richmond.supervisor.control import call
from richmond.supervisor.status import Snapshot, from_dict

ROOT = Path(__file__).parent.parent

INI = """
[richmond]
directory = {directory}
socket = {directory}/richmond.sock
[ssmi]
host = {gateway_host}
port = {gateway_port}
username = user
password = pass
[amqp]
host = {host}
port = {port}
username = {username}
password = {password}
vhost = {vhost}
[worker:EchoWorker]
workers = {workers}
min = {workers}
max = 8
"""


class Installation:
    """`richmond start` on a node that is there already, or with a private one of its own (`node` None)."""

    def __init__(self, directory: Path, workers: int, node: NodeInfo | None = None, gateway_port: int = 0) -> None:
        self._socket = directory / "richmond.sock"
        ini = directory / "richmond.ini"
        ini.write_text(
            INI.format(
                directory=directory,
                gateway_host="127.0.0.1" if gateway_port else "",
                gateway_port=gateway_port or 50008,
                host=node.host if node else "",
                port=node.port if node else 5672,
                username=node.username if node else "",
                password=node.password if node else "",
                vhost=node.vhost if node else "/richmond",
                workers=workers,
            )
        )
        self.command = [sys.executable, "-m", "richmond"]
        self.ini = ini
        self.started = time.perf_counter()
        self._process = subprocess.Popen([*self.command, "start", "-c", str(ini)], stdout=subprocess.DEVNULL, cwd=ROOT)

    def wait(self, workers: int) -> float:
        """Seconds from the start until so many workers run and consume and the links are up."""
        while True:
            snapshot = self.status()
            if snapshot is not None and snapshot.phase == "running" and not snapshot.problems:
                running = sum(c.running for c in snapshot.classes)
                consuming = sum(q.consumers or 0 for q in snapshot.queues[: len(snapshot.classes)])
                if running == consuming == workers:
                    return time.perf_counter() - self.started
            assert self._process.poll() is None, "richmond ended"
            time.sleep(0.005)

    def status(self) -> Snapshot | None:
        try:
            return from_dict(call(self._socket, protocol.GetStatus(), 10)["status"])
        except RichmondError:
            return None

    def scale(self, count: int) -> float:
        """Seconds until `count` run and consume, the command's own start included."""
        begin = time.perf_counter()
        command = [*self.command, "scale", "-c", str(self.ini), "--wait", "EchoWorker", str(count)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        return time.perf_counter() - begin

    def processes(self) -> list[psutil.Process]:
        """Master, spawner and workers; not the private node."""
        master = psutil.Process(self._process.pid)
        spawner = [p for p in master.children() if "richmond.supervisor.spawner" in " ".join(p.cmdline())]
        return [master, *spawner, *self.workers()]

    def workers(self) -> list[psutil.Process]:
        snapshot = self.status()
        assert snapshot is not None
        return [psutil.Process(s.pid) for c in snapshot.classes for s in c.slots if s.pid is not None]

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)


def cpu_s(processes: list[psutil.Process]) -> float:
    """CPU seconds of all threads, from the scheduler's nanoseconds."""
    total = 0
    for process in processes:
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def start_and_idle(idle_s: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        installation = Installation(Path(name), workers=1)
        print(f"start to ready, private RabbitMQ node included   {installation.wait(1):6.2f} s")
        print(f"scale 1 -> 8, all consuming, command included    {installation.scale(8):6.2f} s")
        time.sleep(2)
        uss = [p.memory_full_info().uss / 2**20 for p in installation.workers()]
        print(f"memory of an idle worker (USS), median of 8      {statistics.median(uss):6.1f} MB, most {max(uss):.1f}")
        processes = installation.processes()
        before, begin = cpu_s(processes), time.perf_counter()
        time.sleep(idle_s)
        percent = 100 * (cpu_s(processes) - before) / (time.perf_counter() - begin)
        print(f"CPU idle, 8 workers, {idle_s:.0f} s, RabbitMQ apart       {percent:6.2f} % of a core")
        installation.stop()


def richmond_run(node: NodeInfo, workers: int, sessions: int, seconds: float) -> Result:
    with tempfile.TemporaryDirectory() as name:
        gateway = Gateway()
        installation = Installation(Path(name), workers, node, gateway.port)
        gateway.accept()
        installation.wait(workers)
        gateway.probe()
        result = gateway.closed(sessions, seconds)
        installation.stop()
        gateway.close()
        return result


def plain_run(node: NodeInfo, workers: int, sessions: int, seconds: float) -> Result:
    gateway = Gateway()
    where = [str(gateway.port), node.host, str(node.port), node.username, node.vhost, str(workers)]
    environ = {**os.environ, "MQ_PASSWORD": node.password}
    process = subprocess.Popen([sys.executable, "-m", "bench.plain", *where], cwd=ROOT, env=environ)
    gateway.accept()
    gateway.probe()
    result = gateway.closed(sessions, seconds)
    process.terminate()
    process.wait(30)
    gateway.close()
    return result


def throughput(seconds: float, repeat: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        private = PrivateNode(Path(name))
        node = private.start(60)
        try:
            for sessions in (64, 512):
                runs: dict[str, list[Result]] = {"richmond": [], "plain": []}
                for _ in range(repeat):
                    runs["richmond"].append(richmond_run(node, 2, sessions, seconds))
                    runs["plain"].append(plain_run(node, 2, sessions, seconds))
                rates = {who: statistics.median(r.rate for r in results) for who, results in runs.items()}
                for who, results in runs.items():
                    p50 = statistics.median(r.percentile(0.5) for r in results)
                    p99 = statistics.median(r.percentile(0.99) for r in results)
                    lost = sum(r.lost for r in results)
                    wrong = sum(r.wrong for r in results)
                    print(
                        f"echo, {sessions:3} sessions, 2 workers, {who:<9} {rates[who]:8.0f} messages/s"
                        f"  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  lost {lost}  wrong {wrong}"
                        f"  x {rates[who] / rates['plain']:.2f} of plain"
                    )
        finally:
            private.stop(20)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="of each throughput run")
    parser.add_argument("--repeat", type=int, default=3, help="throughput runs of each kind, interleaved")
    parser.add_argument("--idle", type=float, default=60, help="seconds of idleness to watch")
    o = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    start_and_idle(o.idle)
    throughput(o.seconds, o.repeat)


if __name__ == "__main__":
    main()
