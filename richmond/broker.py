"""The broker: joins SSMI gateways and RabbitMQ.

It runs on gevent, in the master or alone, in a process that is monkey-patched. Each account has a link of its own
(`broker_account`), RabbitMQ is `amqp.client`'s; here they meet, and everything is counted:

    received = ignored + link + published + unbound + dead-lettered + apologised + paged + dropped + waiting
    ussd     = published:ussd + ussd-refused + paged + ussd-waiting
    sms      = published:sms and the like + dead-lettered + sms-dropped + sms-waiting
    replies  = sent + refused + returned + held
    sms-taken = sms-sent + sms-refused + sms-repeated + sms-returned + sms-held

`received`: lines of the gateways; `link`: acknowledgements and logouts; `published`: confirmed by RabbitMQ; `unbound`:
events that nobody has bound a queue for; `waiting`: not confirmed yet, be it in the journal (`journalled`: what went
there). `ussd`: of the lines, those of USSD; `ussd-refused`: of these, those that got the apology or were dropped;
`paged`: those that asked for the next page. `sms`: of the lines, SMS; what no queue takes is `dead-lettered`.
`routed`: of what is published and no USSD, what went to a class.
`repeated`: publishes sent again because a connection was lost before they were confirmed, so that RabbitMQ may have
them twice.

`replies`: deliveries of the send queues; `refused`: in the dead-letter queue; `returned`: given back to the queue,
because the link went. `sms-taken` and what it consists of: the same for all that is no USSD reply; `sms-repeated`: sent
before, and delivered again, because the connection to RabbitMQ was lost before it was acknowledged.

`sessions-overtaken`: sessions that began while one of the subscriber's was open; `sessions-over-before`: ends and
timeouts of sessions that were over or not known; `sessions-adopted`: answers in such, which go on as new ones.

By reason (`refused:session-over`) are counted `ignored`, `apologised`, `dropped`, `refused` and `sms-refused`; by kind
what is published (`published:sms`), and what is sent and no USSD reply (`sent:sms`).
"""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import reduce

import gevent

from richmond.amqp.client import Client
from richmond.amqp.client import LinkState as AmqpState
from richmond.amqp.topology import Topology, topology
from richmond.broker_account import Account
from richmond.broker_commons import Commons
from richmond.broker_outlet import Outlet
from richmond.broker_status import BrokerStatus, LinkStatus
from richmond.broker_trace import Tracer
from richmond.durations import NONE, Durations
from richmond.journal import Journal
from richmond.opt_out import OptOut
from richmond.session_store import SessionStore
from richmond.settings import Settings, SsmiSettings
from richmond.sms_store import SmsStore
from richmond.tracing import Record

_log = logging.getLogger(__name__)

_SAVE_S = 1.0  # so much of the sessions a kill -9 may cost
_LOOK_S = 0.02
_HOPE_S = 3.0  # a RabbitMQ that has just gone, or is being dialled for the first time, may be there in a moment
_REMOVE_S = 5.0  # for an account to end that is no more in the ini
_EXPIRE_S = 60.0
_LINK = "link-"


