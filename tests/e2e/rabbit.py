"""A plain AMQP client (pika) at an installation's RabbitMQ: what a program of somebody else's would do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pika
from installation import Installation, until


class Rabbit:
    def __init__(self, installation: Installation) -> None:
        self.amqp = installation.settings.amqp
        credentials = pika.PlainCredentials(self.amqp.username, self.amqp.password)
        parameters = pika.ConnectionParameters(self.amqp.host, self.amqp.port, self.amqp.vhost, credentials)
        self._connection = pika.BlockingConnection(parameters)
        self.channel = self._connection.channel()
        self.channel.confirm_delivery()

    def __enter__(self) -> Rabbit:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(self, body: bytes | dict[str, Any]) -> None:
        """To the send queue, as a worker's reply."""
        self.publish(self.amqp.send_routing_key, body)

    def publish(self, key: str, body: bytes | dict[str, Any]) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.channel.basic_publish(self.amqp.exchange, key, data, mandatory=True)

    def take(self, queue: str) -> tuple[dict[str, Any], bytes]:
        """Headers and body of the next message, acknowledged."""

        def get() -> Any:
            method, properties, body = self.channel.basic_get(queue, auto_ack=True)
            return (properties.headers or {}, body) if method else None

        return until(f"a message in {queue}", get)

    def dead(self) -> tuple[dict[str, Any], bytes]:
        """The next dead letter."""
        return self.take(self.amqp.dead_queue)

    def events(self, *keys: str) -> str:
        """A queue of our own that hears the gateway's events."""
        queue = self.channel.queue_declare("", exclusive=True).method.queue
        for key in keys or ("#",):
            self.channel.queue_bind(queue, self.amqp.events_exchange, key)
        return queue


def control(node: Any, *args: str) -> None:
    """The node's own rabbitmqctl."""
    environ = dict(e.split(b"=", 1) for e in Path(f"/proc/{node.pid}/environ").read_bytes().split(b"\0") if b"=" in e)
    program = Path(environ[b"HOME"].decode()) / "rabbitmqctl"
    done = subprocess.run([program, *args], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
