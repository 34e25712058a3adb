"""pika's BlockingConnection by the book. With --confirm each publish waits until RabbitMQ has the message."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pika

from bench.peers import skeleton


class Client:
    def __init__(self, o: argparse.Namespace) -> None:
        credentials = pika.PlainCredentials(o.username, o.password)
        self._channel = pika.BlockingConnection(
            pika.ConnectionParameters(o.host, o.port, o.vhost, credentials)
        ).channel()
        self._mandatory = o.confirm
        for queue in (skeleton.RECEIVE, skeleton.SEND):
            self._channel.queue_declare(queue, durable=True)
        self._channel.basic_qos(prefetch_count=skeleton.PREFETCH)
        if o.confirm:
            self._channel.confirm_delivery()

    def publish(self, queue: str, body: bytes) -> None:
        self._channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2), mandatory=self._mandatory)

    def consume(self, queue: str, handle: Callable[[bytes], None]) -> None:
        def on_message(channel, method, properties, body):
            handle(body)
            channel.basic_ack(method.delivery_tag)

        self._channel.basic_consume(queue, on_message)
        self._channel.start_consuming()


if __name__ == "__main__":
    skeleton.main(Client)
