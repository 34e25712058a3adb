"""How long queues are: passive declares on a connection of their own.

A connection that publishes hangs under a memory alarm, and then the figures are wanted most.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from amqpstorm.exception import AMQPChannelError
from amqpstorm.exception import AMQPError as StormError

from richmond.amqp.channel import EventChannel
from richmond.amqp.connection import EventConnection, NotAMQP
from richmond.amqp.explain import explain
from richmond.amqp.links import RPC_TIMEOUT_S, connect
from richmond.errors import AMQPError
from richmond.settings import AmqpSettings


class Depths:
    """Connects at the first question, and again at the next one after a loss."""

    def __init__(self, settings: AmqpSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._lock = threading.Lock()
        self._connection: EventConnection | None = None
        self._channel: EventChannel | None = None

    def read(self, queues: Sequence[str]) -> dict[str, tuple[int, int]]:
        """(ready messages, consumers) of each queue that exists. AMQPError when RabbitMQ is away."""
        with self._lock:
            try:
                return {queue: depth for queue in queues if (depth := self._read_one(queue)) is not None}
            except (StormError, AMQPError, NotAMQP, OSError) as e:
                self._drop(0.0)
                raise explain(e, self._settings) from e
            except BaseException:  # such as a caller's timeout: the late answer must not be taken for the next one's
                self._drop(0.0)
                raise

    def close(self, timeout_s: float) -> None:
        if not self._lock.acquire(timeout=timeout_s):
            connection = self._connection
            if connection is not None:
                connection.abort()  # somebody waits for an answer that does not come
            self._lock.acquire()
        try:
            self._drop(timeout_s)
        finally:
            self._lock.release()

    def _read_one(self, queue: str) -> tuple[int, int] | None:
        if self._connection is None:
            self._connection = connect(self._settings, self._name)
        if self._channel is None or not self._channel.is_open:
            self._channel = self._connection.open_channel(RPC_TIMEOUT_S)
        try:
            answer = self._channel.queue.declare(queue, passive=True)
        except AMQPChannelError as e:
            if e.error_code == 404:
                return None
            raise
        return int(answer["message_count"]), int(answer["consumer_count"])

    def _drop(self, timeout_s: float) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.close(timeout_s)
