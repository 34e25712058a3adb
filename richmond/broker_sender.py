"""What workers send through one account: from its queue to the gateway's socket."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
from gevent.event import Event as Signal

from richmond import broker_replies
from richmond.amqp.client import Client
from richmond.amqp.frames import Delivery
from richmond.amqp.topology import DEAD_ROUTING_KEY, send_queues
from richmond.broker_replies import Line, Refused
from richmond.broker_tally import Tally
from richmond.errors import AMQPError
from richmond.settings import Settings, SsmiSettings
from richmond.ssmi.sessions import SessionTable

_log = logging.getLogger(__name__)

_CANCEL_S = 5.0
_RETRY_S = 1.0


class Sender:
    def __init__(
        self,
        settings: Settings,
        account: SsmiSettings,
        *,
        sessions: SessionTable,
        counters: Tally,
        amqp: Client,
        wake: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        """`wake`: have `take` called. `changed`: sessions may have to be saved."""
        self._sessions = sessions
        self._counters = counters
        self._amqp = amqp
        self._wake = wake
        self._changed = changed
        self._deliveries: list[Delivery] = []  # replies, not looked at yet
        self._unsettled = 0  # replies that are being sent or buried
        self._quiet = Signal()  # no reply is held
        self._consuming: dict[str, int] = {}  # queue -> prefetch
        self._accepting = True
        self.configure(settings, account)

    def configure(self, settings: Settings, account: SsmiSettings) -> None:
        self._settings = settings.amqp
        self._account = account
        self._queue = send_queues(settings.amqp, account.name).ussd.name

    @property
    def held(self) -> int:
        """Replies that are neither sent nor back at RabbitMQ."""
        return len(self._deliveries) + self._unsettled

    # For the gateway's writer and driver.

    def take(self) -> tuple[bytes, Any]:
        """What may go now, and what to call it in `done`."""
        if not self._deliveries:
            return b"", None
        deliveries, self._deliveries = self._deliveries, []
        self._unsettled += len(deliveries)
        now = time.monotonic()
        sessions, account, counters = self._sessions, self._account, self._counters
        batch = []
        for delivery in deliveries:
            outcome = broker_replies.decide(delivery.body, sessions, account, now)
            if type(outcome) is Line:
                batch.append((delivery, outcome))
                if outcome.replaced:
                    counters["replaced-characters"] += outcome.replaced
                if outcome.too_long:
                    counters["too-long"] += 1
            else:
                self._bury(delivery, outcome)  # type: ignore[arg-type]
        self._amqp.flush()
        return b"".join([line.data for _, line in batch]), batch

    def done(self, batch: Any, sent: bool) -> None:
        """`sent`: the socket took it all. Else it may have taken some."""
        if sent:
            for delivery, _ in batch:
                self._amqp.ack(delivery, hold=True)
            self._counters["sent"] += len(batch)
            self._unsettled -= len(batch)
            self._note_quiet()
            self._amqp.flush_later()
            self._changed()
            return
        now = time.monotonic()
        for _, line in batch:
            if line.ended is not None:
                self._sessions.reopen(line.msisdn, line.ended, now)
        self._unsettled -= len(batch)
        self._deliveries[:0] = [delivery for delivery, _ in batch]

    def reconcile(self, up: bool) -> None:
        """Consume while the link is up. Blocks until nothing more comes if it is not."""
        wanted = {self._queue: self._settings.prefetch} if up and self._accepting else {}
        consuming, self._consuming = self._consuming, wanted
        for queue in consuming:
            if queue not in wanted:
                self._amqp.cancel(queue, _CANCEL_S)
        for queue, prefetch in wanted.items():
            if consuming.get(queue) != prefetch:
                self._amqp.consume(queue, prefetch, self._on_reply)
        if not up:
            self.give_back()

    # For the broker.

    def drain(self, up: Callable[[], bool], deadline: float) -> None:
        """Until no reply waits in the send queue. The workers have ended: nothing new comes."""
        while up() and time.monotonic() < deadline:
            try:
                with gevent.Timeout(max(0.0, deadline - time.monotonic())):
                    ready, _ = self._amqp.depths([self._queue]).get(self._queue, (0, 0))
            except (AMQPError, gevent.Timeout):
                return
            if not ready and not self.held:
                return
            self._wait_quiet(deadline)

    def finish(self, up: Callable[[], bool], cancel_s: float, deadline: float) -> None:
        """Take nothing more, and send what is held."""
        self._accepting = False
        consuming, self._consuming = self._consuming, {}
        for queue in consuming:
            self._amqp.cancel(queue, cancel_s)
        while self.held and up() and time.monotonic() < deadline:
            self._wait_quiet(deadline)

    def give_back(self) -> None:
        deliveries, self._deliveries = self._deliveries, []
        for delivery in deliveries:
            self._amqp.reject(delivery, requeue=True)
        if deliveries:
            self._counters["returned"] += len(deliveries)
            self._amqp.flush()
            self._note_quiet()

    # From the AMQP client's reader: nothing here blocks.

    def _on_reply(self, delivery: Delivery) -> None:
        self._counters["replies"] += 1
        self._deliveries.append(delivery)
        self._wake()

    def _bury(self, delivery: Delivery, refused: Refused) -> None:
        headers = broker_replies.dead_letter_headers(refused, self._queue, delivery.headers, time.time())
        done = partial(self._buried, delivery, refused)
        try:
            self._amqp.publish(self._settings.exchange, DEAD_ROUTING_KEY, delivery.body, headers=headers, on_done=done)
        except AMQPError:  # closed: it was not acknowledged, so RabbitMQ still has it
            self._unsettled -= 1
            self._counters["returned"] += 1

    def _buried(self, delivery: Delivery, refused: Refused, result: str | None) -> None:
        if result is None:
            self._unsettled -= 1
            self._amqp.ack(delivery)
            self._counters.note("refused", refused.reason, time.monotonic(), "reply refused: %s", refused.detail)
            self._note_quiet()
            return
        _log.error("the dead-letter queue %s takes nothing: %s", self._settings.dead_queue, result)
        gevent.spawn_later(_RETRY_S, self._bury, delivery, refused)

    def _wait_quiet(self, deadline: float) -> None:
        self._quiet.clear()
        # The queue may hold more although we hold nothing now; nobody tells us when it is empty.
        self._quiet.wait(min(0.1, max(0.0, deadline - time.monotonic())))

    def _note_quiet(self) -> None:
        if not self.held:
            self._quiet.set()
