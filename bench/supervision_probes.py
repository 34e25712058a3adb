"""Whether a program's workers do their work: a message or request from outside, and its answer."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from typing import Protocol

import pika

from bench.supervision_observer import clock, until
from richmond.rabbitmq import NodeInfo

CONNECT_S = 2.0
_numbers = itertools.count(1)


class Probe(Protocol):
    def ask(self) -> str:
        """Send something that has to be answered; what it returns identifies it. Waits for nothing."""

    def answered(self, key: str, timeout_s: float) -> float | None:
        """When the answer came, by `clock`; None: it did not in this time."""

    def close(self) -> None: ...


class GatewayProbe:
    """For Richmond: the gateway at which it logs in, and each question is a subscriber who dials."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._client: socket.socket | None = None
        self._answers: dict[str, float] = {}  # by msisdn
        threading.Thread(target=self._serve, daemon=True).start()

    def ask(self) -> str:
        msisdn = f"2783{next(_numbers):07}"
        with contextlib.suppress(OSError):  # nobody is logged in: it will not be answered
            if self._client:
                self._client.sendall(f"SSMI,110,{msisdn},1,2,*120*663#\r".encode())
        return msisdn

    def answered(self, key: str, timeout_s: float) -> float | None:
        return until(lambda: self._answers.get(key), timeout_s)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._client:
            self._client.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with contextlib.suppress(OSError):
                    self._talk(client)
                self._client = None
                client.close()

    def _talk(self, client: socket.socket) -> None:
        rest = b""
        while data := client.recv(65536):
            *lines, rest = (rest + data).split(b"\r")
            for line in lines:
                fields = line.decode("latin-1").split(",")
                if fields[1] == "1":
                    client.sendall(b"SSMI,101,1\r")
                    self._client = client
                elif fields[1] == "3":
                    client.sendall(b"SSMI,101,2\r")
                elif fields[1] == "110":
                    self._answers[fields[2]] = clock()


class QueueProbe:
    """For workers that consume from a queue and publish to another one."""

    def __init__(self, node: NodeInfo, name: str) -> None:
        self.requests, self.replies = f"{name}.requests", f"{name}.replies"
        self.url = f"amqp://{node.username}:{node.password}@{node.host}:{node.port}/{node.vhost.replace('/', '%2F')}"
        self._connection = pika.BlockingConnection(pika.URLParameters(f"{self.url}?heartbeat=0"))
        self._channel = self._connection.channel()
        for queue in (self.requests, self.replies):
            self._channel.queue_declare(queue, durable=True)
            self._channel.queue_purge(queue)
        self._answers: dict[str, float] = {}
        self._channel.basic_consume(self.replies, self._on_reply, auto_ack=True)

    def ask(self) -> str:
        key = f"{next(_numbers)}"
        self._channel.basic_publish("", self.requests, key.encode(), pika.BasicProperties(delivery_mode=2))
        return key

    def answered(self, key: str, timeout_s: float) -> float | None:
        deadline = clock() + timeout_s
        while key not in self._answers and (left_s := deadline - clock()) > 0:
            self._connection.process_data_events(left_s)
        return self._answers.get(key)

    def close(self) -> None:
        for queue in (self.requests, self.replies):
            self._channel.queue_delete(queue)
        self._connection.close()

    def _on_reply(self, channel: object, method: object, properties: object, body: bytes) -> None:
        self._answers[body.decode()] = clock()


class HttpProbe:
    """For workers that answer requests at one socket that they share."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._open: dict[str, socket.socket] = {}

    def ask(self) -> str:
        key = f"{next(_numbers)}"
        with contextlib.suppress(OSError):  # nobody listens: it will not be answered
            connection = socket.create_connection(("127.0.0.1", self.port), CONNECT_S)
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            self._open[key] = connection
        return key

    def answered(self, key: str, timeout_s: float) -> float | None:
        connection = self._open.pop(key, None)
        if connection is None:
            return None
        with connection, contextlib.suppress(OSError):
            connection.settimeout(timeout_s)
            if b" 200 " in connection.recv(4096):
                return clock()
        return None

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()
