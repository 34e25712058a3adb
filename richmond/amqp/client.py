"""A connection to RabbitMQ that comes back by itself.

Desired state, then reconcile: callers say what to consume and what to publish; one manager thread makes it so after
every loss, cancel and refusal. Threads or, after gevent's monkey patching, greenlets.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amqpstorm.exception import AMQPChannelError
from amqpstorm.exception import AMQPError as StormError

from richmond.amqp import links
from richmond.amqp.channel import EventChannel
from richmond.amqp.connection import EventConnection
from richmond.amqp.depths import Depths
from richmond.amqp.explain import explain
from richmond.amqp.frames import Delivery, Publication, encode_properties
from richmond.amqp.topology import Topology
from richmond.errors import AMQPError, AMQPRefused
from richmond.settings import AmqpSettings

_log = logging.getLogger(__name__)

_FIRST_RETRY_S = 0.1


@dataclass(frozen=True, slots=True)
class LinkState:
    """What an operator sees of the link."""

    name: str  # connecting, up, blocked, refused, down or closed
    since: float  # wall clock
    error: str  # in plain words; empty when all is well


class _Consumer:
    """A queue that somebody wants, or wanted, to consume, and how far that is."""

    __slots__ = ("channel", "consuming", "on_delivery", "prefetch", "queue", "tag", "wanted")

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.prefetch = 1
        self.on_delivery: Callable[[Delivery], None] | None = None
        self.wanted = False
        self.channel: EventChannel | None = None
        self.consuming = False
        self.tag = ""


class Client:
    """Publishes confirmed, consumes, reconnects.

    Callbacks (`on_delivery`, `on_done`, `on_state`) run in the connection's reader or in the manager: they must not
    block, and must not call `cancel`, `depths`, `wait_up` or `close`.
    """

    def __init__(
        self,
        settings: AmqpSettings,
        *,
        name: str,
        topology: Topology,
        on_state: Callable[[LinkState], None] | None = None,
    ) -> None:
        self._settings = settings
        self._name = name
        self._topology = topology
        self._on_state = on_state
        self._changed = threading.Condition()
        # Under _changed:
        self._state = LinkState("connecting", time.time(), "")
        self._consumers: dict[str, _Consumer] = {}
        self._connection: EventConnection | None = None
        self._work = False  # the manager has something to look at
        self._declare = True  # the topology has to be declared
        self._renew = False  # other settings: connect again
        self._closing = False
        self._blocked: str | None = None
        # Under _publishing:
        self._publishing = threading.Lock()
        self._publisher: EventChannel | None = None
        self._backlog: deque[Publication] = deque()
        self._returned: list[Publication] = []  # to be published again once the topology has been declared
        self._depths = Depths(settings, f"{name} depths")
        self._manager: threading.Thread | None = None

    def start(self) -> None:
        """Connect in the background; an absent RabbitMQ is waited for."""
        self._manager = threading.Thread(target=self._manage, name="amqp-manager", daemon=True)
        self._manager.start()

    @property
    def state(self) -> LinkState:
        return self._state

    @property
    def pending(self) -> int:
        """Publishes that are not settled yet. The caller bounds it."""
        publisher = self._publisher
        return len(self._backlog) + len(self._returned) + (len(publisher.unconfirmed) if publisher else 0)

    def wait_up(self, timeout_s: float | None) -> bool:
        """Until everything asked for is declared and consumed; False after `timeout_s`, or when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._settled() or self._state.name == "closed", timeout_s)
            return self._settled()

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        headers: Mapping[str, Any] | None = None,
        on_done: Callable[[str | None], None] | None = None,
    ) -> None:
        """Publish persistent, mandatory and confirmed. Never blocks; kept while RabbitMQ is away.

        `on_done`, once, from the reader: None when RabbitMQ has it, else "unroutable" or "refused". Not called for
        what is still pending when the client is closed. TypeError or ValueError if a header or name has no AMQP form.
        """
        if headers:
            encode_properties(headers)
        publication = Publication(exchange, routing_key, body, headers, on_done)
        with self._publishing:
            if self._closing:
                raise AMQPError("the connection to RabbitMQ has been closed")
            if self._publisher is None:
                self._backlog.append(publication)
            else:
                self._publisher.publish(publication)

    def flush(self) -> None:
        """Send what is buffered now, from this thread."""
        connection = self._connection
        if connection is not None:
            connection.flush()

    def consume(self, queue: str, prefetch: int, on_delivery: Callable[[Delivery], None]) -> None:
        """Have `on_delivery` called, in the reader, for every message. Remembered until `cancel`."""
        with self._changed:
            consumer = self._consumers.setdefault(queue, _Consumer(queue))
            consumer.prefetch = prefetch
            consumer.on_delivery = on_delivery
            consumer.wanted = True
            if consumer.channel is not None:
                consumer.channel.on_delivery = on_delivery
            self._kick()

    def cancel(self, queue: str, timeout_s: float) -> None:
        """Stop consuming; what was delivered can still be acknowledged.

        Returns when nothing more will be delivered: what RabbitMQ sends after `timeout_s` goes back to the queue.
        """
        with self._changed:
            consumer = self._consumers.get(queue)
            if consumer is None:
                return
            consumer.wanted = False
            self._kick()
            if not self._changed.wait_for(lambda: not consumer.consuming, timeout_s) and consumer.channel is not None:
                consumer.channel.on_delivery = _give_back

    def ack(self, delivery: Delivery) -> None:
        """Void if the delivery's connection has gone: RabbitMQ delivers it again."""
        delivery._channel.ack(delivery._tag)

    def reject(self, delivery: Delivery, requeue: bool) -> None:
        delivery._channel.reject(delivery._tag, requeue)

    def depths(self, queues: Sequence[str]) -> dict[str, tuple[int, int]]:
        """(ready messages, consumers) of each queue that exists. AMQPError when RabbitMQ is away."""
        return self._depths.read(queues)

    def reconfigure(self, settings: AmqpSettings, topology: Topology) -> None:
        """Reconnect if the connection's settings are others, else only declare what is new."""
        with self._changed:
            self._renew = self._renew or _link(settings) != _link(self._settings)
            self._settings = settings
            self._topology = topology
            self._declare = True
            self._kick()
        old, self._depths = self._depths, Depths(settings, f"{self._name} depths")
        old.close()

    def close(self, timeout_s: float) -> None:
        """Wait for outstanding confirms, at most `timeout_s`, then close. Acknowledgements are written before."""
        with self._publishing:
            self._closing = True  # from here on publish() refuses
        with self._changed:
            self._changed.wait_for(lambda: not self.pending or self._manager is None, timeout_s)
            self._state = LinkState("closed", time.time(), "")
            self._kick()
        if self._manager is not None:
            self._manager.join()
        self._depths.close()
        if self._on_state is not None:
            self._on_state(self._state)

    # The manager.

    def _manage(self) -> None:
        retry_s = _FIRST_RETRY_S
        while self._state.name != "closed":
            started = time.monotonic()
            error: AMQPError | None = None
            try:
                self._live()
            except (StormError, OSError, ValueError) as e:
                error = explain(e, self._settings)
            self._drop()
            if error is None:  # asked to
                continue
            self._set_state("refused" if isinstance(error, AMQPRefused) else "down", str(error))
            if time.monotonic() - started > self._settings.reconnect_max_s:
                retry_s = _FIRST_RETRY_S  # it was good for a while
            with self._changed:
                self._changed.wait_for(lambda: self._state.name == "closed" or self._renew, retry_s * _jitter())
            retry_s = min(2 * retry_s, self._settings.reconnect_max_s)

    def _live(self) -> None:
        """One connection, from the first byte to the last. Returns when it is to end; raises when it was lost."""
        with self._changed:
            self._renew = False
            self._declare = True
            self._blocked = None
            settings = self._settings
        connection = links.connect(settings, self._name, self._lost, self._on_blocked)
        self._connection = connection
        retry_s = _FIRST_RETRY_S
        while True:
            with self._changed:
                self._work = False
            problem = self._reconcile(connection)
            if problem is None:
                retry_s = _FIRST_RETRY_S
            self._show(problem)
            with self._changed:
                self._changed.wait_for(lambda: self._work, None if problem is None else retry_s * _jitter())
                if self._renew or self._state.name == "closed":
                    return
                if problem is not None and not self._work:
                    retry_s = min(2 * retry_s, self._settings.reconnect_max_s)
                    self._declare = True
            connection.check_for_errors()

    def _reconcile(self, connection: EventConnection) -> AMQPError | None:
        """Do what is missing. Returns what RabbitMQ refused; raises when it does not answer."""
        refused: list[AMQPChannelError] = []
        with self._changed:
            declare = self._declare or bool(self._returned)
            self._declare = False
            topology = self._topology
            consumers = list(self._consumers.values())
        if declare:
            refused += links.declare(connection, topology)
        self._publish_again(connection)
        for consumer in consumers:
            try:
                self._reconcile_consumer(connection, consumer)
            except AMQPChannelError as e:
                if not e.error_code:
                    raise  # no answer at all
                refused.append(e)
        return explain(refused[0], self._settings) if refused else None

    def _publish_again(self, connection: EventConnection) -> None:
        """Open the publishing channel if there is none, and send what waits for it."""
        with self._publishing:
            channel = self._publisher
        if channel is None:
            channel = connection.open_channel(links.RPC_TIMEOUT_S)
            channel.on_returned = self._on_returned
            channel.on_closed = self._on_publisher_closed
            channel.on_settled = self._on_settled
            channel.confirm_deliveries()
        with self._publishing:
            for publication in self._returned:
                channel.publish(publication)
            self._returned.clear()
            while self._backlog:
                channel.publish(self._backlog.popleft())
            self._publisher = channel
        connection.flush()

    def _reconcile_consumer(self, connection: EventConnection, consumer: _Consumer) -> None:
        if consumer.wanted and not consumer.consuming:
            if consumer.channel is None or not consumer.channel.is_open:
                consumer.channel = connection.open_channel(links.RPC_TIMEOUT_S)
                consumer.channel.on_cancelled = lambda: self._on_cancelled(consumer)
                consumer.channel.on_closed = lambda _: self._on_cancelled(consumer)
            consumer.channel.on_delivery = consumer.on_delivery
            consumer.channel.basic.qos(consumer.prefetch)
            consumer.consuming = True  # before the answer: a cancel by RabbitMQ may follow at once
            try:
                consumer.tag = str(consumer.channel.basic.consume(queue=consumer.queue))
            except StormError:
                consumer.consuming = False
                raise
        elif consumer.consuming and not consumer.wanted and consumer.channel is not None:
            consumer.channel.basic.cancel(consumer.tag)
            with self._changed:
                consumer.consuming = False
                self._changed.notify_all()

    def _drop(self) -> None:
        with self._changed:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _show(self, problem: AMQPError | None) -> None:
        if problem is not None:
            self._set_state("refused", str(problem))
        elif self._blocked is not None:
            self._set_state("blocked", f"RabbitMQ takes no messages: {self._blocked}")
        else:
            self._set_state("up", "")

    # In the reader.

    def _lost(self, _: Exception) -> None:
        self._take_back()
        with self._changed:
            for consumer in self._consumers.values():
                consumer.channel = None
                consumer.consuming = False
            self._kick()

    def _take_back(self) -> None:
        """Unconfirmed publishes wait for the next channel, before those that came after them."""
        with self._publishing:
            channel, self._publisher = self._publisher, None
            if channel is not None:
                unsettled = [channel.unconfirmed[sequence] for sequence in sorted(channel.unconfirmed)]
                for publication in unsettled:
                    publication.returned = False
                self._backlog.extendleft(reversed(unsettled))
                channel.unconfirmed.clear()

    def _on_publisher_closed(self, error: AMQPChannelError) -> None:
        _log.warning("RabbitMQ closed the publishing channel: %s", error)
        self._take_back()
        with self._changed:
            self._declare = True
            self._kick()

    def _on_returned(self, publication: Publication) -> bool:
        """Whether to try again: the queue may have been deleted under us, and declaring helps, once."""
        if publication.retried or not self._declared(publication):
            return False
        publication.retried = True
        publication.returned = False
        with self._publishing:
            self._returned.append(publication)
        with self._changed:
            self._kick()
        return True

    def _declared(self, publication: Publication) -> bool:
        return any(
            queue.exchange == publication.exchange and queue.routing_key == publication.routing_key
            for queue in self._topology.queues
        )

    def _on_settled(self) -> None:
        if self._closing and not self.pending:
            with self._changed:
                self._changed.notify_all()

    def _on_cancelled(self, consumer: _Consumer) -> None:
        with self._changed:
            consumer.consuming = False
            self._declare = True
            self._kick()

    def _on_blocked(self, reason: str | None) -> None:
        with self._changed:
            self._blocked = reason
            self._kick()

    def _kick(self) -> None:
        """With _changed held."""
        self._work = True
        self._changed.notify_all()

    def _settled(self) -> bool:
        return self._state.name in ("up", "blocked") and not self._work

    def _set_state(self, name: str, error: str) -> None:
        with self._changed:
            if self._state.name == "closed" or (self._state.name, self._state.error) == (name, error):
                self._changed.notify_all()
                return
            old, self._state = self._state, LinkState(name, time.time(), error)
            self._changed.notify_all()
        _log.info("RabbitMQ link of %s: %s -> %s %s", self._name, old.name, name, error)
        if self._on_state is not None:
            self._on_state(self._state)


def _give_back(delivery: Delivery) -> None:
    delivery._channel.reject(delivery._tag, True)


def _jitter() -> float:
    return random.uniform(0.5, 1.0)  # noqa: S311  (spreads reconnections, guards nothing)


def _link(settings: AmqpSettings) -> tuple[object, ...]:
    """What makes it another connection."""
    return (
        settings.host,
        settings.port,
        settings.username,
        settings.password,
        settings.vhost,
        settings.heartbeat_s,
        settings.tls,
        settings.tls_ca,
        settings.tls_cert,
        settings.tls_key,
    )
