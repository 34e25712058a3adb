"""What becomes of what a gateway says: published, answered with the apology, or dropped with a reason. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from richmond import messages
from richmond.errors import SSMIUsageError
from richmond.messages import UssdMessage
from richmond.routing import Route, Routes
from richmond.settings import Settings, SsmiSettings
from richmond.sms_store import Lookup, Sent
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
    SendExtendedUssd,
    SendUssd,
    Seq,
    Unknown,
    Ussd,
    UssdType,
    encode,
)
from richmond.ssmi.sessions import Pages, SessionTable

_MESSAGES: dict[type[Any], type[messages.Inbound]] = {
    MoSms: messages.Sms,
    PremiumMo: messages.PremiumSms,
    BinaryMo: messages.BinarySms,
    PremiumBinaryMo: messages.PremiumBinarySms,
    DeliveryReport: messages.DeliveryReport,
    Seq: messages.Sequence,
    FreeForm: messages.FreeForm,
    ImsiReply: messages.ImsiReply,
    Unknown: messages.UnknownLine,
}
# The kind in the JSON; the routing key on the events exchange is ssmi.<kind>.
KINDS: dict[type[Any], str] = {event: str(cls.__struct_config__.tag) for event, cls in _MESSAGES.items()}
SMS_KINDS = frozenset(KINDS[event] for event in (MoSms, PremiumMo, BinaryMo, PremiumBinaryMo))
_SMS = (MoSms, PremiumMo, BinaryMo, PremiumBinaryMo)

# Plain strings: an enumeration's members take three times as long to compare with.
_NEW = str(UssdType.NEW)
USSD_TYPES = frozenset(map(str, (UssdType.NEW, UssdType.EXISTING, UssdType.END, UssdType.TIMEOUT)))
WAITING_TYPES = frozenset(map(str, (UssdType.NEW, UssdType.EXISTING)))  # the subscriber waits for an answer

MORE_OPTION = "#"  # where no class says otherwise

_MOST_CODES = 10_000  # whose routes are remembered: they come from outside


class Publish(msgspec.Struct, frozen=True):
    """A USSD message for a worker."""

    routing_key: str
    body: bytes
    id: str
    msisdn: str
    ussd_type: str
    token: str | None


class Post(msgspec.Struct, frozen=True):
    """Anything else for RabbitMQ. `kind`: one of KINDS. `account`: by which it came; empty after a restart."""

    kind: str
    exchange: str
    routing_key: str
    body: bytes
    id: str = ""
    account: str = ""


class Apologise(msgspec.Struct, frozen=True):
    """End the session with the configured text; `line` is it, ready for the socket."""

    reason: str
    line: bytes


class Drop(msgspec.Struct, frozen=True):
    reason: str


class Turn(msgspec.Struct, frozen=True):
    """The subscriber wants the next page; `line` is it. `pages`: what there was before, should it not get there."""

    line: bytes
    msisdn: str
    ussd_type: str
    token: str | None
    pages: Pages


Outcome = Publish | Apologise | Drop | Turn


class Inbound:
    """Of one account. `identity`: makes the id of a message, never repeated."""

    def __init__(
        self, settings: Settings, account: SsmiSettings, sessions: SessionTable, identity: Callable[[], str]
    ) -> None:
        self._sessions = sessions
        self._identity = identity
        self.configure(settings, account)

    def configure(self, settings: Settings, account: SsmiSettings) -> None:
        self._amqp = settings.amqp
        self._account = account
        self._traces = settings.richmond.trace
        self._routes = Routes(settings.workers, settings.amqp)
        self._known: dict[str | None, Route | None] = {}  # code -> its route
        self._options = {worker.name: _plain(worker.more_option) for worker in settings.workers}

    def ussd(self, event: Ussd | ExtendedUssd, now: float, wall: float, away: bool, full: bool) -> Outcome:
        """Of one of USSD_TYPES. `now` monotonic, `wall` Unix seconds.

        `away`: RabbitMQ is; `full`: and no more is to be kept for it.
        """
        msisdn, ussd_type = event.msisdn, event.ussd_type
        place = self._sessions.inbound(msisdn, ussd_type, event.message, now)
        code = place.code
        route = self._known.get(code) or self._route(code)
        if place.pages is not None:
            if self._wants_more(route, event.message):
                return self._turn(msisdn, place.token, place.pages)
            self._sessions.keep_pages(msisdn, place.token, None)
        # A session that begins now would find nobody; one that is under way may outlast a short absence.
        if full or route is None or (away and ussd_type == _NEW):
            reason = "buffer-full" if full else "rabbitmq-away" if away and ussd_type == _NEW else "no-route"
            return self._apologise(reason, msisdn, now) if ussd_type in WAITING_TYPES else Drop(reason)
        id = self._identity()
        message = UssdMessage(
            msisdn=msisdn,
            ussd_type=ussd_type,
            ussd_phase=event.phase,
            message=event.message,
            session=place.token,
            code=code,
            rest=(route.rest or None) if ussd_type == _NEW else None,
            id=id,
            received=wall,
            account=self._account.name,
            genfields=list(event.genfields) if type(event) is ExtendedUssd else None,
        )
        body = messages.encode(_marked(message) if self._traces else message)
        return Publish(route.routing_key, body, id, msisdn, ussd_type, place.token)

    def give_up(self, message: Publish, reason: str, now: float) -> Apologise | Drop:
        """Nobody will handle it."""
        if message.ussd_type in WAITING_TYPES and self.is_open(message, now):
            return self._apologise(reason, message.msisdn, now)
        return Drop(reason)

    def is_open(self, message: Publish, now: float) -> bool:
        """Its session is."""
        return self._sessions.refusal(message.msisdn, message.token, now) is None

    def post(self, event: Event, wall: float, match: Sent | Lookup | None = None) -> Post:
        """All that is no USSD. `match`: what it is about, of what was sent."""
        if isinstance(event, Ussd | ExtendedUssd):  # of a type that nobody has described
            fields = msgspec.structs.astuple(event)
            event = Unknown("110" if isinstance(event, Ussd) else "111", fields)
        kind = type(event)
        id = self._identity()
        facts: dict[str, Any] = {"id": id, "received": wall, "account": self._account.name}
        if isinstance(event, Unknown):
            facts |= {"command": event.id, "fields": event.fields}
        else:
            facts |= msgspec.structs.asdict(event)
        if isinstance(event, DeliveryReport):
            facts["status"] = messages.delivery_status(event.ret_code)
        if isinstance(match, Lookup):
            facts["lookup_id"] = match.id
        elif match is not None:
            facts["sms_id"] = match.id
            if isinstance(event, DeliveryReport) and match.parts > 1:
                facts |= {"part": match.part, "parts": match.parts}
        exchange, routing_key = self._address(event, match)
        message = _MESSAGES[kind](**facts)
        body = messages.encode(_marked(message) if self._traces else message)
        return Post(KINDS[kind], exchange, routing_key, body, id, self._account.name)

    def _address(self, event: Event, match: Sent | Lookup | None) -> tuple[str, str]:
        """Exchange and routing key."""
        account = self._account.name
        if match is not None and match.report_to is not None:
            return self._amqp.exchange, match.report_to
        route = None
        if isinstance(event, _SMS):
            text = getattr(event, "message", None)
            route = self._routes.sms(account, getattr(event, "destination", None), text)
        elif isinstance(event, DeliveryReport):
            route = self._routes.default_sms(account)
        if route is None:
            return self._amqp.events_exchange, f"ssmi.{KINDS[type(event)]}"
        return self._amqp.exchange, route.routing_key

    def _route(self, code: str | None) -> Route | None:
        if len(self._known) >= _MOST_CODES:
            self._known.clear()
        route = self._known[code] = self._routes.ussd(code, self._account.name)
        return route

    def _wants_more(self, route: Route | None, message: str) -> bool:
        return _plain(message) == self._options.get(route.worker if route is not None else "", MORE_OPTION)

    def _turn(self, msisdn: str, token: str | None, pages: Pages) -> Turn:
        text, *rest = pages.texts
        ussd_type = str(UssdType.EXISTING) if rest else pages.ussd_type
        command = (
            SendUssd(msisdn, ussd_type, text)
            if pages.genfields is None
            else SendExtendedUssd(msisdn, ussd_type, pages.genfields, text)
        )
        left = msgspec.structs.replace(pages, texts=tuple(rest)) if rest else None
        self._sessions.asked(msisdn)  # no worker is
        self._sessions.keep_pages(msisdn, token, left)
        return Turn(encode(command, self._account.encoding), msisdn, ussd_type, token, pages)

    def _apologise(self, reason: str, msisdn: str, now: float) -> Apologise | Drop:
        account = self._account
        try:
            line = encode(SendUssd(msisdn, UssdType.END, account.apology), account.encoding)
        except SSMIUsageError:  # a number that no line can carry back
            return Drop(reason)
        self._sessions.replied(msisdn, UssdType.END, now)
        return Apologise(reason, line)


def _plain(option: str) -> str:
    return option.strip().casefold()


def _marked(message: messages.Inbound) -> dict[str, Any]:
    """Has the worker say when it got it and when it replied."""
    return {**msgspec.to_builtins(message), "trace": True}
