"""A worker for supervisord and Circus, as one writes it with pika by the book: each message goes back as it came.

RICHMOND_BENCH has the AMQP URL and the names of both queues; after them, where wanted, the port of Circus's watchdog.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any

import pika


def main() -> None:
    url, requests, replies, *watchdog = os.environ["RICHMOND_BENCH"].split()
    if watchdog:
        threading.Thread(target=beat, args=(int(watchdog[0]),), daemon=True).start()
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()

    def on_message(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_publish("", replies, body, pika.BasicProperties(delivery_mode=2))
        channel.basic_ack(method.delivery_tag)

    channel.basic_qos(prefetch_count=200)
    channel.basic_consume(requests, on_message)
    channel.start_consuming()


def beat(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        while True:
            out.sendto(f"{os.getpid()};{time.time()}".encode(), ("127.0.0.1", port))
            time.sleep(1)
