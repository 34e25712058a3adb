"""Which exchanges and queues there are, and what goes where. No I/O.

Everything is durable and without arguments, as in 2010: a declaration with others would get a 406 from every
client that declares them plainly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from richmond.settings import DEFAULT_ACCOUNT, AmqpSettings, WorkerSettings, send_suffixes

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


@dataclass(frozen=True, slots=True)
class SendQueues:
    """What workers send through one account. USSD replies wait apart: a throttled SMS never stands before one."""

    ussd: Queue
    sms: Queue  # and all else


def send_queues(amqp: AmqpSettings, account: str = DEFAULT_ACCOUNT) -> SendQueues:
    ussd, sms = (
        Queue(amqp.send_queue + suffix, amqp.exchange, amqp.send_routing_key + suffix)
        for suffix in send_suffixes(account)
    )
    return SendQueues(ussd, sms)


def topology(
    amqp: AmqpSettings, workers: Sequence[WorkerSettings], accounts: Sequence[str] = (DEFAULT_ACCOUNT,)
) -> Topology:
    """The names of the ini, with one queue for each class that is not the default, and two for each account."""
    routes = {amqp.receive_queue: amqp.receive_routing_key, amqp.dead_queue: DEAD_ROUTING_KEY}
    routes |= {worker.queue: worker.routing_key for worker in workers}
    sending = [send_queues(amqp, account) for account in accounts]
    return Topology(
        exchanges=((amqp.exchange, "direct"), (amqp.events_exchange, "topic")),
        queues=(
            *(queue for pair in sending for queue in (pair.ussd, pair.sms)),
            *(Queue(name, amqp.exchange, key) for name, key in routes.items()),
        ),
    )
