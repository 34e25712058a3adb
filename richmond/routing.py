"""Which queue an inbound message goes to, by the code that opened its session. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from richmond.settings import AmqpSettings, WorkerSettings
from richmond.ssmi.sessions import normal_code


class Routes:
    """The class without codes is the default and takes the rest, also what has no code.

    With no worker class in the ini at all, whoever consumes the receive queue is the default: the broker of 2010 ran
    with an ini that knew of no workers.
    """

    def __init__(self, workers: Sequence[WorkerSettings], amqp: AmqpSettings) -> None:
        self._by_code = {normal_code(code): worker.routing_key for worker in workers for code in worker.codes}
        defaults = [worker.routing_key for worker in workers if not worker.codes]
        self._default = defaults[0] if defaults else None if workers else amqp.receive_routing_key

    def routing_key(self, code: str | None) -> str | None:
        """None where no class wants it."""
        if code is None:
            return self._default
        return self._by_code.get(normal_code(code), self._default)
