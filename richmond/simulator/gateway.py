"""What a line from an SSMI client means, and which client is logged in. No I/O.

The account's half of the simulator: login, the newer login that pushes the older out, link check, NACKs, and the
way of everything else to and from the subscribers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from richmond.simulator.subscribers import NETWORK, Refused, Subscribers, ToPhone, imsi
from richmond.simulator.subscribers import Action as SubscriberAction
from richmond.simulator.wire import Message
from richmond.simulator.wire import SendSms as PhoneSms
from richmond.ssmi.codec import (
    Ack,
    BinaryMo,
    Command,
    DeliveryReport,
    Event,
    Ignored,
    ImsiLookup,
    ImsiReply,
    LinkCheck,
    Login,
    Logout,
    MoSms,
    Nack,
    PremiumBinaryMo,
    PremiumMo,
    RemoteLogout,
    SendBinarySms,
    SendExtendedUssd,
    SendMms,
    SendSms,
    SendUssd,
    SendWapPush,
    Seq,
    Unknown,
    UssdType,
)

LOGIN_OK, LINK_CHECKED = Ack("1"), Ack("2")
BAD_LOGIN, UNKNOWN_ID, UNPARSABLE = Nack("1"), Nack("2"), Nack("3")
DELIVERED = "0"

_MSISDN = re.compile(r"[0-9]{1,15}")  # E.164
_NUMBER = re.compile(r"[0-9]+")
_HEX = re.compile(r"([0-9a-fA-F]{2})+")


@dataclass(frozen=True, slots=True)
class Send:
    connection: int
    line: Event


@dataclass(frozen=True, slots=True)
class Close:
    """After what was sent before it has gone out."""

    connection: int


Action = Send | Close | ToPhone


@dataclass(slots=True)
class Connection:
    ip: str
    since: float


class Gateway:
    """A connection is named by a number that its socket's owner chooses and never uses again."""

    def __init__(self, *, username: str, password: str, session_timeout_s: float, extended: bool) -> None:
        self._username = username
        self._password = password
        self.counters: Counter[str] = Counter()
        self.subscribers = Subscribers(session_timeout_s, extended, self.counters)
        self.connections: dict[int, Connection] = {}
        self.logged_in: int | None = None  # the one connection that speaks for the account
        self._sequence = 0
        self._means: dict[type[Any], Callable[[int, Any, float], list[Action]]] = {
            LinkCheck: lambda connection, _line, _now: [Send(connection, LINK_CHECKED)],
            Logout: lambda connection, _line, _now: self._close(connection),
            SendUssd: self._ussd,
            SendExtendedUssd: self._ussd,
            SendSms: self._sms,
            SendBinarySms: self._sms,
            SendWapPush: self._push_message,
            SendMms: self._push_message,
            ImsiLookup: self._imsi,
            Unknown: lambda connection, _line, _now: self._nack(connection, UNKNOWN_ID),
            Ignored: lambda connection, _line, _now: self._nack(connection, UNPARSABLE),
        }

    # ---- SSMI connections ----

    def connected(self, connection: int, ip: str, now: float) -> None:
        self.connections[connection] = Connection(ip, now)

    def disconnected(self, connection: int) -> None:
        """Sessions stay open: the client may be back before their subscribers notice."""
        self.connections.pop(connection, None)
        if self.logged_in == connection:
            self.logged_in = None

    def received(self, connection: int, line: Command, now: float) -> list[Action]:
        """Nothing after a `Close`, whatever else was on its way from there."""
        if connection not in self.connections:
            return []
        self.counters[f"received_{type(line).__name__}"] += 1
        if isinstance(line, Login):
            return self._login(connection, line)
        if connection != self.logged_in and not isinstance(line, Ignored):
            return [*self._nack(connection, BAD_LOGIN), *self._close(connection)]
        return self._means[type(line)](connection, line, now)

    def _login(self, connection: int, line: Login) -> list[Action]:
        if (line.username, line.password) != (self._username, self._password):
            self.counters["logins_refused"] += 1
            return [*self._nack(connection, BAD_LOGIN), *self._close(connection)]
        self.counters["logins"] += 1
        pushed_out: list[Action] = []
        older = self.logged_in
        if older is not None and older != connection:
            self.counters["logins_pushed_out"] += 1
            pushed_out = [Send(older, RemoteLogout(self.connections[connection].ip)), *self._close(older)]
        self.logged_in = connection
        return [*pushed_out, Send(connection, LOGIN_OK)]

    def _close(self, connection: int) -> list[Action]:
        self.disconnected(connection)
        return [Close(connection)]

    def _nack(self, connection: int, nack: Nack) -> list[Action]:
        self.counters[f"nacks_{nack.nack_type}"] += 1
        return [Send(connection, nack)]

    # ---- what a logged-in client may say ----

    def _ussd(self, connection: int, line: SendUssd | SendExtendedUssd, now: float) -> list[Action]:
        allowed = "2356" if isinstance(line, SendUssd) else "123"
        if not is_msisdn(line.msisdn) or line.ussd_type not in tuple(allowed):
            return self._nack(connection, UNPARSABLE)
        match UssdType(line.ussd_type):
            case UssdType.REDIRECT if not line.message.startswith(("*", "#")):
                return self._nack(connection, UNPARSABLE)
            case UssdType.REDIRECT:
                done = self.subscribers.redirect(line.msisdn, line.message, now)
            case UssdType.NETWORK | UssdType.NEW:  # 120 has only 1 for it
                done = self.subscribers.push(line.msisdn, line.message, now)
            case ussd_type:
                done = self.subscribers.reply(line.msisdn, line.message, now, last=ussd_type is UssdType.END)
        return self._routed(done)

    def _sms(self, connection: int, line: SendSms | SendBinarySms, now: float) -> list[Action]:
        if not is_msisdn(line.msisdn) or not _is_number(line.validity):
            return self._nack(connection, UNPARSABLE)
        if isinstance(line, SendSms):
            message = Message(line.msisdn, "text", text=line.message)
        elif _is_binary(line.pid, line.coding, line.hex_msg):
            message = Message(line.msisdn, "binary", hex=line.hex_msg, pid=line.pid, coding=line.coding)
        else:
            return self._nack(connection, UNPARSABLE)
        sequence = self._next_sequence()
        return [
            Send(connection, Seq(line.msisdn, sequence)),
            Send(connection, DeliveryReport(line.msisdn, sequence, DELIVERED)),
            self.subscribers.deliver(message),
        ]

    def _push_message(self, connection: int, line: SendWapPush | SendMms, now: float) -> list[Action]:
        if not is_msisdn(line.msisdn):
            return self._nack(connection, UNPARSABLE)
        if isinstance(line, SendWapPush):
            message = Message(line.msisdn, "wap-push", text=line.subject, url=line.url)
        else:
            message = Message(line.msisdn, "mms", text=line.subject, name=line.name, hex=line.content)
        return [self.subscribers.deliver(message)]

    def _imsi(self, connection: int, line: ImsiLookup, now: float) -> list[Action]:
        if not (is_msisdn(line.msisdn) and _is_number(line.sequence) and (not line.imsi or _is_number(line.imsi))):
            return self._nack(connection, UNPARSABLE)
        return [Send(connection, ImsiReply(line.sequence, line.msisdn, line.imsi or imsi(line.msisdn), NETWORK))]

    # ---- telephones: Refused says why not ----

    def client(self) -> int:
        """The connection that is logged in."""
        if self.logged_in is None:
            raise Refused("the gateway has no client logged in")
        return self.logged_in

    def dial(self, msisdn: str, code: str, now: float) -> list[Action]:
        self.client()
        return self._routed(self.subscribers.dial(msisdn, code, now))

    def answer(self, msisdn: str, text: str, now: float) -> list[Action]:
        if msisdn in self.subscribers and self.logged_in is None:
            return self._routed(self.subscribers.lose(msisdn))
        return self._routed(self.subscribers.answer(msisdn, text, now))

    def hangup(self, msisdn: str) -> list[Action]:
        return self._routed(self.subscribers.hangup(msisdn))

    def time_out(self, msisdn: str) -> list[Action]:
        return self._routed(self.subscribers.time_out(msisdn))

    def tick(self, now: float) -> list[Action]:
        return self._routed(self.subscribers.expire(now))

    def sms(self, msisdn: str, sms: PhoneSms) -> list[Action]:
        self.client()
        if sms.to and not is_msisdn(sms.to):
            raise Refused(f"{sms.to!r} is not a short code: digits only")
        if not sms.hex:
            return self._mo(
                PremiumMo(msisdn, self._next_sequence(), sms.to, sms.text)
                if sms.to
                else MoSms(msisdn, self._next_sequence(), sms.text)
            )
        if not _is_binary(sms.pid, sms.coding, sms.hex):
            raise Refused("a binary SMS needs an even number of hex digits, and pid and coding from 0 to 255")
        return self._mo(
            PremiumBinaryMo(msisdn, self._next_sequence(), sms.pid, sms.coding, sms.to, sms.hex)
            if sms.to
            else BinaryMo(msisdn, self._next_sequence(), sms.pid, sms.coding, sms.hex)
        )

    # ---- within ----

    def _mo(self, line: Event) -> list[Action]:
        self.counters["sms_from_phones"] += 1
        return [Send(self.client(), line)]

    def _next_sequence(self) -> str:
        self._sequence += 1
        return str(self._sequence)

    def _routed(self, actions: Iterable[SubscriberAction]) -> list[Action]:
        """Lines for the client to the connection that is logged in; without one they are lost, and counted."""
        routed: list[Action] = []
        for action in actions:
            if isinstance(action, ToPhone):
                routed.append(action)
            elif self.logged_in is not None:
                routed.append(Send(self.logged_in, action.line))
            else:
                self.counters["lines_lost"] += 1
        return routed


def is_msisdn(text: str) -> bool:
    """Digits only, as on the wire: no plus sign."""
    return _MSISDN.fullmatch(text) is not None


def _is_number(text: str, most: int | None = None) -> bool:
    return _NUMBER.fullmatch(text) is not None and (most is None or int(text) <= most)


def _is_binary(pid: str, coding: str, hex_msg: str) -> bool:
    return _HEX.fullmatch(hex_msg) is not None and _is_number(pid, 255) and _is_number(coding, 255)