class Broker:
    """All accounts that have a gateway, and one RabbitMQ."""

    def __init__(
        self,
        settings: Settings,
        totals: Mapping[str, int] | None = None,
        asleep: dict[str, Callable[[], object]] | None = None,
    ) -> None:
        """`totals`: those of an earlier one, to count on from.

        `asleep`: routing keys for which nobody consumes; what stands there is taken out and called when a message
        goes by that key. Others may change it at any time.
        """
        self._settings = settings
        self._before = Counter(totals or {})
        self._repeated = self._before.pop("repeated", 0)
        run = secrets.token_hex(4)
        numbers = itertools.count(1)
        self._away = True  # RabbitMQ is
        self._hope_ends = time.monotonic() + _HOPE_S
        directory = settings.richmond.directory
        self._sessions = SessionStore(directory / "sessions.db")
        self._sms = SmsStore(directory / "sms.db")
        self._opt_out = OptOut(directory / "optout.db")
        self._tracer = Tracer(settings.richmond.trace)
        journal = Journal(directory / "journal.db", settings.richmond.journal_max_bytes)
        self._saving: gevent.Greenlet | None = None
        self._amqp, self._spans = _link(settings, self._on_amqp_state)
        asleep = {} if asleep is None else asleep
        self._outlet = Outlet(settings.amqp, journal, self._amqp, self._tracer, self._look_for_room, asleep)
        self._commons = Commons(
            self._amqp,
            self._sms,
            self._opt_out,
            self._outlet,
            self._tracer,
            lambda: f"{run}-{next(numbers):x}",
            self._save_soon,
            asleep,
        )
        self._expired = time.monotonic()  # when what is old in sms.db was forgotten
        self._gone: list[Account] = []  # no more in the ini; what they have published may still be confirmed
        self._accounts = {ssmi.name: Account(settings, ssmi, self._commons) for ssmi in _with_gateway(settings)}

    def start(self) -> None:
        """Connect everywhere in the background; nobody has to be there."""
        self._amqp.start()
        for account in self._accounts.values():
            self._begin(account)

    def stuck(self) -> str:
        """For a watchdog, now and then: who does not take the turn that was asked for; empty: everybody does."""
        now = time.monotonic()
        names = [f"the gateway of {a.name}" for a in self._accounts.values() if a.gateway.stuck(now)]
        return ", ".join(names if self._amqp.alive else [*names, "the link to RabbitMQ"])

    def stop_reading(self) -> None:
        """Take nothing more from the gateways; replies still go out."""
        for account in self._accounts.values():
            account.stop_reading()

    def stop(self, timeout_s: float) -> None:
        """Send the replies that are there, log out, publish what the gateways still say, end."""
        deadline = time.monotonic() + timeout_s
        self.stop_reading()
        self._end(self._accounts.values(), timeout_s)
        self._wait_for_rabbitmq(deadline)
        self._amqp.flush()
        self._amqp.close(max(0.1, deadline - time.monotonic()))
        if self._saving is not None:
            self._saving.kill()
        self._outlet.close()
        self._save()
        self._sessions.close()
        self._sms.close()
        self._opt_out.close()
        lost = sum(account.receiver.lose() for account in self._all())
        if lost:
            _log.error("%d messages of subscribers are lost: RabbitMQ did not take them before the stop", lost)

    def _wait_for_rabbitmq(self, deadline: float) -> None:
        """The link may have broken just now: what waits for it goes out if the first attempt to come back succeeds."""
        while self._away and self._hope_ends and time.monotonic() < deadline:
            if not any(account.receiver.waiting for account in self._all()):
                return
            gevent.sleep(_LOOK_S)

    def reconfigure(self, settings: Settings) -> None:
        """Only the links whose settings changed connect anew."""
        old, self._settings = self._settings, settings
        if settings.amqp != old.amqp or whole_topology(settings) != whole_topology(old):
            self._amqp.reconfigure(settings.amqp, whole_topology(settings))
        self._outlet.configure(settings.amqp)
        self._tracer.switch(settings.richmond.trace)
        wanted = {ssmi.name: ssmi for ssmi in _with_gateway(settings)}
        removed = [self._accounts.pop(name) for name in list(self._accounts) if name not in wanted]
        for name, ssmi in wanted.items():
            if name in self._accounts:
                self._accounts[name].reconfigure(settings, ssmi)
            else:
                account = self._accounts[name] = Account(settings, ssmi, self._commons)
                self._begin(account)
        self._gone += removed
        self._end(removed, _REMOVE_S)

    def status(self) -> BrokerStatus:
        amqp = self._amqp.state
        return BrokerStatus(
            accounts=tuple(account.status() for account in self._accounts.values()),
            amqp=LinkStatus(amqp.name, amqp.since, amqp.error),
            journal=self._outlet.status(),
            opt_outs=len(self._opt_out),
            counters=dict(self._counts()),
            spans=self._spans(),
            end_to_end=reduce(Durations.plus, (a.sender.ussd.end_to_end.read() for a in self._all()), NONE),
        )

    def trace(self, msisdn: str) -> list[Record] | None:
        """The last messages of a subscriber, the oldest first. None where nothing is traced."""
        return self._tracer.of(msisdn) if self._tracer.on else None

    def totals(self) -> dict[str, int]:
        """What is settled, for the next one to count on from: nobody knows what becomes of the rest if we die now."""
        counters = self._counts()
        counters["received"] -= counters.pop("waiting", 0)
        counters["ussd"] -= counters.pop("ussd-waiting", 0)
        counters["sms"] -= counters.pop("sms-waiting", 0)
        counters["replies"] -= counters.pop("held", 0)
        counters["sms-taken"] -= counters.pop("sms-held", 0)
        return {name: count for name, count in counters.items() if not name.startswith(_LINK)}

    def _counts(self) -> Counter[str]:
        counters = Counter(self._before)
        for account in self._all():
            counters.update(account.counts())
        counters.update(self._outlet.counters)
        counters["waiting"] += self._outlet.waiting
        counters["sms-waiting"] = self._outlet.waiting_sms
        counters["published"] = sum(n for name, n in counters.items() if name.startswith("published:"))
        counters["repeated"] = self._repeated + self._amqp.repeated
        return counters

    def _all(self) -> Iterable[Account]:
        return itertools.chain(self._accounts.values(), self._gone)

    def _begin(self, account: Account) -> None:
        restored = account.sessions.restore(self._sessions.load(account.name), time.monotonic(), time.time())
        if restored:
            _log.info("%d sessions of account %s were open at the last end, and go on", restored, account.name)
        account.on_amqp(self._away, self._hope_ends, lost=False)
        account.start()

    def _end(self, accounts: Iterable[Account], timeout_s: float) -> None:
        ending = [gevent.spawn(account.stop, timeout_s) for account in accounts]
        try:
            gevent.joinall(ending, raise_error=True)
        finally:  # also when killed
            gevent.killall(ending)

    # From the AMQP client's manager: nothing here blocks.

    def _on_amqp_state(self, state: AmqpState) -> None:
        was_away, self._away = self._away, state.name != "up"
        # News while it is away: the attempt to come back has failed.
        self._hope_ends = 0.0 if was_away else time.monotonic() + _HOPE_S
        lost = state.name in ("down", "refused")  # RabbitMQ has back what was delivered on a connection that is gone
        for account in self._all():
            account.on_amqp(self._away, self._hope_ends, lost)
        self._outlet.on_amqp(not self._away)

    def _look_for_room(self) -> None:
        for account in self._accounts.values():
            account.receiver.look_for_room()

    def _save_soon(self) -> None:
        """Within a second, and not at all while nothing changes."""
        if self._saving is None or self._saving.dead:
            self._saving = gevent.spawn_later(_SAVE_S, self._save)

    def _save(self) -> None:
        now, wall = time.monotonic(), time.time()
        for account in self._all():
            self._sessions.save(account.name, *account.sessions.changes(now, wall))
        if now - self._expired > _EXPIRE_S:
            self._expired = now
            self._sms.expire(wall)
        self._sms.commit()


def _with_gateway(settings: Settings) -> list[SsmiSettings]:
    return [ssmi for ssmi in settings.accounts if ssmi.host]


def _link(settings: Settings, on_state: Callable[[AmqpState], None]) -> tuple[Client, Callable[[], tuple[int, int]]]:
    """The client, and how many spans it has exported and dropped."""
    name, topo = "richmond broker", whole_topology(settings)
    if not settings.otel.enabled:
        return Client(settings.amqp, name=name, topology=topo, on_state=on_state), lambda: (0, 0)
    from richmond.broker_spans import SpanClient  # its packages may not be there

    client = SpanClient(settings.amqp, name=name, topology=topo, on_state=on_state, otel=settings.otel)
    return client, lambda: client.spans


def whole_topology(settings: Settings) -> Topology:
    """All exchanges and queues of an installation."""
    return topology(settings.amqp, settings.workers, [ssmi.name for ssmi in settings.accounts])
