"""Which queues are wanted, and which are consumed: one channel each, with a prefetch of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from amqpstorm.exception import AMQPChannelError

from richmond.amqp.channel import EventChannel
from richmond.amqp.connection import EventConnection
from richmond.amqp.frames import Delivery
from richmond.amqp.links import RPC_TIMEOUT_S

OnDelivery = Callable[[Delivery], None]


class _Consumer:
    __slots__ = ("active", "applied", "channel", "on_delivery", "prefetch", "queue", "tag", "wanted")

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.wanted = False
        self.active = False  # deliveries may come
        self.prefetch = 1
        self.applied = 0  # the prefetch that it consumes with
        self.on_delivery: OnDelivery = give_back
        self.channel: EventChannel | None = None
        self.tag = ""


class Consumers:
    """`need`: tells the manager that it should call `reconcile`, after declaring the topology if it is given true."""

    def __init__(self, need: Callable[[bool], None]) -> None:
        self._need = need
        self._changed = threading.Condition()  # all that follows
        self._consumers: dict[str, _Consumer] = {}

    def consume(self, queue: str, prefetch: int, on_delivery: OnDelivery) -> None:
        with self._changed:
            consumer = self._consumers.setdefault(queue, _Consumer(queue))
            consumer.wanted = True
            consumer.prefetch = prefetch
            consumer.on_delivery = on_delivery
            if consumer.channel is not None:
                consumer.channel.on_delivery = on_delivery
        self._need(False)

    def cancel(self, queue: str, timeout_s: float) -> None:
        with self._changed:
            consumer = self._consumers.get(queue)
            if consumer is None:
                return
            consumer.wanted = False
        self._need(False)
        with self._changed:
            gone = self._changed.wait_for(lambda: not consumer.active or consumer.wanted, timeout_s)
            if not gone and consumer.channel is not None:
                consumer.on_delivery = consumer.channel.on_delivery = give_back

    def reconcile(self, connection: EventConnection) -> list[AMQPChannelError]:
        """In the manager. Returns what RabbitMQ refused; raises when it does not answer."""
        refused: list[AMQPChannelError] = []
        with self._changed:
            consumers = list(self._consumers.values())
        for consumer in consumers:
            try:
                if consumer.wanted:
                    self._start(connection, consumer)
                else:
                    self._stop(consumer)
            except AMQPChannelError as e:
                if not e.error_code:
                    raise  # no answer at all
                refused.append(e)
        return refused

    def lost(self) -> None:
        """The connection has gone, and with it all that was delivered and not acknowledged."""
        with self._changed:
            for consumer in self._consumers.values():
                consumer.channel = None
                consumer.active = False
            self._changed.notify_all()

    def _start(self, connection: EventConnection, consumer: _Consumer) -> None:
        with self._changed:
            if consumer.active and consumer.applied == consumer.prefetch:
                return
            channel = consumer.channel
        # A prefetch holds for the consumers that begin after it. What the one before was given stays valid.
        self._stop(consumer)
        if channel is None or not channel.is_open:
            channel = connection.open_channel(RPC_TIMEOUT_S)
            channel.on_cancelled = lambda: self._ended(consumer)
            channel.on_closed = lambda _: self._ended(consumer)
        prefetch = consumer.prefetch
        channel.basic.qos(prefetch)
        with self._changed:
            if not consumer.wanted or not channel.is_open:
                return  # cancelled meanwhile, or lost: the next turn sees to it
            consumer.active = True
            consumer.applied = prefetch
            consumer.channel = channel
            channel.on_delivery = consumer.on_delivery
        try:
            consumer.tag = str(channel.basic.consume(queue=consumer.queue))
        except BaseException:
            self._inactive(consumer)
            raise

    def _stop(self, consumer: _Consumer) -> None:
        """The channel stays open: what was delivered can still be acknowledged."""
        channel = consumer.channel
        if consumer.active and channel is not None:
            channel.basic.cancel(consumer.tag)
            self._inactive(consumer)

    def _ended(self, consumer: _Consumer) -> None:
        """RabbitMQ has ended it: the queue or the channel is gone. In the reader."""
        self._inactive(consumer)
        self._need(True)

    def _inactive(self, consumer: _Consumer) -> None:
        with self._changed:
            consumer.active = False
            self._changed.notify_all()


def give_back(delivery: Delivery) -> None:
    """What comes for nobody goes to somebody else."""
    delivery._channel.reject(delivery._tag, True)
