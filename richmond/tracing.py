"""The last messages of subscribers, with the time at each hop. Bounded, in memory. No I/O."""

from __future__ import annotations

from collections import OrderedDict, deque

import msgspec


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message. Times in Unix seconds, None where it has not been; of several at one hop, the last."""

    id: str
    kind: str
    received: float | None = None  # from the gateway's socket
    published: float | None = None  # confirmed by RabbitMQ
    delivered: float | None = None  # to a worker
    replied: float | None = None  # by the worker, as it comes out of the send queue
    sent: float | None = None  # to the gateway's socket, or not
    outcome: str = ""  # what became of the reply


class Trace:
    """A full one, of 200,000 records, takes some 70 MB."""

    def __init__(self, max_subscribers: int = 10000, per_subscriber: int = 20) -> None:
        self._max_subscribers = max_subscribers
        self._per_subscriber = per_subscriber
        self._subscribers: OrderedDict[str, deque[_Hops]] = OrderedDict()  # the longest silent first
        self._by_id: dict[str, _Hops] = {}

    def received(self, msisdn: str, id: str, kind: str, wall: float) -> None:
        """A message came from a subscriber, or about one."""
        self._begin(msisdn, id, kind).received = wall

    def originated(self, msisdn: str, id: str, kind: str, wall: float) -> None:
        """A message to a subscriber, which answers none, came out of the send queue."""
        self._begin(msisdn, id, kind).replied = wall

    # Of a message that is not known, or not any more, these do nothing.

    def published(self, id: str, wall: float) -> None:
        if (hops := self._by_id.get(id)) is not None:
            hops.published = wall

    def delivered(self, id: str, wall: float) -> None:
        if (hops := self._by_id.get(id)) is not None:
            hops.delivered = wall

    def replied(self, id: str, wall: float) -> None:
        if (hops := self._by_id.get(id)) is not None:
            hops.replied = wall

    def sent(self, id: str, wall: float, outcome: str) -> None:
        if (hops := self._by_id.get(id)) is not None:
            hops.sent = wall
            hops.outcome = outcome

    def of(self, msisdn: str) -> list[Record]:
        """The oldest first."""
        return [hops.record() for hops in self._subscribers.get(msisdn, ())]

    def _begin(self, msisdn: str, id: str, kind: str) -> _Hops:
        its = self._subscribers.get(msisdn)
        if its is None:
            its = self._subscribers[msisdn] = deque()
            if len(self._subscribers) > self._max_subscribers:
                for forgotten in self._subscribers.popitem(last=False)[1]:
                    self._forget(forgotten)
        else:
            self._subscribers.move_to_end(msisdn)
        hops = self._by_id[id] = _Hops(id, kind)
        its.append(hops)
        if len(its) > self._per_subscriber:
            self._forget(its.popleft())
        return hops

    def _forget(self, hops: _Hops) -> None:
        if self._by_id.get(hops.id) is hops:
            del self._by_id[hops.id]


class _Hops:
    __slots__ = ("delivered", "id", "kind", "outcome", "published", "received", "replied", "sent")

    def __init__(self, id: str, kind: str) -> None:
        self.id = id
        self.kind = kind
        self.received: float | None = None
        self.published: float | None = None
        self.delivered: float | None = None
        self.replied: float | None = None
        self.sent: float | None = None
        self.outcome = ""

    def record(self) -> Record:
        return Record(
            self.id, self.kind, self.received, self.published, self.delivered, self.replied, self.sent, self.outcome
        )
