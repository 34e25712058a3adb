"""What would fail at the start, tried beforehand: importing the worker classes, and reaching gateways and RabbitMQ."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from richmond.amqp.client import Client, LinkState
from richmond.amqp.topology import Topology
from richmond.settings import AmqpSettings, Settings, SsmiSettings, WorkerSettings

CONNECT_TIMEOUT_S = 5.0

# In a child, so that nothing of a site's module gets into this process. It ends without handlers and threads of its.
_IMPORT = """
import os, sys, traceback
from pathlib import Path
from richmond.workers.loading import load
try:
    load(sys.argv[1], Path(sys.argv[2]))
except BaseException:
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(3)
os._exit(0)
"""
_PLACE = re.compile(r'^ *File "([^<"][^"]*)", line (\d+)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reached:
    """`text`: who answers, or what is wrong."""

    ok: bool
    text: str


def import_problems(settings: Settings) -> list[str]:
    """One line for each worker class that cannot be imported, as its workers would; in the order of the ini.

    One with `max = 0` is not: its queue is for a program that is none of ours.
    """
    ours = [worker for worker in settings.workers if worker.max]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda worker: _import(settings, worker), ours)
        return [problem for problem in found if problem]


def reach(settings: Settings) -> Iterator[Reached]:
    """Try every server that the ini names. No login at a gateway: it would push out the client that is logged in."""
    for account in settings.accounts:
        simulated = settings.simulator.enabled and account is settings.accounts[0]
        if settings.richmond.broker and account.host and not simulated:
            yield _gateway(account)
    if not settings.rabbitmq.private:
        yield _rabbitmq(settings.amqp)


def _import(settings: Settings, worker: WorkerSettings) -> str:
    file = worker.environment_file
    environ = {**os.environ, **(file.variables if file is not None else {}), **worker.environment}
    where = f"{settings.path}, [worker:{worker.name}] class: {worker.class_path}"
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", _IMPORT, worker.class_path, str(settings.richmond.workers_path)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
        env=environ, start_new_session=True,
    )  # fmt: skip
    try:
        _, said = child.communicate(timeout=worker.start_timeout_s)
    except subprocess.TimeoutExpired:
        said = None
    finally:
        with contextlib.suppress(ProcessLookupError):  # what it may have started, too
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if said is None:
        return f"{where} is not imported within start-timeout = {worker.start_timeout_s:g}"
    if child.returncode == 0:
        return ""
    if child.returncode < 0:
        return f"{where} cannot be imported: {signal.Signals(-child.returncode).name} ends its process"
    line = (said.strip() or f"it exits with code {child.returncode}").rsplit("\n", 1)[-1]
    places = [place for place in _PLACE.findall(said) if not place[0].endswith("richmond/workers/loading.py")]
    at = f" ({places[-1][0]}, line {places[-1][1]})" if places else ""
    return f"{where} cannot be imported: {line}{at}"


def _gateway(account: SsmiSettings) -> Reached:
    where = f"[{account.section}] {account.host}:{account.port}"
    try:
        with socket.create_connection((account.host, account.port), CONNECT_TIMEOUT_S):
            return Reached(True, f"{where} answers; not logged in")
    except socket.gaierror as e:
        return Reached(False, f"{where}: the host name cannot be resolved ({e.strerror}); check host")
    except TimeoutError:
        return Reached(False, f"{where} does not answer within {CONNECT_TIMEOUT_S:g} s: is a firewall in the way?")
    except OSError as e:
        return Reached(False, f"{where}: {e.strerror}; check host and port")


def _rabbitmq(amqp: AmqpSettings) -> Reached:
    logging.getLogger("richmond").addHandler(logging.NullHandler())  # what there is to say is said here
    states: queue.SimpleQueue[LinkState] = queue.SimpleQueue()
    client = Client(amqp, name="richmond check", topology=Topology((), ()), on_state=states.put)
    client.start()
    try:
        while True:
            state = states.get(timeout=amqp.connect_timeout_s + CONNECT_TIMEOUT_S)
            if state.name in ("up", "blocked"):
                return Reached(True, f"[amqp] {amqp.host}:{amqp.port} lets {amqp.username} in to {amqp.vhost}")
            if state.name in ("down", "refused"):
                return Reached(False, f"[amqp] {state.error}")
    except queue.Empty:
        return Reached(False, f"[amqp] {amqp.host}:{amqp.port} does not answer")
    finally:
        client.close(CONNECT_TIMEOUT_S)
