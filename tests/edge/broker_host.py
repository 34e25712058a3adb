"""A broker in a process of its own, the gateway that it talks to, and RabbitMQ seen by another client, for tests.

The gateway is a listening socket that the test plays by hand, and RabbitMQ is read with pika: neither knows anything of
Richmond's own code.
"""

import base64
import contextlib
import json
import pickle
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pika

from richmond.settings import (
    AmqpSettings,
    RabbitmqSettings,
    RichmondSettings,
    Settings,
    SimulatorSettings,
    SsmiSettings,
    WorkerSettings,
)

DEADLINE_S = 30.0

PROGRAM = """
from gevent import monkey
monkey.patch_all(sys=False)
import base64, json, pickle, sys
from pathlib import Path
import msgspec
from gevent.fileobject import FileObjectThread
from richmond import log
from richmond.broker import Broker

log.setup(Path(sys.argv[1]), "debug", False, process="broker")
commands = FileObjectThread(sys.stdin.buffer, "rb")
broker = Broker(pickle.loads(base64.b64decode(commands.readline())))
broker.start()
for line in commands:
    name, *arguments = json.loads(line)
    if name == "reconfigure":
        arguments = [pickle.loads(base64.b64decode(arguments[0]))]
    answer = getattr(broker, name)(*arguments)
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\\n")
    sys.stdout.buffer.flush()
"""


def make_account(port, **ssmi):
    return SsmiSettings(
        **{
            "host": "127.0.0.1",
            "port": port,
            "username": "user",
            "password": "pa,ss",
            "encoding": "iso-8859-1",
            "login_timeout_s": 5.0,
            "link_check_interval_s": 60.0,
            "max_line_bytes": 65536,
            "reconnect_min_s": 0.1,
            "reconnect_max_s": 1.0,
            "auth_backoff_s": 60.0,
            "remote_logout_backoff_s": 60.0,
            "on_remote_logout": "backoff",
            "session_timeout_s": 120.0,
            "apology": "Sorry, try later",
            "buffer": 100,
            **ssmi,
        }
    )


def make_settings(
    directory, *, gateway_port, amqp, workers=(), more=(), journal_max_bytes=1 << 30, trace=False, **ssmi
):
    """`more`: accounts besides the first, whose settings `ssmi` are."""
    return Settings(
        path=Path(directory) / "richmond.ini",
        richmond=RichmondSettings(
            directory=Path(directory),
            workers_path=Path(directory),
            log=None,
            log_level="debug",
            log_messages=False,
            pid_file=Path(directory) / "pid",
            socket=Path(directory) / "socket",
            max_workers=8,
            stop_timeout_s=10.0,
            orphan_timeout_s=5.0,
            sample_interval_s=2.0,
            broker=True,
            journal_max_bytes=journal_max_bytes,
            trace=trace,
        ),
        accounts=(make_account(gateway_port, **ssmi), *more),
        amqp=amqp,
        rabbitmq=RabbitmqSettings(private=False, port=0, start_timeout_s=30.0),
        simulator=SimulatorSettings(False, 0, Path(directory) / "sim", "user", "pass", 20.0, False),
        workers=tuple(workers),
    )


def make_amqp(node, **changes):
    """Names of this test's own: all tests of a process share one node."""
    own = uuid.uuid4().hex[:8]
    return AmqpSettings(
        **{
            "host": node.host,
            "port": node.port,
            "username": node.username,
            "password": node.password,
            "vhost": node.vhost,
            "exchange": f"richmond.{own}",
            "send_queue": f"send.{own}",
            "send_routing_key": "ssmi.send",
            "receive_queue": f"receive.{own}",
            "receive_routing_key": "ssmi.receive",
            "events_exchange": f"events.{own}",
            "dead_queue": f"dead.{own}",
            "prefetch": 100,
            "heartbeat_s": 10,
            "tls": False,
            "tls_ca": None,
            "tls_cert": None,
            "tls_key": None,
            "connect_timeout_s": 5.0,
            "reconnect_max_s": 0.5,
            **changes,
        }
    )


def make_worker(name, queue, *codes):
    return WorkerSettings(
        name=name,
        class_path=f"site.{name}",
        workers=1,
        min=1,
        max=1,
        codes=codes,
        queue=queue,
        routing_key=f"ssmi.receive.{name}" if codes else "ssmi.receive",
        prefetch=8,
        start_timeout_s=30.0,
        start_retries=5,
        stable_s=60.0,
        stop_timeout_s=10.0,
        apology="",
        drain_target_s=5.0,
        environment={},
        options={},
    )


def wait_until(claim, what):
    deadline = time.monotonic() + DEADLINE_S
    while True:
        result = claim()
        if result:
            return result
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


