"""The broker: joins the SSMI gateway and RabbitMQ.

It runs on gevent, in the master or alone, in a process that is monkey-patched. What to do with a message is decided
in `broker_inbound` and `broker_replies`, the gateway's socket is `broker_gateway`'s, RabbitMQ `amqp.client`'s; here
they meet, and everything is counted:

    received = ignored + link + published + unbound + apologised + dropped + waiting
    ussd     = published:ussd + ussd-refused + ussd-waiting
    replies  = sent + refused + returned + held

`received`: lines of the gateway; `link`: acknowledgements and logouts; `published`: confirmed by RabbitMQ; `unbound`:
events that nobody has bound a queue for; `waiting`: not confirmed yet. `ussd`: of the lines, those for a worker;
`ussd-refused`: of these, those that got the apology or were dropped. `repeated`: publishes sent again because a
connection was lost before they were confirmed, so that RabbitMQ may have them twice. `replies`: deliveries of the send
queue; `refused`: in the dead-letter queue; `returned`: given back to the queue, because the link went. `ignored`,
`apologised`, `dropped` and `refused` are also counted by reason (`refused:session-over`), what is published by kind.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gevent
import msgspec
from gevent.event import Event as Signal

from richmond import broker_replies
from richmond.amqp.client import Client
from richmond.amqp.client import LinkState as AmqpState
from richmond.amqp.frames import Delivery
from richmond.amqp.topology import DEAD_ROUTING_KEY, topology
from richmond.broker_gateway import Gateway
from richmond.broker_inbound import Apologise, Drop, Inbound, Outcome, Publish, is_ussd
from richmond.broker_replies import Line, Refused
from richmond.broker_tally import Tally, excerpt
from richmond.errors import AMQPError
from richmond.session_store import SessionStore
from richmond.settings import Settings
from richmond.ssmi.codec import Ack, Event, Ignored, Nack, RemoteLogout
from richmond.ssmi.sessions import SessionTable

_log = logging.getLogger(__name__)

_LINK_EVENTS = (Ack, Nack, RemoteLogout)
_CANCEL_S = 5.0
_RETRY_S = 1.0
_SAVE_S = 1.0  # so much of the sessions a kill -9 may cost
_HOPE_S = 3.0  # a RabbitMQ that has just gone, or is being dialled for the first time, may be there in a moment
_LEAST_UNCONFIRMED = 1000  # however small `buffer` is, confirms are pipelined


class LinkStatus(msgspec.Struct, frozen=True):
    """`since`: Unix seconds. `error`: the last one, in plain words; empty if there was none."""

    state: str
    since: float
    error: str


class BrokerStatus(msgspec.Struct, frozen=True):
    """`sessions`: how many are open. `counters`: as the module says."""

    link: LinkStatus
    amqp: LinkStatus
    sessions: int
    counters: dict[str, int]


class Broker:
    """One gateway account, one RabbitMQ."""

    def __init__(
        self,
        settings: Settings,
        on_change: Callable[[], None] | None = None,
        totals: Mapping[str, int] | None = None,
    ) -> None:
        """`on_change`: the state of a link may have changed; called from a greenlet that it must not block.

        `totals`: those of an earlier one, to count on from.
        """
        self._settings = settings
        self._on_change = on_change
        run = secrets.token_hex(4)
        numbers = itertools.count(1)

        def identity() -> str:
            return f"{run}-{next(numbers):x}"

        self._sessions = SessionTable(settings.ssmi.session_timeout_s, identity)
        self._store: SessionStore | None = None
        self._saving: gevent.Greenlet | None = None
        self._inbound = Inbound(settings, self._sessions, identity)
        self._counters = Tally(totals or {})
        self._repeated = self._counters["repeated"]  # by earlier ones
        self._away = True  # RabbitMQ is
        self._hope_ends = time.monotonic() + _HOPE_S
        self._waiting = 0  # inbound, not yet confirmed
        self._stalled = False  # the gateway's reader waits for confirms
        self._deliveries: list[Delivery] = []  # replies, not looked at yet
        self._unsettled = 0  # replies that are being sent or buried
        self._quiet = Signal()  # no reply is held
        self._accepting = True  # replies
        self._consuming: tuple[str, int] | None = None  # queue and prefetch
        self._gateway = Gateway(settings.ssmi, self)
        self._amqp = Client(
            settings.amqp,
            name="richmond broker",
            topology=topology(settings.amqp, settings.workers),
            on_state=self._on_amqp_state,
        )

    def start(self) -> None:
        """Connect to both in the background; neither has to be there."""
        self._store = SessionStore(self._settings.richmond.directory / "sessions.db")
        restored = self._sessions.restore(self._store.load(), time.monotonic(), time.time())
        if restored:
            _log.info("%d sessions were open when the last broker ended, and go on", restored)
        self._amqp.start()
        self._gateway.start()

    def stop_reading(self) -> None:
        """Take nothing more from the gateway; replies still go out."""
        self._gateway.stop_reading()

    def stop(self, timeout_s: float) -> None:
        """Send the replies that are there, log out, publish what the gateway still says, end."""
        deadline = time.monotonic() + timeout_s
        self.stop_reading()
        self._drain(deadline - timeout_s / 2)
        self._accepting = False
        self._amqp.cancel(self._settings.amqp.send_queue, min(_CANCEL_S, timeout_s / 4))
        self._consuming = None
        while self._held() and self._gateway.up and time.monotonic() < deadline - timeout_s / 4:
            self._wait_quiet(deadline - timeout_s / 4)
        self._gateway.stop(max(0.1, deadline - time.monotonic()))
        self._give_back()
        self._amqp.flush()
        self._amqp.close(max(0.1, deadline - time.monotonic()))
        if self._saving is not None:
            self._saving.kill()
        self._save_sessions()
        if self._store is not None:
            self._store.close()
        if self._waiting:
            _log.error("%d messages of subscribers are lost: RabbitMQ did not take them before the stop", self._waiting)
            self._counters["ussd-refused"] += self._waiting_ussd()
            self._counters["dropped"] += self._waiting
            self._counters["dropped:stopped"] += self._waiting
            self._waiting = 0

    def reconfigure(self, settings: Settings) -> None:
        """Only the link whose settings changed connects anew."""
        old, self._settings = self._settings, settings
        self._inbound.configure(settings)
        self._sessions.timeout_s = settings.ssmi.session_timeout_s
        wanted = topology(settings.amqp, settings.workers)
        if settings.amqp != old.amqp or wanted != topology(old.amqp, old.workers):
            self._amqp.reconfigure(settings.amqp, wanted)
        if settings.ssmi != old.ssmi:
            self._gateway.reconfigure(settings.ssmi)
        self._gateway.poke()

    def status(self) -> BrokerStatus:
        link, amqp, now = self._gateway.link, self._amqp.state, time.monotonic()
        self._sessions.expire(now)
        counters = self._counters + Counter({f"link-{name}": count for name, count in link.counters.items()})
        counters["waiting"] = self._waiting
        counters["ussd-waiting"] = self._waiting_ussd()
        counters["held"] = self._held()
        counters["repeated"] = self._repeated + self._amqp.repeated
        return BrokerStatus(
            link=LinkStatus(link.state.value, time.time() - (now - link.since), link.last_error),
            amqp=LinkStatus(amqp.name, amqp.since, amqp.error),
            sessions=len(self._sessions),
            counters=dict(counters),
        )

    def totals(self) -> dict[str, int]:
        """What is settled, for the next one to count on from: nobody knows what becomes of the rest if we die now."""
        counters = Counter(self._counters)
        counters["received"] -= self._waiting
        counters["ussd"] -= self._waiting_ussd()
        counters["replies"] -= self._held()
        counters["repeated"] = self._repeated + self._amqp.repeated
        return dict(counters)

    # The gateway's owner.

    def on_events(self, events: Sequence[Event]) -> None:
        now, wall = time.monotonic(), time.time()
        self._sessions.expire(now)
        self._counters["received"] += len(events)
        buffer = self._settings.ssmi.buffer
        for event in events:
            if isinstance(event, Ignored):
                self._counters.note("ignored", event.reason, now, "line ignored: %s", excerpt(event.raw))
            elif isinstance(event, _LINK_EVENTS):
                self._counters["link"] += 1
            else:
                away = self._away
                full = away and self._waiting >= buffer
                outcome = self._inbound.decide(event, now, wall, away=away and now >= self._hope_ends, full=full)
                if is_ussd(event):
                    self._counters["ussd"] += 1
                    self._counters["ussd-refused"] += not isinstance(outcome, Publish)
                self._perform(outcome, now)
        self._amqp.flush()
        self._save_soon()

    def has_room(self) -> bool:
        """While RabbitMQ is away we read on and apologise to subscribers; when it is slow, the gateway has to wait."""
        if self._away or self._waiting < max(_LEAST_UNCONFIRMED, self._settings.ssmi.buffer):
            return True
        self._stalled = True
        return False

    def take_replies(self) -> tuple[bytes, Any]:
        if not self._deliveries:
            return b"", None
        deliveries, self._deliveries = self._deliveries, []
        self._unsettled += len(deliveries)
        now = time.monotonic()
        encoding = self._settings.ssmi.encoding
        batch = []
        for delivery in deliveries:
            outcome = broker_replies.decide(delivery.body, self._sessions, encoding, now)
            if isinstance(outcome, Line):
                batch.append((delivery, outcome))
                if outcome.replaced:
                    self._counters["replaced-characters"] += outcome.replaced
                if outcome.too_long:
                    self._counters["too-long"] += 1
            else:
                self._bury(delivery, outcome)
        self._amqp.flush()
        return b"".join([line.data for _, line in batch]), batch

    def replies_done(self, batch: Any, sent: bool) -> None:
        if sent:
            for delivery, _ in batch:
                self._amqp.ack(delivery, hold=True)
            self._counters["sent"] += len(batch)
            self._unsettled -= len(batch)
            self._note_quiet()
            self._amqp.flush()
            self._save_soon()
            return
        now = time.monotonic()
        for _, line in batch:
            if line.ended is not None:
                self._sessions.reopen(line.msisdn, line.ended, now)
        self._unsettled -= len(batch)
        self._deliveries[:0] = [delivery for delivery, _ in batch]

    def reconcile(self, up: bool) -> None:
        amqp = self._settings.amqp
        wanted = (amqp.send_queue, amqp.prefetch) if up and self._accepting else None
        if wanted != self._consuming:
            if self._consuming is not None:
                self._amqp.cancel(self._consuming[0], _CANCEL_S)
            self._consuming = wanted
            if wanted is not None:
                self._amqp.consume(*wanted, self._on_delivery)
        if not up:
            self._give_back()
        if self._on_change is not None:
            self._on_change()

    # From the AMQP client's reader and manager: nothing here blocks.

    def _on_delivery(self, delivery: Delivery) -> None:
        self._counters["replies"] += 1
        self._deliveries.append(delivery)
        self._gateway.replies_wait()

    def _on_amqp_state(self, state: AmqpState) -> None:
        was_away, self._away = self._away, state.name != "up"
        # News while it is away: the attempt to come back has failed.
        self._hope_ends = 0.0 if was_away else time.monotonic() + _HOPE_S
        if state.name in ("down", "refused"):
            self._give_back()  # RabbitMQ does so with what was delivered on a connection that is gone
        self._resume()
        self._gateway.poke()

    def _settled(self, message: Publish, result: str | None) -> None:
        self._waiting -= 1
        if result is None:
            self._counters["published"] += 1
            self._counters[f"published:{message.kind}"] += 1
        elif message.kind != "ussd":
            self._counters["unbound"] += 1
        else:
            now = time.monotonic()
            self._counters["ussd-refused"] += 1
            self._perform(self._inbound.unroutable(message, now), now)
        if self._stalled and self._waiting <= max(_LEAST_UNCONFIRMED, self._settings.ssmi.buffer) // 2:
            self._resume()

    def _buried(self, delivery: Delivery, refused: Refused, result: str | None) -> None:
        self._unsettled -= 1
        if result is None:
            self._amqp.ack(delivery)
            self._counters.note("refused", refused.reason, time.monotonic(), "reply refused: %s", refused.detail)
            self._note_quiet()
            return
        self._unsettled += 1
        _log.error("the dead-letter queue %s takes nothing: %s", self._settings.amqp.dead_queue, result)
        gevent.spawn_later(_RETRY_S, self._bury, delivery, refused)

    # Performing.

    def _perform(self, outcome: Outcome, now: float) -> None:
        match outcome:
            case Publish(_, exchange, routing_key, body):
                try:
                    self._amqp.publish(exchange, routing_key, body, on_done=partial(self._settled, outcome), hold=True)
                except AMQPError:  # closed
                    self._counters["ussd-refused"] += outcome.kind == "ussd"
                    self._counters.note("dropped", "stopped", now, "message dropped: %s", outcome.kind)
                else:
                    self._waiting += 1
            case Apologise(reason, line):
                if self._gateway.write(line):
                    self._counters.note("apologised", reason, now, "session ended with the apology: %s", reason)
                else:
                    self._counters.note("dropped", reason, now, "session lost, and no link for the apology: %s", reason)
            case Drop(reason):
                self._counters.note("dropped", reason, now, "message dropped: %s", reason)

    def _bury(self, delivery: Delivery, refused: Refused) -> None:
        amqp = self._settings.amqp
        headers = broker_replies.dead_letter_headers(refused, amqp.send_queue, delivery.headers, time.time())
        done = partial(self._buried, delivery, refused)
        try:
            self._amqp.publish(amqp.exchange, DEAD_ROUTING_KEY, delivery.body, headers=headers, on_done=done)
        except AMQPError:  # closed: it was not acknowledged, so RabbitMQ still has it
            self._unsettled -= 1
            self._counters["returned"] += 1

    def _give_back(self) -> None:
        deliveries, self._deliveries = self._deliveries, []
        for delivery in deliveries:
            self._amqp.reject(delivery, requeue=True)
        if deliveries:
            self._counters["returned"] += len(deliveries)
            self._amqp.flush()
            self._note_quiet()

    def _save_soon(self) -> None:
        """Within a second, and not at all while nothing changes."""
        if self._sessions.dirty and (self._saving is None or self._saving.dead):
            self._saving = gevent.spawn_later(_SAVE_S, self._save_sessions)

    def _save_sessions(self) -> None:
        if self._store is not None:
            self._store.save(*self._sessions.changes(time.monotonic(), time.time()))

    def _drain(self, deadline: float) -> None:
        """Until no reply waits in the send queue. The workers have ended: nothing new comes."""
        queue = self._settings.amqp.send_queue
        while self._gateway.up and not self._away and time.monotonic() < deadline:
            try:
                with gevent.Timeout(max(0.0, deadline - time.monotonic())):
                    ready, _ = self._amqp.depths([queue]).get(queue, (0, 0))
            except (AMQPError, gevent.Timeout):
                return
            if not ready and not self._held():
                return
            self._wait_quiet(deadline)

    def _wait_quiet(self, deadline: float) -> None:
        self._quiet.clear()
        # The queue may hold more although we hold nothing now; nobody tells us when it is empty.
        self._quiet.wait(min(0.1, max(0.0, deadline - time.monotonic())))

    def _held(self) -> int:
        return len(self._deliveries) + self._unsettled

    def _note_quiet(self) -> None:
        if not self._held():
            self._quiet.set()

    def _resume(self) -> None:
        self._stalled = False
        self._gateway.resume()

    def _waiting_ussd(self) -> int:
        counters = self._counters
        return counters["ussd"] - counters["published:ussd"] - counters["ussd-refused"]
