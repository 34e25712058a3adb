"""Which exchanges and queues there are, and what goes where. No I/O.

Everything is durable and without arguments, as in 2010: a declaration with others would get a 406 from every
client that declares them plainly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from richmond.settings import AmqpSettings, WorkerSettings

DEAD_ROUTING_KEY = "ssmi.dead"


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue and its one binding."""

    name: str
    exchange: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class Topology:
    """What whoever connects first declares."""

    exchanges: tuple[tuple[str, str], ...]  # name and type
    queues: tuple[Queue, ...]


def topology(amqp: AmqpSettings, workers: Sequence[WorkerSettings]) -> Topology:
    """The names of the ini, with one queue for each class that has codes of its own."""
    routes = {
        amqp.send_queue: amqp.send_routing_key,
        amqp.receive_queue: amqp.receive_routing_key,
        amqp.dead_queue: DEAD_ROUTING_KEY,
    }
    routes |= {worker.queue: worker.routing_key for worker in workers}
    return Topology(
        exchanges=((amqp.exchange, "direct"), (amqp.events_exchange, "topic")),
        queues=tuple(Queue(name, amqp.exchange, key) for name, key in routes.items()),
    )
