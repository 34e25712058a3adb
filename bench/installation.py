"""A Richmond as users run it: `richmond start` with an ini. And what it takes to start and to keep it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench import processes
from richmond.errors import RichmondError
from richmond.rabbitmq import NodeInfo
from richmond.supervisor import protocol
from richmond.supervisor.control import call
from richmond.supervisor.status import Snapshot, from_dict

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
max = {max_workers}
"""
SETTLE_S = 2


def write_ini(
    directory: Path, workers: int, node: NodeInfo | None = None, gateway_port: int = 0, max_workers: int = 0
) -> Path:
    """`node` None: a private one. `gateway_port` 0: the simulator. `max_workers` 0: as `workers`."""
    path = directory / "richmond.ini"
    text = INI.format(
        directory=directory,
        gateway_host="127.0.0.1" if gateway_port else "",
        gateway_port=gateway_port or 50008,
        host=node.host if node else "",
        port=node.port if node else 5672,
        username=node.username if node else "",
        password=node.password if node else "",
        vhost=node.vhost if node else "/richmond",
        workers=workers,
        max_workers=max_workers or workers,
    )
    path.write_text(text)
    return path


def start_command(ini: Path) -> list[str]:
    return [sys.executable, "-m", "richmond", "start", "-c", str(ini)]


def measure(idle_s: float) -> dict[str, float]:
    """From nothing to one worker, from one to eight, and then doing nothing for `idle_s`; RabbitMQ is a private one."""
    with tempfile.TemporaryDirectory(prefix="richmond-bench-") as name:
        ini = write_ini(Path(name), workers=1, max_workers=8)
        begin = time.perf_counter()
        with processes.started(start_command(ini)) as process:
            _wait_ready(Path(name), process, 1)
            ready_s = time.perf_counter() - begin
            begin = time.perf_counter()
            scale = [sys.executable, "-m", "richmond", "scale", "-c", str(ini), "--wait", "EchoWorker", "8"]
            subprocess.run(scale, check=True, stdout=subprocess.DEVNULL, cwd=processes.ROOT)
            scale_s = time.perf_counter() - begin
            time.sleep(SETTLE_S)
            master = psutil.Process(process.pid)
            workers = _workers(Path(name))
            uss = sorted(processes.uss_mb(p) for p in workers)
            group = [master, workers[0].parent(), *workers]  # the spawner forked them; not the private node
            before, begin = processes.cpu_s(group), time.perf_counter()
            time.sleep(idle_s)
            idle = (processes.cpu_s(group) - before) / (time.perf_counter() - begin)
            return {
                "start_to_ready_s": ready_s,
                "scale_1_to_8_s": scale_s,
                "worker_uss_mb": statistics.median(uss),
                "worker_uss_most_mb": uss[-1],
                "master_uss_mb": processes.uss_mb(master),
                "idle_s": idle_s,
                "idle_cpu_percent": 100 * idle,
            }


def _wait_ready(directory: Path, process: subprocess.Popen[bytes], workers: int) -> None:
    """Until so many workers run and consume, and the links are up."""
    while True:
        snapshot = status(directory)
        if snapshot is not None and snapshot.phase == "running" and not snapshot.problems:
            running = sum(c.running for c in snapshot.classes)
            consuming = sum(q.consumers or 0 for q in snapshot.queues[: len(snapshot.classes)])
            if running == consuming == workers:
                return
        if process.poll() is not None:
            raise processes.Ended(f"richmond ended with status {process.returncode}")
        time.sleep(0.005)


def _workers(directory: Path) -> list[psutil.Process]:
    snapshot = status(directory)
    if snapshot is None:
        raise processes.Ended("richmond does not answer")
    return [psutil.Process(s.pid) for c in snapshot.classes for s in c.slots if s.pid is not None]


def status(directory: Path) -> Snapshot | None:
    try:
        answer: dict[str, Any] = call(directory / "richmond.sock", protocol.GetStatus(), 10)
        return from_dict(answer["status"])
    except RichmondError:
        return None