class BrokerHost:
    def __init__(self, directory, settings):
        self.log = Path(directory) / "broker.log"
        self.settings = settings
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, str(self.log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.process.stdin.write(base64.b64encode(pickle.dumps(settings)) + b"\n")
        self.process.stdin.flush()

    def call(self, name, *arguments):
        self.send(name, *arguments)
        return self.answer()

    def send(self, name, *arguments):
        """`call`, to be followed by `answer`."""
        arguments = [base64.b64encode(pickle.dumps(a)).decode() if isinstance(a, Settings) else a for a in arguments]
        self.process.stdin.write(json.dumps([name, *arguments]).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self):
        answer = self.process.stdout.readline()
        assert answer, self.process.communicate()[1].decode()
        return json.loads(answer)

    def reconfigure(self, settings):
        self.settings = settings
        self.call("reconfigure", settings)

    def status(self):
        return self.call("status")

    def counter(self, name):
        return self.status()["counters"].get(name, 0)

    def wait_for(self, *, link=None, amqp=None, **counters):
        """Until status says so; counters are named with _ for - and __ for :."""
        wanted = {name.replace("__", ":").replace("_", "-"): count for name, count in counters.items()}

        def claim():
            status = self.status()
            return (
                link in (None, status["accounts"][0]["link"]["state"])
                and amqp in (None, status["amqp"]["state"])
                and all(status["counters"].get(name, 0) >= count for name, count in wanted.items())
                and status
            )

        try:
            return wait_until(claim, f"{link} {amqp} {wanted}")
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.status()}\n{self.log.read_text()}") from None

    def kill(self):
        """With -9."""
        self.process.kill()
        self.process.communicate()

    def close(self):
        if self.process.returncode is not None:
            return
        self.process.stdin.close()
        self.process.stdin = None
        try:
            _, stderr = self.process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        assert stderr.decode() == ""
        assert self.process.returncode == 0


@contextlib.contextmanager
def running(directory, settings):
    host = BrokerHost(directory, settings)
    try:
        yield host
    except BaseException:
        host.process.kill()
        host.process.communicate()
        raise
    host.close()


class Gateway:
    """A listening socket; the test says what the gateway says."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE_S)
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def accept(self, login=True):
        sock, _ = self.listener.accept()
        peer = Peer(sock)
        if login:
            peer.log_in()
        return peer


class Peer:
    """The gateway's end of one connection."""

    def __init__(self, sock):
        self.socket = sock
        self.socket.settimeout(DEADLINE_S)
        self._half = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def log_in(self):
        assert self.line() == "SSMI,1,user,pa,ss"
        self.send("SSMI,101,1")
        assert self.line() == "SSMI,3"
        self.send("SSMI,101,2")

    def send(self, *lines):
        self.socket.sendall(b"".join(line.encode("iso-8859-1") + b"\r" for line in lines))

    def line(self):
        """The next line without its carriage return; "" at the end of file."""
        while b"\r" not in self._half:
            data = self.socket.recv(65536)
            if not data:
                assert self._half == b""
                return ""
            self._half += data
        line, _, self._half = self._half.partition(b"\r")
        return line.decode("iso-8859-1")

    def reset(self):
        """Close with a reset instead of an end of file."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


class Rabbit:
    """RabbitMQ, with the names of these settings."""

    def __init__(self, amqp):
        self.amqp = amqp
        self.connection = pika.BlockingConnection(
            pika.ConnectionParameters(
                amqp.host,
                amqp.port,
                amqp.vhost,
                pika.PlainCredentials(amqp.username, amqp.password),
                heartbeat=0,
            )
        )
        self.channel = self.connection.channel()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def reply(self, body, *, headers=None, to="", **keys):
        """Raw bytes, or the three keys of 2010 and what else is given. `to`: what the routing key of 2010 ends with."""
        if not isinstance(body, bytes):
            body = json.dumps({"msisdn": "27831112222", "message": body, "ussd_type": "2", **keys}).encode()
        properties = pika.BasicProperties(headers=headers)
        self.channel.basic_publish(self.amqp.exchange, self.amqp.send_routing_key + to, body, properties)

    def take(self, queue):
        """The next message: (body, headers)."""

        def claim():
            method, properties, body = self.channel.basic_get(queue, auto_ack=True)
            return method and (body, properties.headers or {})

        return wait_until(claim, f"a message in {queue}")

    def receive(self, queue=None):
        return json.loads(self.take(queue or self.amqp.receive_queue)[0])

    def bury(self):
        return self.take(self.amqp.dead_queue)

    def ready(self, queue):
        return self.channel.queue_declare(queue, passive=True).method.message_count

    def consumers(self, queue):
        return self.channel.queue_declare(queue, passive=True).method.consumer_count

    def exists(self, queue):
        with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
            self.channel.queue_declare(queue, passive=True)
            return True
        self.channel = self.connection.channel()
        return False

    def bind_events(self, pattern="#"):
        queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.queue_bind(queue, self.amqp.events_exchange, pattern)
        return queue


class Proxy:
    """Between the broker and RabbitMQ, so that a test can hold the line or cut it."""

    def __init__(self, host, port):
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._sockets = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.flow()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def hold(self):
        self._flowing.clear()

    def flow(self):
        self._flowing.set()

    def refuse(self):
        """Cut it, and hang up on whoever calls."""
        self._refusing = True
        self.cut()

    def accept(self):
        self._refusing = False

    def cut(self):
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
                if self._refusing:
                    client.close()
                    continue
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                self._threads.append(threading.Thread(target=self._carry, args=(source, sink)))
                self._threads[-1].start()

    def _carry(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
        source.close()
