"""What is no USSD, on its way from the gateways to RabbitMQ: none of it is ever lost.

Straight there while RabbitMQ is up; by way of the journal while it is away, and as long as something in it waits; in
memory if the journal takes nothing. In order: what is in hand at RabbitMQ's client is the oldest, then comes the
journal, then memory.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial

import gevent
import msgspec

from richmond.amqp.client import Client
from richmond.amqp.topology import DEAD_ROUTING_KEY
from richmond.broker_inbound import SMS_KINDS, Post
from richmond.broker_refusal import Refused, dead_letter_headers
from richmond.broker_status import JournalStatus
from richmond.broker_tally import Tally
from richmond.broker_trace import Tracer
from richmond.errors import AMQPError
from richmond.journal import Entry, Journal
from richmond.settings import AmqpSettings

_log = logging.getLogger(__name__)

_BATCH = 200  # entries of the journal that are read, or done, at once
_MOST_FLYING = 500  # more are not taken from the journal: the gateways are read on meanwhile
_RETRY_S = 1.0
_PUBLISHED = "published:"
_NO_ROUTE = Refused("no-route", "no queue takes it")


class _Flight(msgspec.Struct, eq=False):
    """One that RabbitMQ's client has. `entry`: its id in the journal, 0 if it is not there."""

    post: Post
    entry: int = 0


