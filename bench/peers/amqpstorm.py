"""amqpstorm by the book. With --confirm each publish waits until RabbitMQ has the message."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import amqpstorm

from bench.peers import skeleton


class Client:
    def __init__(self, o: argparse.Namespace) -> None:
        connection = amqpstorm.Connection(o.host, o.username, o.password, port=o.port, virtual_host=o.vhost)
        self._consumer, self._publisher = connection.channel(), connection.channel()
        self._mandatory = o.confirm
        for queue in (skeleton.RECEIVE, skeleton.SEND):
            self._consumer.queue.declare(queue, durable=True)
        self._consumer.basic.qos(skeleton.PREFETCH)
        if o.confirm:
            self._publisher.confirm_deliveries()

    def publish(self, queue: str, body: bytes) -> None:
        self._publisher.basic.publish(body, queue, properties={"delivery_mode": 2}, mandatory=self._mandatory)

    def consume(self, queue: str, handle: Callable[[bytes], None]) -> None:
        def on_message(message):
            handle(message.body.encode())
            message.ack()

        self._consumer.basic.consume(on_message, queue)
        self._consumer.start_consuming()


if __name__ == "__main__":
    skeleton.main(Client)
