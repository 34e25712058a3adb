"""How many messages a second one worker echoes: consume, publish, acknowledge; all of them persistent.

    python bench/amqp_echo.py [--repeat 5] [--seconds 3] [--prefetch 200] [--port P --user U --password W --vhost V]

Each client gets a process of its own and a full queue, and is timed from its first message on. Without --port a
private RabbitMQ node is started for the run. Runs are interleaved: on a shared machine compare only within one run.

The prefetch bounds what is unconfirmed, and RabbitMQ confirms a persistent message of a queue without consumers only
after its next write to disk, some 20 ms later: with a prefetch of 200 that alone limits a worker to 10,000 a second.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

SOURCE, TARGET = "bench.amqp-echo.in", "bench.amqp-echo.out"
BODY = b'{"msisdn":"27831234567","ussd_type":"2","ussd_phase":"2","message":"1","session":"0123456789abcdef"}'
CLIENTS = {
    "richmond": "richmond, confirmed, acknowledged after the confirm",
    "pika": "pika, no confirms",
    "amqpstorm": "amqpstorm, no confirms",
    "amqpstorm-confirm": "amqpstorm, confirm_deliveries",
}
BASELINE = "amqpstorm"


class Clock:
    """Counts what is done, from the first message on, until the time is up."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.count = 0
        self.began = 0.0
        self.cpu = 0.0
        self.over = threading.Event()

    def begin(self) -> None:
        if not self.began:
            self.began = time.monotonic()
            self.cpu = cpu_s()

    def done(self) -> None:
        self.count += 1
        if time.monotonic() - self.began >= self.seconds:
            self.over.set()

    def result(self) -> dict[str, float]:
        return {
            "rate": self.count / (time.monotonic() - self.began),
            "cpu_ms": (cpu_s() - self.cpu) / self.count * 1e6,  # for 1,000 messages
        }


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def richmond_client(o: argparse.Namespace):
    from richmond.amqp.client import Client
    from richmond.amqp.topology import Queue, Topology
    from richmond.settings import AmqpSettings

    settings = AmqpSettings(
        host="127.0.0.1", port=o.port, username=o.user, password=o.password, vhost=o.vhost, exchange="",
        send_queue="", send_routing_key="", receive_queue="", receive_routing_key="", events_exchange="",
        dead_queue="", prefetch=o.prefetch, heartbeat_s=60, tls=False, tls_ca=None, tls_cert=None, tls_key=None,
        connect_timeout_s=10, reconnect_max_s=2,
    )  # fmt: skip
    names = Topology(
        (("bench.amqp-echo", "direct"),),
        (Queue(SOURCE, "bench.amqp-echo", "in"), Queue(TARGET, "bench.amqp-echo", "out")),
    )
    return Client(settings, name="bench", topology=names)


def echo_richmond(o: argparse.Namespace, clock: Clock) -> None:
    """The main thread handles, as in a worker's process."""
    client = richmond_client(o)
    inbox = queue.SimpleQueue()

    def confirmed(delivery, error):
        assert error is None
        client.ack(delivery)
        clock.done()

    client.consume(SOURCE, o.prefetch, inbox.put)
    client.start()
    while not clock.over.is_set():
        delivery = inbox.get()
        clock.begin()
        client.publish("bench.amqp-echo", "out", delivery.body, on_done=partial(confirmed, delivery))
        if inbox.empty():
            client.flush()
    report(clock)


def echo_amqpstorm(o: argparse.Namespace, clock: Clock, confirm: bool) -> None:
    import amqpstorm

    connection = amqpstorm.Connection("127.0.0.1", o.user, o.password, port=o.port, virtual_host=o.vhost)
    consumer, publisher = connection.channel(), connection.channel()
    consumer.basic.qos(o.prefetch)
    if confirm:
        publisher.confirm_deliveries()

    def on_message(message):
        clock.begin()
        publisher.basic.publish(message.body, "out", "bench.amqp-echo", properties={"delivery_mode": 2}, mandatory=True)
        message.ack()
        clock.done()
        if clock.over.is_set():
            report(clock)

    consumer.basic.consume(on_message, SOURCE)
    consumer.start_consuming()