class Outlet:
    """For all accounts. `waiting`: what this process has taken and is not settled."""

    def __init__(
        self,
        settings: AmqpSettings,
        journal: Journal,
        amqp: Client,
        tracer: Tracer,
        on_room: Callable[[], None],
        asleep: dict[str, Callable[[], object]],
    ) -> None:
        """`on_room`: something has gone. `asleep`: see Broker."""
        self._asleep = asleep
        self._tracer = tracer
        self._settings = settings
        self._journal = journal
        self._amqp = amqp
        self._on_room = on_room
        self.counters = Tally()
        self.waiting = 0
        self._up = False
        self._closed = False
        self._numbers = itertools.count(1)
        self._flights: dict[int, _Flight] = {}
        self._journalled: set[int] = set()  # entries that are flights
        self._unread = len(journal)  # entries that are not
        self._inherited = journal.last  # entries up to this one are an earlier process's: not counted before they fly
        self._cursor = 0  # the last entry that was read
        self._done: list[int] = []  # entries that RabbitMQ has
        self._kept: deque[Post] = deque()
        self._kept_of: Counter[str] = Counter()  # by account
        self._kept_since = 0.0  # Unix seconds
        self._retry: gevent.Greenlet | None = None

    @property
    def flying(self) -> int:
        return len(self._flights)

    @property
    def waiting_sms(self) -> int:
        counters = self.counters
        gone = sum(counters[_PUBLISHED + kind] for kind in SMS_KINDS)
        return counters["sms"] - gone - counters["dead-lettered"] - counters["sms-dropped"]

    def kept(self, account: str) -> int:
        """How many of its messages are in memory only."""
        return self._kept_of[account]

    def status(self) -> JournalStatus:
        return JournalStatus(len(self._journal), self._journal.oldest(), len(self._kept))

    def configure(self, settings: AmqpSettings) -> None:
        self._settings = settings

    def put(self, posts: Sequence[Post], wall: float) -> None:
        """`wall`: when they were read, Unix seconds."""
        self.waiting += len(posts)
        for post in posts:
            self.counters["sms"] += post.kind in SMS_KINDS
        if self._up and not self._closed and not self._unread and not self._kept:
            for post in posts:
                self._fly(_Flight(post))
        elif self._kept or not self._write(posts, wall):
            self._kept_since = self._kept_since if self._kept else wall
            self._kept.extend(posts)
            self._kept_of.update(post.account for post in posts)
            self._try_again()

    def on_amqp(self, up: bool) -> None:
        was_up, self._up = self._up, up
        if up:
            self._go_on()
        elif was_up:
            self._save()

    def close(self) -> None:
        """RabbitMQ's client has ended: what it did not settle is for the next process."""
        if self._retry is not None:
            self._retry.kill()
        self._up = False
        self._closed = True
        lost = self._save()
        if not self._write(self._kept, self._kept_since):
            lost += self._kept
        if lost:
            count = len(lost)
            _log.error("%d messages from the gateway are lost: neither RabbitMQ nor the journal took them", count)
            self.waiting -= count
            self.counters["dropped"] += count
            self.counters["dropped:stopped"] += count
            self.counters["sms-dropped"] += sum(post.kind in SMS_KINDS for post in lost)
        self._journal.done(self._done)
        self._journal.close()

    # To the journal.

    def _write(self, posts: Sequence[Post] | deque[Post], wall: float) -> bool:
        if not self._append(list(posts), wall):
            return False
        self._unread += len(posts)
        return True

    def _append(self, posts: Sequence[Post], wall: float) -> bool:
        entries = [Entry(post.kind, post.exchange, post.routing_key, post.body, wall) for post in posts]
        if entries and not self._journal.append(entries):
            return False
        self.counters["journalled"] += len(entries)
        return True

    def _save(self) -> list[Post]:
        """What flies and is not on the disk yet. RabbitMQ's client keeps it too, and publishes it again.

        Returns what could not be saved.
        """
        flights = [flight for flight in self._flights.values() if not flight.entry]
        if not self._append([flight.post for flight in flights], time.time()):
            return [flight.post for flight in flights]
        for entry, flight in enumerate(flights, self._journal.last - len(flights) + 1):
            flight.entry = entry
            self._journalled.add(entry)
        return []

    # From there to RabbitMQ.

    def _go_on(self) -> None:
        """Take what is next, until enough is in hand."""
        while self._up and not self._closed and self._unread and len(self._flights) < _MOST_FLYING:
            entries = self._journal.peek(_BATCH, self._cursor)
            if not entries:  # the disk gives nothing, or the file was put aside
                self._unread = min(self._unread, max(0, len(self._journal) - len(self._journalled)))
                if self._unread:
                    self._try_again()
                break
            for entry in entries:
                self._cursor = entry.id
                if entry.id in self._journalled or entry.id in self._done:
                    continue
                self._unread -= 1
                if entry.id <= self._inherited:
                    self.waiting += 1
                    self.counters["received"] += 1
                    self.counters["sms"] += entry.kind in SMS_KINDS
                self._journalled.add(entry.id)
                self._fly(_Flight(Post(entry.kind, entry.exchange, entry.routing_key, entry.body), entry.id))
        if self._up and not self._closed and not self._unread and self._kept:
            kept = list(self._kept)
            self._kept.clear()
            self._kept_of.clear()
            for post in kept:
                self._fly(_Flight(post))
            self._on_room()
        self._amqp.flush()

    def _fly(self, flight: _Flight) -> None:
        number = next(self._numbers)
        self._flights[number] = flight
        self._publish(number, flight.post)

    def _publish(self, number: int, post: Post, headers: dict[str, str] | None = None) -> None:
        if post.routing_key in self._asleep:
            self._asleep.pop(post.routing_key)()
        done = self._settled if headers is None else self._buried
        try:
            self._amqp.publish(
                post.exchange, post.routing_key, post.body, headers=headers, on_done=partial(done, number), hold=True
            )
        except AMQPError:  # closed: `close` saves it
            self._closed = True

    def _settled(self, number: int, result: str | None) -> None:
        post = self._flights[number].post
        if result is None:
            self._gone(number, _PUBLISHED + post.kind)
        elif post.kind in SMS_KINDS:
            self._bury(number, _NO_ROUTE if result == "unroutable" else Refused(result, "RabbitMQ does not take it"))
        elif post.exchange == self._settings.exchange:  # the class that it is for has gone
            events = msgspec.structs.replace(
                post, exchange=self._settings.events_exchange, routing_key=f"ssmi.{post.kind}"
            )
            self._flights[number].post = events
            self._publish(number, events)
        else:
            self._gone(number, "unbound")

    def _bury(self, number: int, refused: Refused) -> None:
        post = self._flights[number].post
        letter = msgspec.structs.replace(post, exchange=self._settings.exchange, routing_key=DEAD_ROUTING_KEY)
        self._publish(number, letter, dead_letter_headers(refused, "", {}, time.time()))

    def _buried(self, number: int, result: str | None) -> None:
        if result is None:
            self._gone(number, "dead-lettered")
            return
        _log.error("the dead-letter queue %s takes nothing: %s", self._settings.dead_queue, result)
        gevent.spawn_later(_RETRY_S, self._bury, number, _NO_ROUTE)

    def _gone(self, number: int, counter: str) -> None:
        flight = self._flights.pop(number)
        if self._tracer.on and counter.startswith(_PUBLISHED):
            self._tracer.published(flight.post.id)
        elif self._tracer.on:
            self._tracer.left(flight.post.id, counter)
        self.counters[counter] += 1
        self.counters["routed"] += counter.startswith(_PUBLISHED) and flight.post.exchange == self._settings.exchange
        self.waiting -= 1
        if flight.entry:
            self._journalled.discard(flight.entry)
            self._done.append(flight.entry)
        if self._done and (len(self._done) >= _BATCH or not self._journalled):
            done, self._done = self._done, []
            self._journal.done(done)
        if self._unread:
            self._go_on()
        self._on_room()

    # When the disk takes or gives nothing.

    def _try_again(self) -> None:
        if self._retry is None or self._retry.dead:
            self._retry = gevent.spawn_later(_RETRY_S, self._look)

    def _look(self) -> None:
        self._retry = None
        if self._up:
            self._go_on()
        elif self._kept:
            if self._write(self._kept, self._kept_since):
                self._kept.clear()
                self._kept_of.clear()
                self._on_room()
            else:
                self._try_again()
