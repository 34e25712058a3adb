"""RichmondWorker: what every worker class is made from. The contract is that of 2010.

Site code imports this; nothing here knows of queues or processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from richmond import messages
from richmond.errors import MessageError, UsageError


def _nowhere(data: dict[str, Any]) -> None:
    raise UsageError("this worker is not connected: publish() works where Richmond runs it")


class RichmondWorker:
    """Takes messages from a queue, one after another, and publishes others.

    A subclass overrides `consume`. An instance lives as long as its process; it is made after the fork, without
    arguments, and handles one message at a time, in the main thread. `consume` may take its time and may block. When
    it returns and all that it published is safe at RabbitMQ, its message is acknowledged. If it raises, the message
    goes to the dead-letter queue.
    """

    options: Mapping[str, str] = MappingProxyType({})  # the keys in the class's section that Richmond does not know
    _outlet: Callable[[dict[str, Any]], None] = staticmethod(_nowhere)
    _in_hand: dict[str, Any] | None = None

    def setup_worker(self) -> None:
        """Called once, before the first message: open what must not be shared between processes, a database say."""

    def teardown_worker(self) -> None:
        """Called once, after the last message, when the process ends as planned."""

    def consume(self, data: dict[str, Any]) -> None:
        """Handle one message: a JSON object, as a dict."""
        raise NotImplementedError(f"{type(self).__name__} does not override consume(data)")

    def publish(self, data: dict[str, Any]) -> None:
        """Send a reply at once: `msisdn`, `message` and `ussd_type`, all strings; further keys go along.

        MessageError, saying which key is wrong, for what the broker could not send.
        """
        try:
            msgspec.convert(data, messages.UssdReply)
        except msgspec.ValidationError as e:
            raise MessageError("invalid-reply", str(e)) from None
        self._outlet(data)

    # The runtime's side.

    def _decode(self, body: bytes) -> dict[str, Any]:
        """MessageError for what this class cannot take."""
        return messages.decode_object(body)

    def _handle(self, data: dict[str, Any]) -> None:
        self._in_hand = data
        try:
            self.consume(data)
        finally:
            self._in_hand = None