def echo_pika(o: argparse.Namespace, clock: Clock) -> None:
    import pika

    credentials = pika.PlainCredentials(o.user, o.password)
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", o.port, o.vhost, credentials))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=o.prefetch)
    persistent = pika.BasicProperties(delivery_mode=2)

    def on_message(channel, method, properties, body):
        clock.begin()
        channel.basic_publish("bench.amqp-echo", "out", body, persistent, mandatory=True)
        channel.basic_ack(method.delivery_tag)
        clock.done()
        if clock.over.is_set():
            report(clock)

    channel.basic_consume(SOURCE, on_message)
    channel.start_consuming()


def report(clock: Clock) -> None:
    print(json.dumps(clock.result()), flush=True)
    # Not a clean end: what is in flight goes back to the queue, which the next run purges.
    os._exit(0)


def fill(o: argparse.Namespace, count: int) -> None:
    """Leave exactly `count` messages in the source and none in the target."""
    import amqpstorm

    client = richmond_client(o)
    client.start()
    assert client.wait_up(10), client.state
    with amqpstorm.Connection("127.0.0.1", o.user, o.password, port=o.port, virtual_host=o.vhost) as connection:
        channel = connection.channel()
        channel.queue.purge(SOURCE)
        channel.queue.purge(TARGET)
    for _ in range(count):
        client.publish("bench.amqp-echo", "in", BODY)
    client.close(120)
    assert not client.pending


def run(o: argparse.Namespace) -> None:
    results: dict[str, list[dict[str, float]]] = {name: [] for name in o.clients}
    for _ in range(o.repeat):
        for name in o.clients:
            fill(o, 200 if name == "amqpstorm-confirm" else int(o.seconds * o.most))
            command = [sys.executable, __file__, *o.node, "--worker", name, "--seconds", str(o.seconds)]
            command += ["--prefetch", str(o.prefetch)]
            out = subprocess.run(command, capture_output=True, text=True, timeout=60 + 10 * o.seconds)
            assert out.returncode == 0, out.stderr
            results[name].append(json.loads(out.stdout))
            print(f"{name:20} {results[name][-1]['rate']:8.0f} msg/s", file=sys.stderr)
    fill(o, 0)
    medians = {name: statistics.median(r["rate"] for r in found) for name, found in results.items()}
    print(f"One worker echoes persistent messages, prefetch {o.prefetch}, median of {o.repeat} interleaved runs\n")
    print(f"{'client':55} {'msg/s':>8} {'spread':>7} {'CPU ms/1000':>12} {'ratio':>7}")
    for name, found in results.items():
        rates = [r["rate"] for r in found]
        spread = (max(rates) - min(rates)) / medians[name]
        cpu = statistics.median(r["cpu_ms"] for r in found)
        ratio = f"{medians[name] / medians[BASELINE]:6.2f}x" if BASELINE in medians else ""
        print(f"{CLIENTS[name]:55} {medians[name]:8.0f} {spread:7.0%} {cpu:12.0f} {ratio:>7}")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--user", default="guest")
    p.add_argument("--password", default="guest")
    p.add_argument("--vhost", default="/")
    p.add_argument("--repeat", type=int, default=5)
    p.add_argument("--seconds", type=float, default=3)
    p.add_argument("--prefetch", type=int, default=200)
    p.add_argument("--most", type=int, default=40_000, help="messages a second that no client reaches")
    p.add_argument("--clients", type=lambda s: s.split(","), default=list(CLIENTS))
    p.add_argument("--worker", choices=CLIENTS, help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.worker:
        clock = Clock(o.seconds)
        if o.worker == "richmond":
            echo_richmond(o, clock)
        elif o.worker == "pika":
            echo_pika(o, clock)
        else:
            echo_amqpstorm(o, clock, o.worker == "amqpstorm-confirm")
        return
    if o.port:
        o.node = [f"--port={o.port}", f"--user={o.user}", f"--password={o.password}", f"--vhost={o.vhost}"]
        run(o)
        return
    from richmond.rabbitmq import PrivateNode

    with tempfile.TemporaryDirectory() as directory:
        node = PrivateNode(Path(directory))
        info = node.start(60)
        try:
            o.port, o.user, o.password, o.vhost = info.port, info.username, info.password, info.vhost
            o.node = [f"--port={o.port}", f"--user={o.user}", f"--password={o.password}", f"--vhost={o.vhost}"]
            run(o)
        finally:
            node.stop(30)


if __name__ == "__main__":
    main()
