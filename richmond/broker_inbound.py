"""What becomes of what the gateway says: published, answered with the apology, or dropped with a reason. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import msgspec

from richmond import messages
from richmond.errors import SSMIUsageError
from richmond.messages import UssdMessage
from richmond.routing import Routes
from richmond.settings import Settings
from richmond.ssmi.codec import (
    BinaryMo,
    DeliveryReport,
    Event,
    ExtendedUssd,
    FreeForm,
    ImsiReply,
    MoSms,
    PremiumBinaryMo,
    PremiumMo,
    SendUssd,
    Seq,
    Unknown,
    Ussd,
    UssdType,
    encode,
)
from richmond.ssmi.sessions import SessionTable

# The kind in the JSON; the routing key on the events exchange is ssmi.<kind>.
KINDS: dict[type[Any], str] = {
    Seq: "seq",
    MoSms: "mo",
    DeliveryReport: "dr",
    FreeForm: "free-form",
    BinaryMo: "binary-mo",
    PremiumMo: "premium-mo",
    PremiumBinaryMo: "premium-binary-mo",
    ImsiReply: "imsi-reply",
    Unknown: "unknown",
}

# Plain strings: an enumeration's members take three times as long to compare with.
_NEW = str(UssdType.NEW)
_USSD_TYPES = frozenset(map(str, (UssdType.NEW, UssdType.EXISTING, UssdType.END, UssdType.TIMEOUT)))
_WAITING_TYPES = frozenset(map(str, (UssdType.NEW, UssdType.EXISTING)))  # the subscriber waits for an answer


class Publish(msgspec.Struct, frozen=True):
    """`kind`: ussd or one of KINDS. `msisdn`, `ussd_type`, `token`: of a USSD message, should no queue take it."""

    kind: str
    exchange: str
    routing_key: str
    body: bytes
    msisdn: str = ""
    ussd_type: str = ""
    token: str | None = None


class Apologise(msgspec.Struct, frozen=True):
    """End the session with the configured text; `line` is it, ready for the socket."""

    reason: str
    line: bytes


class Drop(msgspec.Struct, frozen=True):
    reason: str


Outcome = Publish | Apologise | Drop


def is_ussd(event: Event) -> TypeGuard[Ussd | ExtendedUssd]:
    """From a subscriber to a worker; of a type that somebody has described."""
    return isinstance(event, Ussd | ExtendedUssd) and event.ussd_type in _USSD_TYPES


class Inbound:
    """`identity`: makes the id of a message, never repeated."""

    def __init__(self, settings: Settings, sessions: SessionTable, identity: Callable[[], str]) -> None:
        self._sessions = sessions
        self._identity = identity
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        self._settings = settings
        self._routes = Routes(settings.workers, settings.amqp)

    def decide(self, event: Event, now: float, wall: float, *, away: bool, full: bool) -> Outcome:
        """`now` monotonic, `wall` Unix seconds. `away`: RabbitMQ is; `full`: and no more is to be kept for it."""
        if is_ussd(event):
            return self._ussd(event, now, wall, away, full)
        if full:
            return Drop("buffer-full")
        return self._other(event, wall)

    def unroutable(self, message: Publish, now: float) -> Outcome:
        """No queue takes it, or RabbitMQ refuses it."""
        if message.ussd_type in _WAITING_TYPES and self._sessions.refusal(message.msisdn, message.token, now) is None:
            return self._apologise("unroutable", message.msisdn, now)
        return Drop("unroutable")

    def _ussd(self, event: Ussd | ExtendedUssd, now: float, wall: float, away: bool, full: bool) -> Outcome:
        ussd_type = event.ussd_type
        place = self._sessions.inbound(event.msisdn, ussd_type, event.message, now)
        routing_key = self._routes.routing_key(place.code)
        # A session that begins now would find nobody; one that is under way may outlast a short absence.
        reason = (
            "buffer-full"
            if full
            else "rabbitmq-away"
            if away and ussd_type == _NEW
            else "no-route"
            if routing_key is None
            else None
        )
        if reason is not None or routing_key is None:
            reason = reason or "no-route"
            if ussd_type in _WAITING_TYPES:
                return self._apologise(reason, event.msisdn, now)
            return Drop(reason)
        body = messages.encode(
            UssdMessage(
                msisdn=event.msisdn,
                ussd_type=ussd_type,
                ussd_phase=event.phase,
                message=event.message,
                session=place.token,
                code=place.code,
                id=self._identity(),
                received=wall,
                genfields=list(event.genfields) if isinstance(event, ExtendedUssd) else None,
            )
        )
        exchange = self._settings.amqp.exchange
        return Publish("ussd", exchange, routing_key, body, event.msisdn, ussd_type, place.token)

    def _other(self, event: Event, wall: float) -> Publish:
        if isinstance(event, Ussd | ExtendedUssd):  # of a type that nobody has described
            fields = msgspec.structs.astuple(event)
            event = Unknown("110" if isinstance(event, Ussd) else "111", fields)
        kind = KINDS[type(event)]
        facts: dict[str, Any] = {"kind": kind, "id": self._identity(), "received": wall}
        if isinstance(event, Unknown):
            facts |= {"command": event.id, "fields": event.fields}
        else:
            facts |= msgspec.structs.asdict(event)
        return Publish(kind, self._settings.amqp.events_exchange, f"ssmi.{kind}", messages.encode(facts))

    def _apologise(self, reason: str, msisdn: str, now: float) -> Outcome:
        ssmi = self._settings.ssmi
        try:
            line = encode(SendUssd(msisdn, UssdType.END, ssmi.apology), ssmi.encoding)
        except SSMIUsageError:  # a number that no line can carry back
            return Drop(reason)
        self._sessions.replied(msisdn, UssdType.END, now)
        return Apologise(reason, line)
