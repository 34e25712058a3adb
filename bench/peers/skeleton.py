"""What the peers have in common: a broker that holds the gateway's socket, and echo workers behind two queues.

Written as a careful developer does it first: durable queues, persistent messages, acknowledged after the work, the
standard library's JSON. A peer adds its AMQP library, and the guarantee that it gives. Start one by hand:

    MQ_PASSWORD=... python -m bench.peers.pika --gateway PORT --port PORT --workers 2 [--confirm]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from bench.gateway import GOODBYE, GREETING

RECEIVE, SEND = "bench.receive", "bench.send"
PREFETCH = 200
LOGIN = b"SSMI,1,user,pass\r"


class Client(Protocol):
    """A connection to RabbitMQ; both calls block."""

    def publish(self, queue: str, body: bytes) -> None: ...

    def consume(self, queue: str, handle: Callable[[bytes], None]) -> None:
        """For ever; acknowledges a message when `handle` has returned."""


def options() -> argparse.Namespace:
    p = argparse.ArgumentParser()
    p.add_argument("--gateway", type=int, required=True, help="port of the gateway")
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=5672)
    p.add_argument("--username", default="guest")
    p.add_argument("--vhost", default="/")
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--confirm", action="store_true", help="wait until RabbitMQ has confirmed a message")
    p.add_argument("--worker", action="store_true", help="be a worker; without, be the broker and start the workers")
    o = p.parse_args()
    o.password = os.environ["MQ_PASSWORD"]
    return o


def to_json(line: bytes) -> bytes | None:
    """None: the line is no USSD message."""
    fields = line.decode("latin-1").split(",", 5)
    if fields[1] != "110":
        return None
    return json.dumps(dict(zip(("msisdn", "ussd_type", "ussd_phase", "message"), fields[2:], strict=True))).encode()


def to_line(body: bytes) -> bytes:
    return "SSMI,110,{msisdn},{ussd_type},{message}\r".format(**json.loads(body)).encode("latin-1")


def echo(body: bytes) -> bytes:
    data = json.loads(body)
    text, kind = data["message"], "2"
    if data["ussd_type"] == "1":
        text = GREETING.decode()
    elif text == "0":
        text, kind = GOODBYE.decode(), "3"
    return json.dumps({"msisdn": data["msisdn"], "message": text, "ussd_type": kind}).encode()


@contextmanager
def workers(count: int) -> Iterator[None]:
    """So many processes of this program, with --worker; they end when the block does, as on SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    module = sys.modules["__main__"].__spec__.name
    started = [subprocess.Popen([sys.executable, "-m", module, *sys.argv[1:], "--worker"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def work(client: Client) -> None:
    client.consume(RECEIVE, lambda body: client.publish(SEND, echo(body)))


def broker(gateway_port: int, inbound: Client, outbound: Client) -> None:
    """One thread for each direction."""
    gateway = socket.create_connection(("127.0.0.1", gateway_port))
    gateway.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    gateway.sendall(LOGIN)
    replies = threading.Thread(
        target=outbound.consume, args=(SEND, lambda body: gateway.sendall(to_line(body))), daemon=True
    )
    replies.start()
    rest = b""
    while data := gateway.recv(65536):
        *lines, rest = (rest + data).split(b"\r")
        for line in lines:
            if body := to_json(line):
                inbound.publish(RECEIVE, body)


def main(connect: Callable[[argparse.Namespace], Client]) -> None:
    """A peer with a blocking library."""
    o = options()
    if o.worker:
        work(connect(o))
        return
    inbound, outbound = connect(o), connect(o)
    with workers(o.workers):
        broker(o.gateway, inbound, outbound)
