"""What workers send through one account: from its two queues to the gateway's socket."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event as Signal

from richmond.amqp.frames import Delivery
from richmond.amqp.topology import send_queues
from richmond.broker_commons import Commons
from richmond.broker_inbound import Turn
from richmond.broker_sms_lane import SmsLane
from richmond.broker_tally import Tally
from richmond.broker_ussd_lane import UssdLane
from richmond.errors import AMQPError
from richmond.settings import Settings, SsmiSettings
from richmond.ssmi.sessions import SessionTable

_CANCEL_S = 5.0


class Sender:
    """A lane for each queue. What USSD has to say goes first."""

    def __init__(
        self,
        settings: Settings,
        account: SsmiSettings,
        commons: Commons,
        sessions: SessionTable,
        counters: Tally,
        *,
        wake: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        """`wake`: have `take` called. `changed`: something may have to be saved."""
        self._amqp = commons.amqp
        self._wake = wake
        self._changed = changed
        self._quiet = Signal()  # something is held no more
        self._consuming: dict[str, int] = {}  # queue -> prefetch
        self._accepting = True
        self._alarm: gevent.Greenlet | None = None  # until a token is there
        self._alarm_at = 0.0
        quiet = self._quiet.set
        self.sms = SmsLane(account, commons, counters, quiet, self._on_reply)
        self.ussd = UssdLane(settings, account, commons, sessions, counters, quiet, self._on_stray)
        self.configure(settings, account)

    def configure(self, settings: Settings, account: SsmiSettings) -> None:
        queues = send_queues(settings.amqp, account.name)
        self.ussd.configure(settings, account, queues.ussd.name)
        self.sms.configure(settings.amqp, account, queues.sms.name)

    # For the gateway's writer and driver.

    def take(self) -> tuple[bytes, Any]:
        """What may go now, and what to call it in `done`."""
        now = time.monotonic()
        replies, batch = self.ussd.take(now)
        others, more = self.sms.take(now) if self.sms.waits else (b"", [])
        self._amqp.flush()
        self._set_alarm(now)
        return (replies + others, (batch, more)) if batch or more else (b"", None)

    def done(self, batches: Any, sent: bool) -> Any:
        """`sent`: the socket took it all. Else it may have taken some. Returns what is for `arrived`, or None.

        Not replies: one that came twice would answer what the subscriber was asked next.
        """
        replies, others = batches
        if not sent:
            self.ussd.put_back(replies)
            self.sms.put_back(others)
            return None
        self.ussd.sent(replies)
        self._settled()
        return others or None

    def arrived(self, others: Any, has: bool) -> None:
        """`has`: the gateway's host has them."""
        if not has:
            self.sms.put_back(others)
            return
        self.sms.sent(others)
        self._settled()

    def reconcile(self, up: bool) -> None:
        """Consume while the link is up. Blocks until nothing more comes if it is not."""
        wanted = {}
        if up and self._accepting:
            wanted = {self.ussd.queue: self.ussd.prefetch, self.sms.queue: self.sms.prefetch}
        consuming, self._consuming = self._consuming, wanted
        for queue in consuming:
            if queue not in wanted:
                self._amqp.cancel(queue, _CANCEL_S)
        for queue, prefetch in wanted.items():
            if consuming.get(queue) != prefetch:
                self._amqp.consume(queue, prefetch, self._on_reply if queue == self.ussd.queue else self._on_other)
        if up:
            self._wake()  # rates may be others
        else:
            self.give_back()

    def turn(self, turn: Turn) -> None:
        """A page for a subscriber who has asked for it."""
        self.ussd.put_turn(turn)
        self._wake()

    # For the broker.

    def drain(self, up: Callable[[], bool], deadline: float) -> None:
        """Until no reply waits in the send queue. The workers have ended: nothing new comes. SMS may wait there."""
        queue = self.ussd.queue
        while up() and time.monotonic() < deadline:
            try:
                with gevent.Timeout(max(0.0, deadline - time.monotonic())):
                    ready, _ = self._amqp.depths([queue]).get(queue, (0, 0))
            except (AMQPError, gevent.Timeout):
                return
            if not ready and not self.ussd.held:
                return
            self._wait(deadline)

    def finish(self, up: Callable[[], bool], cancel_s: float, deadline: float) -> None:
        """Take nothing more, and send what is held; SMS that wait for their token go back."""
        self._accepting = False
        consuming, self._consuming = self._consuming, {}
        for queue in consuming:
            self._amqp.cancel(queue, cancel_s)
        while (self.ussd.held or self.sms.leaving) and up() and time.monotonic() < deadline:
            self._wait(deadline)

    def give_back(self) -> None:
        self.ussd.give_back()
        self.sms.give_back()

    # From the AMQP client's reader: nothing here blocks.

    def _on_reply(self, delivery: Delivery) -> None:
        self.ussd.put(delivery)
        self._wake()

    def _on_other(self, delivery: Delivery) -> None:
        self.sms.put(delivery)
        self._wake()

    def _on_stray(self, delivery: Delivery, message: Any) -> None:
        self.sms.put_stray(delivery, message)

    # Within.

    def _settled(self) -> None:
        self._quiet.set()
        self._amqp.flush_later()
        self._changed()

    def _set_alarm(self, now: float) -> None:
        """Have `take` called again when the next token is there."""
        waits = [wait for wait in (self.ussd.next_in(now), self.sms.next_in(now)) if wait is not None]
        if not waits:
            return
        due = now + min(waits)
        if self._alarm is not None and not self._alarm.dead:
            if self._alarm_at <= due:
                return
            self._alarm.kill(block=False)
        self._alarm_at = due
        self._alarm = gevent.spawn_later(due - now, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._wake()

    def _wait(self, deadline: float) -> None:
        self._quiet.clear()
        # The queue may hold more although we hold nothing now; nobody tells us when it is empty.
        self._quiet.wait(min(0.1, max(0.0, deadline - time.monotonic())))
