"""From settings to an open connection, and the topology declared on it."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from amqpstorm.exception import AMQPChannelError

from richmond.amqp.channel import EventChannel
from richmond.amqp.connection import EventConnection
from richmond.amqp.topology import Topology
from richmond.errors import AMQPUnreachable
from richmond.settings import AmqpSettings

RPC_TIMEOUT_S = 20


def connect(
    settings: AmqpSettings,
    name: str,
    on_lost: Callable[[Exception], None] | None = None,
    on_blocked: Callable[[str | None], None] | None = None,
    on_read: Callable[[], None] | None = None,
) -> EventConnection:
    """`name`: what `rabbitmqctl list_connections client_properties` shows.

    OSError, NotAMQP or an AMQPError of amqpstorm or ours: give them to `explain`.
    """
    connection = EventConnection(
        settings.host,
        settings.username,
        settings.password,
        settings.port,
        virtual_host=settings.vhost,
        heartbeat=settings.heartbeat_s,
        timeout=settings.connect_timeout_s,
        ssl=settings.tls,
        ssl_options={"context": _tls(settings)} if settings.tls else {},
        client_properties={"connection_name": name, "product": "Richmond"},
        on_lost=on_lost,
        on_blocked=on_blocked,
        on_read=on_read,
    )
    try:
        connection.open()
    except (ConnectionResetError, BrokenPipeError) as e:
        raise AMQPUnreachable(
            f"{settings.host}:{settings.port} hung up during the handshake: is it RabbitMQ's AMQP port, "
            f"{'with' if settings.tls else 'without'} TLS?"
        ) from e
    return connection


def declare(connection: EventConnection, topology: Topology) -> list[AMQPChannelError]:
    """Declare all that can be declared; returns what was refused."""
    refused: list[AMQPChannelError] = []
    channel = connection.open_channel(RPC_TIMEOUT_S)

    def attempt(step: Callable[[EventChannel], object]) -> None:
        nonlocal channel
        try:
            step(channel)
        except AMQPChannelError as e:
            if not e.error_code:
                raise  # no answer at all
            refused.append(e)
            channel = connection.open_channel(RPC_TIMEOUT_S)

    for name, kind in topology.exchanges:
        attempt(lambda c, n=name, k=kind: c.exchange.declare(n, k, durable=True))  # type: ignore[misc]
    for queue in topology.queues:
        attempt(lambda c, q=queue: c.queue.declare(q.name, durable=True))  # type: ignore[misc]
        attempt(lambda c, q=queue: c.queue.bind(q.name, q.exchange, q.routing_key))  # type: ignore[misc]
    channel.close()
    return refused


def _tls(settings: AmqpSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.tls_ca)
    if settings.tls_cert is not None:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context
