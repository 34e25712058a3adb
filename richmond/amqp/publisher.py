"""What is on its way to RabbitMQ, across channels and connections: nothing is lost, order is kept.

Publishes wait here while there is no channel. What a channel had not confirmed when it went comes back, before
what came later.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from amqpstorm.exception import AMQPChannelError

from richmond.amqp.channel import EventChannel, call
from richmond.amqp.connection import EventConnection
from richmond.amqp.frames import Publication, Route, encode_route
from richmond.amqp.links import RPC_TIMEOUT_S
from richmond.amqp.locks import short_lock
from richmond.amqp.topology import Topology
from richmond.errors import AMQPError

_log = logging.getLogger(__name__)

_MAX_ROUTES = 1000  # routing keys may come from outside


class Publisher:
    """`need`: tells the manager that it should call `open`, after declaring the topology."""

    def __init__(self, topology: Topology, need: Callable[[], None], on_idle: Callable[[], None]) -> None:
        """`on_idle`: nothing is pending any more; only called once `end` was."""
        self.topology = topology
        self.repeated = 0  # publications sent again, which RabbitMQ may have had already
        self._need = need
        self._on_idle = on_idle
        self._ended = False
        self._routes: dict[tuple[str, str], Route] = {}
        self._lock = short_lock()  # what follows
        self._channel: EventChannel | None = None
        self._backlog: deque[Publication] = deque()
        self._returned: list[Publication] = []  # to be published again once the topology has been declared
        self._closed_by: AMQPChannelError | None = None  # why the last channel went, until one confirms something
        self._closings = 0

    @property
    def pending(self) -> int:
        channel = self._channel
        return len(self._backlog) + len(self._returned) + (len(channel.unconfirmed) if channel else 0)

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, Any] | None,
        on_done: Callable[[str | None], None] | None,
        hold: bool,
    ) -> None:
        if headers:
            route = encode_route(exchange, routing_key, headers)
        else:
            known = self._routes.get((exchange, routing_key))
            route = known or self._learn(exchange, routing_key)
        publication = Publication(route, body, on_done)
        with self._lock:
            if self._ended:
                raise AMQPError("the connection to RabbitMQ has been closed")
            if self._channel is None:
                self._backlog.append(publication)
            else:
                self._channel.publish(publication, hold)

    def end(self) -> None:
        """Take nothing more."""
        with self._lock:
            self._ended = True

    def open(self, connection: EventConnection) -> None:
        """Open a channel if there is none, and send what waits. In the manager, after declaring the topology.

        Raises what RabbitMQ closed the channel with if it did so again before it confirmed anything.
        """
        with self._lock:
            channel = self._channel
            closed_by, closings = self._closed_by, self._closings
        if closed_by is not None:
            self._settle_impossible(str(closed_by))
            if closings > 1:
                with self._lock:
                    self._closings = 1  # the next connection has one attempt
                raise closed_by
        if channel is None:
            channel = connection.open_channel(RPC_TIMEOUT_S)
            channel.on_returned = self._on_returned
            channel.on_closed = self._on_closed
            channel.on_settled = self._on_settled
            channel.confirm_deliveries()
        with self._lock:
            if not channel.is_open:
                channel.check_for_errors()  # nobody would take back what it would get now
            waiting = [*self._returned, *self._backlog]
            self._returned.clear()
            self._backlog.clear()
            for publication in waiting:
                channel.publish(publication, hold=True)
            self._channel = channel
        connection.flush()

    def take_back(self) -> None:
        """The channel has gone. In the reader, which is the only one to settle: none is settled twice."""
        with self._lock:
            channel, self._channel = self._channel, None
            if channel is not None:
                unsettled = list(channel.unconfirmed.values())
                channel.unconfirmed.clear()
                self.repeated += len(unsettled)
                for publication in unsettled:
                    publication.returned = False
                self._backlog.extendleft(reversed(unsettled))

    def _learn(self, exchange: str, routing_key: str) -> Route:
        if len(self._routes) >= _MAX_ROUTES:
            self._routes.clear()
        route = self._routes[exchange, routing_key] = encode_route(exchange, routing_key)
        return route

    def _on_closed(self, error: AMQPChannelError) -> None:
        _log.warning("RabbitMQ closed the publishing channel: %s", error)
        self.take_back()
        with self._lock:
            self._closed_by = error
            self._closings += 1
        self._need()

    def _on_returned(self, publication: Publication) -> bool:
        """Whether to try again: the queue may have been deleted under us, and declaring helps, once."""
        route = publication.route
        if publication.retried or not any(
            queue.exchange == route.exchange and queue.routing_key == route.routing_key
            for queue in self.topology.queues
        ):
            return False
        publication.retried = True
        publication.returned = False
        with self._lock:
            self._returned.append(publication)
        self._need()
        return True

    def _on_settled(self) -> None:
        if self._closings:
            with self._lock:
                self._closings = 0
                self._closed_by = None
        if self._ended and not self.pending:
            self._on_idle()

    def _settle_impossible(self, error: str) -> None:
        """What RabbitMQ would close the next channel for, too, must not keep the rest from being published."""
        no_exchange = re.search(r"no exchange '([^']*)'", error)
        too_large = re.search(r"larger than configured max size (\d+)", error)
        declared = {name for name, _ in self.topology.exchanges}

        def result(publication: Publication) -> str | None:
            if no_exchange and publication.route.exchange == no_exchange[1] and no_exchange[1] not in declared:
                return "unroutable"
            if too_large and len(publication.body) > int(too_large[1]):
                return "refused"
            return None

        with self._lock:
            settled = [(p, reason) for p in self._backlog if (reason := result(p))]
            if settled:
                self._backlog = deque(p for p in self._backlog if not result(p))
                self._closings = 1
        for publication, reason in settled:
            if publication.on_done is not None:
                call(publication.on_done, reason)
        if self._ended and not self.pending:
            self._on_idle()
