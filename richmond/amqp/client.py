"""A connection to RabbitMQ that comes back by itself.

Desired state, then reconcile: callers say what to consume and what to publish; one manager thread makes it so after
every loss, cancel and refusal. Threads or, after gevent's monkey patching, greenlets.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amqpstorm.exception import AMQPChannelError
from amqpstorm.exception import AMQPError as StormError

from richmond.amqp import links
from richmond.amqp.connection import EventConnection, NotAMQP
from richmond.amqp.consumers import Consumers
from richmond.amqp.depths import Depths
from richmond.amqp.explain import explain
from richmond.amqp.frames import Delivery
from richmond.amqp.publisher import Publisher
from richmond.amqp.stream import Guest
from richmond.amqp.topology import Topology
from richmond.errors import AMQPError, AMQPUnreachable
from richmond.settings import AmqpSettings

_log = logging.getLogger(__name__)

_FIRST_RETRY_S = 0.1
_GOODBYE_S = 2.0
_LEAST_GOODBYE_S = 0.2


@dataclass(frozen=True, slots=True)
class LinkState:
    """What an operator sees of the link."""

    name: str  # connecting, up, blocked, refused, down or closed
    since: float  # wall clock
    error: str  # in plain words; empty when all is well


class Client:
    """Publishes confirmed, consumes, reconnects.

    Callbacks run in the connection's reader or in the manager: they must not block, and must not call `cancel`,
    `depths`, `wait_up` or `close`.
    """

    def __init__(
        self,
        settings: AmqpSettings,
        *,
        name: str,
        topology: Topology,
        on_state: Callable[[LinkState], None] | None = None,
        on_read: Callable[[], None] | None = None,
    ) -> None:
        """`on_read`: the reader has called back for all that it read at once."""
        self._settings = settings
        self._name = name
        self._topology = topology
        self._on_state = on_state
        self._on_read = on_read
        self._changed = threading.Condition()  # what follows
        self._state = LinkState("connecting", time.time(), "")
        self._connection: EventConnection | None = None
        self._asked = 0  # turns that the manager was asked for
        self._done = 0  # the last one that it finished
        self._declare = True  # the topology has to be declared
        self._renew = False  # other settings: connect again
        self._stop = False
        self._blocked: str | None = None
        self._publisher = Publisher(topology, lambda: self._need(declare=True), self._notify)
        self._consumers = Consumers(lambda declare: self._need(declare=declare))
        self._depths = Depths(settings, f"{name} depths")
        self._manager = threading.Thread(target=self._manage, name="amqp-manager", daemon=True)

    def start(self) -> None:
        """Connect in the background; an absent RabbitMQ is waited for."""
        self._manager.start()

    @property
    def alive(self) -> bool:
        """Whether somebody sees to the connection, be it up or not. Before the start and after the end nobody need."""
        return self._manager.is_alive() or self._manager.ident is None or self._stop

    @property
    def state(self) -> LinkState:
        return self._state

    @property
    def pending(self) -> int:
        """Publishes that are not settled yet. The caller bounds it."""
        return self._publisher.pending

    @property
    def repeated(self) -> int:
        """Publishes sent again because a connection was lost before they were confirmed: RabbitMQ may have two."""
        return self._publisher.repeated

    def wait_up(self, timeout_s: float | None) -> bool:
        """Until all that was asked for is declared and consumed; False after `timeout_s`, or when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._settled() or self._stop, timeout_s)
            return self._settled()

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        headers: Mapping[str, Any] | None = None,
        on_done: Callable[[str | None], None] | None = None,
        hold: bool = False,
    ) -> None:
        """Publish persistent, mandatory and confirmed. Never blocks; kept while RabbitMQ is away.

        It leaves soon, together with what comes at the same time; `hold`: not before `flush` or `flush_later`. What
        callbacks publish or acknowledge leaves when the reader has handled all that it read.

        `on_done`, once: None when RabbitMQ has it, else "unroutable" or "refused". Not called for what is still
        pending when the client is closed. TypeError or ValueError if a header or a name has no AMQP form; AMQPError
        after `close`.
        """
        self._publisher.publish(exchange, routing_key, body, headers, on_done, hold)

    def flush(self) -> None:
        """Send what is buffered now, from this thread."""
        connection = self._connection
        if connection is not None:
            connection.flush()

    def flush_later(self) -> None:
        """Send what is buffered in a moment, together with what comes until then."""
        connection = self._connection
        if connection is not None:
            connection.flush_later()

    @property
    def stands_in(self) -> bool:
        """No guest attends to the connection now."""
        connection = self._connection
        return connection is None or connection.stands_in

    def attend(self, guest: Guest, timeout_s: float | None = None, patient: bool = False) -> bool | None:
        """Send what is held, and read, in this thread, until `guest` has something to do; see EventIO.attend.

        Callbacks run in this thread meanwhile. `patient`: acknowledgements may wait for a moment, to leave with more.
        None without a connection, too: `on_state` tells of the next.
        """
        connection = self._connection
        return None if connection is None else connection.attend(guest, timeout_s, patient)

    def consume(self, queue: str, prefetch: int, on_delivery: Callable[[Delivery], None]) -> None:
        """Have `on_delivery` called, in the reader, for every message. Remembered until `cancel`."""
        self._consumers.consume(queue, prefetch, on_delivery)

    def cancel(self, queue: str, timeout_s: float) -> None:
        """Stop consuming; what was delivered can still be acknowledged.

        Returns when nothing more will be delivered: what RabbitMQ sends after `timeout_s` goes back to the queue.
        """
        self._consumers.cancel(queue, timeout_s)

    def ack(self, delivery: Delivery, hold: bool = False) -> None:
        """Void if the delivery's connection has gone: RabbitMQ delivers it again."""
        delivery._channel.ack(delivery._tag, hold)

    def reject(self, delivery: Delivery, requeue: bool) -> None:
        delivery._channel.reject(delivery._tag, requeue)

    def depths(self, queues: Sequence[str]) -> dict[str, tuple[int, int]]:
        """(ready messages, consumers) of each queue that exists. AMQPError when RabbitMQ is away."""
        return self._depths.read(queues)

    def reconfigure(self, settings: AmqpSettings, topology: Topology) -> None:
        """Reconnect if the connection's settings are others, else only declare what is new."""
        renew = _link(settings) != _link(self._settings)
        self._publisher.topology = topology
        with self._changed:
            self._renew = self._renew or renew
            self._settings = settings
            self._topology = topology
        self._need(declare=True)
        if renew:
            old, self._depths = self._depths, Depths(settings, f"{self._name} depths")
            old.close(_GOODBYE_S)

    def close(self, timeout_s: float) -> None:
        """Wait for outstanding confirms, at most `timeout_s`, then close. All acknowledgements are written before.

        Saying goodbye to a RabbitMQ that does not answer takes some seconds more; less, if `timeout_s` is less.
        """
        goodbye_s = max(_LEAST_GOODBYE_S, min(_GOODBYE_S, timeout_s))
        self._publisher.end()
        with self._changed:
            if self._manager.is_alive():
                self._changed.wait_for(lambda: not self.pending, timeout_s)
            self._stop = True
        self._need()
        self._depths.close(goodbye_s)
        if self._manager.is_alive():
            self._manager.join(goodbye_s)
            connection = self._connection
            if connection is not None:
                connection.abort()  # it waits for an answer that a blocked or frozen RabbitMQ does not give
                self._manager.join(goodbye_s)
        self._set_state("closed", "")

    # The manager.

    def _manage(self) -> None:
        retry_s = _FIRST_RETRY_S
        while not self._stop:
            began = time.monotonic()
            error: AMQPError | None = None
            try:
                self._live()
            except (StormError, AMQPError, NotAMQP, OSError) as e:
                error = explain(e, self._settings)
            except Exception as e:  # broad on purpose: without its manager the link would never come back
                _log.exception("the AMQP manager of %s failed", self._name)
                error = explain(e, self._settings)
            with self._changed:
                connection, self._connection = self._connection, None
            if connection is not None:
                connection.close(_GOODBYE_S)
            if error is None:  # asked to
                continue
            self._set_state("down" if isinstance(error, AMQPUnreachable) else "refused", str(error))
            if time.monotonic() - began > self._settings.reconnect_max_s:
                retry_s = _FIRST_RETRY_S  # it was good for a while
            with self._changed:
                self._changed.wait_for(lambda: self._stop or self._renew, retry_s * _jitter())
            retry_s = min(2 * retry_s, self._settings.reconnect_max_s)

    def _live(self) -> None:
        """One connection, from the first byte to the last. Returns when it is to end; raises when it was lost."""
        with self._changed:
            self._renew = False
            self._declare = True
            self._blocked = None
            settings = self._settings
        connection = links.connect(settings, self._name, self._lost, self._on_blocked, self._on_read)
        with self._changed:
            self._connection = connection
        retry_s = _FIRST_RETRY_S
        while True:
            asked = self._asked
            problem = self._reconcile(connection)
            self._done = asked
            self._show(problem)
            with self._changed:
                timeout_s = None if problem is None else retry_s * _jitter()
                self._changed.wait_for(lambda: self._asked != self._done, timeout_s)
                if problem is None:
                    retry_s = _FIRST_RETRY_S
                else:
                    retry_s = min(2 * retry_s, settings.reconnect_max_s)
                    self._declare = True
                if self._renew or self._stop:
                    return
            connection.check_for_errors()

    def _reconcile(self, connection: EventConnection) -> AMQPError | None:
        """Do what is missing. Returns what RabbitMQ refused; raises when it does not answer."""
        refused: list[AMQPChannelError] = []
        with self._changed:
            declare, self._declare = self._declare, False
        if declare:
            refused += links.declare(connection, self._topology)
        self._publisher.open(connection)
        refused += self._consumers.reconcile(connection)
        return explain(refused[0], self._settings) if refused else None

    def _show(self, problem: AMQPError | None) -> None:
        if problem is not None:
            self._set_state("refused", str(problem))
        elif self._blocked is not None:
            self._set_state("blocked", f"RabbitMQ takes no messages: {self._blocked}")
        else:
            self._set_state("up", "")

    def _set_state(self, name: str, error: str) -> None:
        with self._changed:
            old = self._state
            changed = (old.name, old.error) != (name, error)
            if changed:
                self._state = LinkState(name, time.time(), error)
            self._changed.notify_all()
        if changed:
            _log.info("RabbitMQ link of %s: %s -> %s%s", self._name, old.name, name, f": {error}" if error else "")
            if self._on_state is not None:
                self._on_state(self._state)

    # From any thread.

    def _need(self, *, declare: bool = False) -> None:
        """Have the manager look at everything once more."""
        with self._changed:
            self._declare = self._declare or declare
            self._asked += 1
            self._changed.notify_all()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _lost(self, _: Exception) -> None:
        self._publisher.take_back()
        self._consumers.lost()
        self._need()

    def _on_blocked(self, reason: str | None) -> None:
        self._blocked = reason
        self._need()

    def _settled(self) -> bool:
        return self._state.name in ("up", "blocked") and self._asked == self._done


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
