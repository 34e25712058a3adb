"""One account at a gateway: its link, its sessions, and both ways through it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from richmond.broker_commons import Commons
from richmond.broker_gateway import Gateway
from richmond.broker_receiver import Receiver
from richmond.broker_sender import Sender
from richmond.broker_status import AccountStatus, LinkStatus, Throttled
from richmond.broker_tally import Tally
from richmond.settings import Settings, SsmiSettings
from richmond.ssmi.sessions import SessionTable

_CANCEL_S = 5.0


class Account:
    def __init__(self, settings: Settings, ssmi: SsmiSettings, commons: Commons) -> None:
        self.settings = ssmi
        self.counters = Tally()
        self.sessions = SessionTable(ssmi.session_timeout_s, commons.identity)
        self._commons = commons
        self.gateway = gateway = Gateway(ssmi, self)
        own = settings, ssmi, commons, self.sessions, self.counters
        self.sender = Sender(*own, wake=gateway.replies_wait, changed=self._changed)
        self.receiver = Receiver(
            *own, write=gateway.write, turn=self.sender.turn, resume=gateway.resume, changed=self._changed
        )
        # What the gateway's owner is asked for, without a call between.
        self.on_events = self.receiver.on_events
        self.has_room = self.receiver.has_room
        self.take_replies = self.sender.take
        self.replies_done = self.sender.done
        self.replies_arrived = self.sender.arrived
        self.reconcile = self.sender.reconcile

    @property
    def name(self) -> str:
        return self.settings.name

    def start(self) -> None:
        self.gateway.start()

    def reconfigure(self, settings: Settings, ssmi: SsmiSettings) -> None:
        old, self.settings = self.settings, ssmi
        self.sessions.timeout_s = ssmi.session_timeout_s
        self.receiver.configure(settings, ssmi)
        self.sender.configure(settings, ssmi)
        if ssmi != old:
            self.gateway.reconfigure(ssmi)
        self.gateway.poke()

    def on_amqp(self, away: bool, hope_ends: float, lost: bool) -> None:
        """RabbitMQ's state has changed. `lost`: with the connection, and what was delivered on it."""
        self.receiver.on_amqp(away, hope_ends)
        if lost:
            self.sender.give_back()
        self.gateway.resume()
        self.gateway.poke()

    def stop_reading(self) -> None:
        """Take nothing more from the gateway; replies still go out."""
        self.gateway.stop_reading()

    def stop(self, timeout_s: float) -> None:
        """Send the replies that are there, log out, and take what the gateway still says."""
        deadline = time.monotonic() + timeout_s
        self.stop_reading()
        self.sender.drain(lambda: self.gateway.up and not self.receiver.away, deadline - timeout_s / 2)
        self.sender.finish(lambda: self.gateway.up, min(_CANCEL_S, timeout_s / 4), deadline - timeout_s / 4)
        self.gateway.stop(max(0.1, deadline - time.monotonic()))
        self.sender.give_back()

    def status(self) -> AccountStatus:
        link, now = self.gateway.link, time.monotonic()
        self.sessions.expire(now)
        return AccountStatus(
            name=self.name,
            address=f"{self.settings.host}:{self.settings.port}",
            link=LinkStatus(link.state.value, time.time() - (now - link.since), link.last_error),
            sessions=len(self.sessions),
            throttled=tuple(self._throttled(now)),
            unread=self.receiver.unread,
            counters=dict(self.counts()),
        )

    def counts(self) -> Counter[str]:
        """What has happened, and what has not been settled yet."""
        counters = self.counters + Counter({f"link-{name}": n for name, n in self.gateway.link.counters.items()})
        counters.update(self.sessions.odd)
        counters["waiting"] = self.receiver.waiting
        counters["ussd-waiting"] = self.receiver.waiting_ussd
        counters["held"] = self.sender.ussd.held
        counters["sms-held"] = self.sender.sms.held
        return counters

    def _throttled(self, now: float) -> Iterator[Throttled]:
        for kind, biting in (("ussd", self.sender.ussd.biting), ("sms", self.sender.sms.biting)):
            if biting is not None:
                yield Throttled(kind, biting.waiting, time.time() - (now - biting.since), biting.per_second)

    def _changed(self) -> None:
        if self.sessions.dirty or self._commons.sms.dirty:
            self._commons.save_soon()
