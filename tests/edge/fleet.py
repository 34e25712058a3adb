"""What the tests of spawner and workers share: a real spawner in a host process, and the queues as others see them."""

import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import msgspec
import pika
import psutil

from richmond.scoreboard import Scoreboard
from richmond.settings import AmqpSettings, WorkerSettings
from richmond.supervisor import jobs

HERE = Path(__file__).parent
ROWS = 32
DEADLINE_S = 30.0


def wait_until(condition, what, timeout_s=DEADLINE_S):
    """For what has no event to wait for: the state of processes seen from outside."""
    ends = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < ends, f"not within {timeout_s} s: {what}"
        time.sleep(0.005)
    return result


def gone(pid):
    """Ended, and reaped by its parent."""
    return not psutil.pid_exists(pid)


def is_running(pid):
    """Neither gone nor a zombie: nobody reaps orphans in some containers."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def make_job(slot="EchoWorker:0", *, class_path="richmond.workers.ussd.EchoWorker", amqp, row=0, path=HERE, **worker):
    orphan_timeout_s = worker.pop("orphan_timeout_s", 5.0)
    settings = WorkerSettings(
        **{
            "name": slot.partition(":")[0],
            "class_path": class_path,
            "workers": 1,
            "min": 1,
            "max": 8,
            "codes": (),
            "queue": amqp.receive_queue,
            "routing_key": amqp.receive_routing_key,
            "prefetch": 10,
            "start_timeout_s": 30.0,
            "start_retries": 5,
            "stable_s": 60.0,
            "stop_timeout_s": 15.0,
            "apology": "Sorry, try again.",
            "drain_target_s": 5.0,
            **worker,
        }
    )
    return jobs.WorkerJob(
        slot=slot,
        generation=1,
        row=row,
        worker=settings,
        amqp=amqp,
        workers_path=path,
        orphan_timeout_s=orphan_timeout_s,
        log_level="info",
    )


def make_amqp(port, username="richmond", password="", vhost="/"):
    """Names of its own, so that tests on one node do not meet."""
    mark = uuid.uuid4().hex[:8]
    return AmqpSettings(
        host="127.0.0.1",
        port=port,
        username=username,
        password=password,
        vhost=vhost,
        exchange=f"richmond-{mark}",
        send_queue=f"richmond.send-{mark}",
        send_routing_key="ssmi.send",
        receive_queue=f"richmond.receive-{mark}",
        receive_routing_key="ssmi.receive",
        events_exchange=f"richmond.events-{mark}",
        dead_queue=f"richmond.dead-{mark}",
        prefetch=64,
        heartbeat_s=30,
        tls=False,
        tls_ca=None,
        tls_cert=None,
        tls_key=None,
        connect_timeout_s=10.0,
        reconnect_max_s=1.0,
    )


class Fleet:
    """A host process with its spawner, and the events that come from it."""

    def __init__(self, gevent=False):
        self.board = Scoreboard.create(ROWS)
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(DEADLINE_S)
        fds = (theirs.fileno(), self.board.fd)
        command = [
            sys.executable,
            str(HERE / "fleet_host.py"),
            *map(str, fds),
            str(ROWS),
            *(["gevent"] if gevent else []),
        ]
        with theirs:
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
            self.process = subprocess.Popen(command, pass_fds=fds, start_new_session=True, env=environment)
        self.seen = []
        self.unexpected = []
        self.pids = set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
        self.board.close()
        for pid in self.pids:
            wait_until(lambda pid=pid: not is_running(pid), f"the end of {pid}")

    @property
    def spawner_pid(self):
        def find():
            children = psutil.Process(self.process.pid).children()
            return next((c.pid for c in children if c.cmdline()[:1] == ["richmond: spawner"]), None)

        pid = wait_until(find, "a spawner")
        self.pids.add(pid)
        return pid

    def spawn(self, *orders):
        for job in orders:
            self.channel.send(jobs.encode(jobs.Spawn(job)))

    def kill(self, slot, pid, number):
        self.channel.send(jobs.encode(jobs.Kill(slot, pid, number)))

    def start_spawner(self):
        self.channel.send(b"start")

    def expect(self, kind, **fields):
        """The first event of this kind and these values that was not expected before."""
        while True:
            for event in self.unexpected:
                if isinstance(event, kind) and all(getattr(event, k) == v for k, v in fields.items()):
                    self.unexpected.remove(event)
                    return event
            event = jobs.decode_event(self.channel.recv(jobs.MAX_PACKET_BYTES))
            if isinstance(event, jobs.Forked):
                self.pids.add(event.pid)
            self.seen.append(event)
            self.unexpected.append(event)

    def run(self, *orders):
        """Spawn and await Ready; returns the pids."""
        self.spawn(*orders)
        ready = {}
        while len(ready) < len(orders):
            event = self.expect(jobs.Ready)
            ready[event.slot] = event.pid
        return [ready[job.slot] for job in orders]


class Queues:
    """The queues of one AmqpSettings, by a client that is not ours."""

    def __init__(self, amqp):
        self.amqp = amqp
        self.connection = pika.BlockingConnection(
            pika.ConnectionParameters(
                amqp.host, amqp.port, amqp.vhost, pika.PlainCredentials(amqp.username, amqp.password), heartbeat=0
            )
        )
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.channel.exchange_declare(amqp.exchange, "direct", durable=True)
        for queue, key in (
            (amqp.receive_queue, amqp.receive_routing_key),
            (amqp.send_queue, amqp.send_routing_key),
            (amqp.dead_queue, "ssmi.dead"),
        ):
            self.channel.queue_declare(queue, durable=True)
            self.channel.queue_bind(queue, amqp.exchange, key)

    def close(self):
        for queue in (self.amqp.receive_queue, self.amqp.send_queue, self.amqp.dead_queue):
            self.channel.queue_delete(queue)
        for exchange in (self.amqp.exchange, self.amqp.events_exchange):
            self.channel.exchange_delete(exchange)
        self.connection.close()

    def put(self, body=None, **data):
        if body is None:
            body = msgspec.json.encode(
                {"msisdn": "27831112222", "ussd_type": "1", "ussd_phase": "2", "message": "*1#", **data}
            )
        self.channel.basic_publish(
            self.amqp.exchange,
            self.amqp.receive_routing_key,
            body,
            pika.BasicProperties(delivery_mode=2),
            mandatory=True,
        )

    def take(self, count, queue=None):
        """So many messages, acknowledged: a list of (properties, body)."""
        taken = []
        if count:
            for method, properties, body in self.channel.consume(
                queue or self.amqp.send_queue, inactivity_timeout=DEADLINE_S
            ):
                assert method is not None, f"{len(taken)} of {count} messages within {DEADLINE_S} s"
                self.channel.basic_ack(method.delivery_tag)
                taken.append((properties, body))
                if len(taken) == count:
                    break
            self.channel.cancel()
        return taken

    def replies(self, count):
        """Without the class that wrote them, which each names."""
        found = [msgspec.json.decode(body) for _, body in self.take(count)]
        assert all(reply.pop("worker") for reply in found)
        return found

    def dead(self, count):
        return self.take(count, self.amqp.dead_queue)

    def depth(self, queue=None):
        return self.channel.queue_declare(queue or self.amqp.receive_queue, passive=True).method.message_count
