"""Measures the broker alone, one direction at a time: `python -m bench.broker`.

In: a gateway that sends as fast as the broker reads, until every message waits confirmed in RabbitMQ. Out: as many
replies that wait in RabbitMQ, from the login until the gateway has the last one. Beside it, in the same run, what the
codec alone does with the same lines: it must not be what bounds the broker.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from richmond import messages
from richmond.amqp.client import Client
from richmond.amqp.topology import topology
from richmond.config import load
from richmond.rabbitmq import PrivateNode
from richmond.ssmi.codec import EventDecoder, SendUssd, Ussd, encode

ENCODING = "iso-8859-1"
INI = """
[richmond]
directory = var
[ssmi]
host = 127.0.0.1
port = {gateway}
username = user
password = pass
[amqp]
host = 127.0.0.1
port = {rabbitmq}
username = {username}
password = {password}
vhost = {vhost}
[worker:EchoWorker]
"""
DEADLINE_S = 120.0
_READ_BYTES = 1 << 20


class Broker:
    """`richmond broker` and the gateway that it dials. It is logged in when `admit` says so."""

    def __init__(self, directory: Path, node: PrivateNode) -> None:
        info = node.start(60)
        self._listener = socket.create_server(("127.0.0.1", 0))
        ini = directory / "richmond.ini"
        ini.write_text(
            INI.format(
                gateway=self._listener.getsockname()[1],
                rabbitmq=info.port,
                username=info.username,
                password=info.password,
                vhost=info.vhost,
            )
        )
        self.settings = load(ini, {})
        command = [sys.executable, "-m", "richmond", "broker", "-c", str(ini)]
        with (directory / "broker.log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.link, _ = self._listener.accept()
        self.link.recv(_READ_BYTES)  # the login

    def admit(self) -> None:
        self.link.sendall(b"SSMI,101,1\r")

    def close(self) -> None:
        self.process.terminate()
        self.link.close()
        self._listener.close()
        self.process.wait(DEADLINE_S)


def run(count: int) -> dict[str, float]:
    """Messages a second in and out, and what the codec alone parses and builds."""
    lines = b"".join(encode(Ussd(f"2783{n:07}", "1", "0", "*120*663#"), ENCODING) for n in range(count))
    replies = [SendUssd(f"2783{n:07}", "6", "Welcome to the canteen.\n1. Bunny chow\n2. Gatsby") for n in range(count)]
    found = {"parse": _timed(count, lambda: EventDecoder(ENCODING, 65536).feed(lines))}
    found["build"] = _timed(count, lambda: [encode(reply, ENCODING) for reply in replies])
    with tempfile.TemporaryDirectory(prefix="richmond-bench-") as place:
        directory = Path(place)
        node = PrivateNode(directory / "node")
        broker = client = None
        try:
            broker = Broker(directory, node)
            amqp = broker.settings.amqp
            client = Client(amqp, name="bench", topology=topology(amqp, broker.settings.workers))
            client.start()
            assert client.wait_up(DEADLINE_S), client.state
            for reply in replies:
                body = messages.encode({"msisdn": reply.msisdn, "message": reply.message, "ussd_type": reply.ussd_type})
                client.publish(amqp.exchange, amqp.send_routing_key, body)
            _wait(lambda: client.pending == 0)
            found["out"] = _timed(count, lambda: _take(broker, count))
            found["in"] = _timed(count, lambda: _give(broker, client, lines, count))
        finally:
            if client is not None:
                client.close(1.0)
            if broker is not None:
                broker.close()
            node.stop(30)
    return found


def _take(broker: Broker, count: int) -> None:
    broker.admit()
    left = count
    while left > 0:
        data = broker.link.recv(_READ_BYTES)
        assert data, "the broker has hung up"
        left -= data.count(b"SSMI,110")


def _give(broker: Broker, client: Client, lines: bytes, count: int) -> None:
    broker.link.sendall(lines)
    queue = broker.settings.amqp.receive_queue
    _wait(lambda: client.depths([queue])[queue][0] == count)


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.005)


def _timed(count: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.broker", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="messages in each direction")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="all runs, as one JSON object")
    arguments = parser.parse_args()
    runs = [run(arguments.count) for _ in range(arguments.repeat)]
    if arguments.json:
        print(json.dumps(runs))
        return
    table = Table("", "messages/s", "codec alone", "codec's share", box=None, header_style="bold")
    for way, codec in (("in", "parse"), ("out", "build")):
        own, alone = (statistics.median(found[name] for found in runs) for name in (way, codec))
        table.add_row(way, f"{own:,.0f}", f"{alone:,.0f}", f"{own / alone:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
