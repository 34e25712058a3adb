"""What a line from an SSMI client means, and which clients are logged in. No I/O.

The accounts' half of the simulator: login, the newer login that pushes the older out, link check, NACKs, delivery
reports, and the way of everything else to and from the subscribers; and what it does wrong on request.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from richmond.simulator import wire
from richmond.simulator.faults import LINE_NACKS, LOGIN_NACKS, Faults
from richmond.simulator.reports import DELIVERED, Reports, Rule
from richmond.simulator.subscribers import NETWORK, Refused, Subscribers, ToClient, ToPhone, imsi
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

_MSISDN = re.compile(r"[0-9]{1,15}")  # E.164
_NUMBER = re.compile(r"[0-9]+")
_HEX = re.compile(r"([0-9a-fA-F]{2})+")
_FIELD = re.compile(r"[!-+\--~]{1,40}")  # ASCII without space, comma and control characters


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
    account: str = ""  # from its login on


class Gateway:
    """A connection is named by a number that its socket's owner chooses and never uses again.

    `accounts`: user name -> password; an account is named by its user name. `first_sequence`: of the first SMS.
    """

    def __init__(
        self, accounts: Mapping[str, str], *, session_timeout_s: float, extended: bool, first_sequence: int = 1
    ) -> None:
        self.accounts = dict(accounts)
        self.counters: Counter[str] = Counter()
        self.subscribers = Subscribers(session_timeout_s, extended, self.counters)
        self.connections: dict[int, Connection] = {}
        self.logged_in: dict[str, int] = {}  # account -> the one connection that speaks for it
        self.faults = Faults()
        self.reports = Reports()
        self._sequence = first_sequence - 1
        self._means: dict[type[Any], Callable[[int, Any, float], list[Action]]] = {
            LinkCheck: self._link_check,
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

    def connected(self, connection: int, ip: str, now: float) -> Connection:
        known = self.connections[connection] = Connection(ip, now)
        return known

    def disconnected(self, connection: int) -> None:
        """Sessions stay open: the client may be back before their subscribers notice."""
        gone = self.connections.pop(connection, None)
        if gone is not None and self.logged_in.get(gone.account) == connection:
            del self.logged_in[gone.account]

    def speaks(self, connection: int) -> bool:
        """Whether it is logged in."""
        known = self.connections.get(connection)
        return known is not None and self.logged_in.get(known.account) == connection

    def received(self, connection: int, line: Command, now: float) -> list[Action]:
        """Nothing after a `Close`, whatever else was on its way from there."""
        if connection not in self.connections:
            return []
        self.counters[f"received_{type(line).__name__}"] += 1
        if isinstance(line, Login):
            return self._login(connection, line)
        if not self.speaks(connection) and not isinstance(line, Ignored):
            return [*self._nack(connection, BAD_LOGIN), *self._close(connection)]
        if not isinstance(line, LinkCheck):
            refused = self.faults.refused(LINE_NACKS, self._account(connection))
            if refused is not None:
                return self._nack(connection, Nack(refused))
        return self._means[type(line)](connection, line, now)

    def _login(self, connection: int, line: Login) -> list[Action]:
        account = line.username
        if self.faults.value("no-login", account):
            self.counters["logins_unanswered"] += 1
            return []
        refused = self.faults.refused(LOGIN_NACKS, account)
        if refused is not None or self.accounts.get(account) != line.password:
            self.counters["logins_refused"] += 1
            return [*self._nack(connection, Nack(refused or "1")), *self._close(connection)]
        self.counters["logins"] += 1
        if self.speaks(connection):  # it may change its mind about which account it is
            del self.logged_in[self._account(connection)]
        pushed_out: list[Action] = []
        if account in self.logged_in:
            self.counters["logins_pushed_out"] += 1
            pushed_out = self._push_out(account, self.connections[connection].ip)
        self.logged_in[account] = connection
        self.connections[connection].account = account
        return [*pushed_out, Send(connection, LOGIN_OK)]

    def _push_out(self, account: str, ip: str) -> list[Action]:
        older = self.logged_in[account]
        return [Send(older, RemoteLogout(ip)), *self._close(older)]

    def _link_check(self, connection: int, _line: LinkCheck, _now: float) -> list[Action]:
        if self.faults.value("mute", self._account(connection)):
            self.counters["link_checks_unanswered"] += 1
            return []
        return [Send(connection, LINK_CHECKED)]

    def _account(self, connection: int) -> str:
        return self.connections[connection].account

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
        account = self._account(connection)
        match UssdType(line.ussd_type):
            case UssdType.REDIRECT if not line.message.startswith(("*", "#")):
                return self._nack(connection, UNPARSABLE)
            case UssdType.REDIRECT:
                done = self.subscribers.redirect(line.msisdn, line.message, now, account)
            case UssdType.NETWORK | UssdType.NEW:  # 120 has only 1 for it
                done = self.subscribers.push(line.msisdn, line.message, now, account)
            case ussd_type:
                done = self.subscribers.reply(line.msisdn, line.message, now, account, last=ussd_type is UssdType.END)
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
        rule = self.reports.rule(line.msisdn)
        sequence = self._next_sequence()
        done: list[Action] = [Send(connection, Seq(line.msisdn, sequence))] if rule.seq else []
        if rule.report:
            report = DeliveryReport(line.msisdn, sequence, rule.code)
            if not rule.delay_s:
                done.append(Send(connection, report))
            elif not self.reports.later(now + rule.delay_s, self._account(connection), report):
                self.counters["reports_lost"] += 1
        if rule.code == DELIVERED:
            done.append(self.subscribers.deliver(message))
        else:
            self.counters["sms_not_delivered"] += 1
        return done

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
        if self.faults.value("no-imsi", self._account(connection)):
            self.counters["imsi_lookups_unanswered"] += 1
            return []
        return [Send(connection, ImsiReply(line.sequence, line.msisdn, line.imsi or imsi(line.msisdn), NETWORK))]

    # ---- telephones: Refused says why not ----

    def client(self, account: str = "") -> int:
        """The connection that is logged in as `account`; empty for the first of the accounts."""
        account = self._named(account) or next(iter(self.accounts))
        if account not in self.logged_in:
            which = f" as {account}" if len(self.accounts) > 1 else ""
            raise Refused(f"the gateway has no client logged in{which}")
        return self.logged_in[account]

    def dial(self, msisdn: str, code: str, now: float, account: str = "") -> list[Action]:
        account = self._account(self.client(account))
        return self._routed(self.subscribers.dial(msisdn, code, now, account))

    def answer(self, msisdn: str, text: str, now: float) -> list[Action]:
        account = self.subscribers.account_of(msisdn)
        if account is not None and account not in self.logged_in:
            return self._routed(self.subscribers.lose(msisdn))
        return self._routed(self.subscribers.answer(msisdn, text, now))

    def hangup(self, msisdn: str) -> list[Action]:
        return self._routed(self.subscribers.hangup(msisdn))

    def time_out(self, msisdn: str) -> list[Action]:
        return self._routed(self.subscribers.time_out(msisdn))

    def deadline(self) -> float | None:
        """When `tick` is due; None: nothing to wait for."""
        deadlines = [d for d in (self.subscribers.deadline(), self.reports.deadline()) if d is not None]
        return min(deadlines, default=None)

    def tick(self, now: float) -> list[Action]:
        reports = [ToClient(account, report) for account, report in self.reports.due(now)]
        return self._routed([*reports, *self.subscribers.expire(now)])

    def sms(self, msisdn: str, sms: PhoneSms) -> list[Action]:
        client = self.client(sms.account)
        if sms.to and not is_msisdn(sms.to):
            raise Refused(f"{sms.to!r} is not a short code: digits only")
        if not sms.hex:
            return self._mo(
                client,
                PremiumMo(msisdn, self._next_sequence(), sms.to, sms.text)
                if sms.to
                else MoSms(msisdn, self._next_sequence(), sms.text),
            )
        if not _is_binary(sms.pid, sms.coding, sms.hex):
            raise Refused("a binary SMS needs an even number of hex digits, and pid and coding from 0 to 255")
        return self._mo(
            client,
            PremiumBinaryMo(msisdn, self._next_sequence(), sms.pid, sms.coding, sms.to, sms.hex)
            if sms.to
            else BinaryMo(msisdn, self._next_sequence(), sms.pid, sms.coding, sms.hex),
        )

    # ---- what the gateway does to its clients: Refused says why not ----

    def clients(self, account: str) -> list[int]:
        """The connection that is logged in as `account`; empty for all connections, logged in or not."""
        return [self.client(account)] if account else list(self.connections)

    def set_report(self, request: wire.SetReport) -> None:
        if request.msisdn and not is_msisdn(request.msisdn):
            raise Refused(f"{request.msisdn!r} is not a telephone number: 1 to 15 digits, as in 27831112222")
        if request.reset:
            self.reports.reset(request.msisdn)
        elif _FIELD.fullmatch(request.code) is None:
            raise Refused(f"{request.code!r} is no return code: 0 to 5, or another word of up to 40 letters and digits")
        else:
            self.reports.set(request.msisdn, Rule(request.code, request.delay_s, request.seq, request.report))

    def set_nack(self, request: wire.SetNack) -> None:
        self.faults.refuse(request.code, request.times, self._named(request.account))

    def set_fault(self, request: wire.SetFault) -> None:
        account = self._named(request.account)
        if not request.on:
            if not self.faults.end(request.name, account):
                raise Refused(f"{request.name} is not on" + (f" for {account}" if account else ""))
        elif request.name == "delay" and not request.seconds:
            raise Refused("say of how many seconds the delay is")
        else:
            self.faults.begin(request.name, account, request.seconds if request.name == "delay" else 1.0)

    def calm(self, account: str) -> None:
        self.faults.calm(self._named(account))

    def push_out(self, request: wire.PushOut) -> list[Action]:
        """As if another client had logged in, which is gone at once."""
        if _FIELD.fullmatch(request.ip) is None:
            raise Refused(f"{request.ip!r} is no address")
        accounts = [self._account(self.client(request.account))] if request.account else list(self.logged_in)
        if not accounts:
            raise Refused("the gateway has no client logged in")
        self.counters["logins_pushed_out"] += len(accounts)
        return [action for account in accounts for action in self._push_out(account, request.ip)]

    # ---- within ----

    def _named(self, account: str) -> str:
        if account and account not in self.accounts:
            raise Refused(f"the gateway has no account {account}: there is {', '.join(self.accounts)}")
        return account

    def _mo(self, client: int, line: Event) -> list[Action]:
        self.counters["sms_from_phones"] += 1
        return [Send(client, line)]

    def _next_sequence(self) -> str:
        self._sequence += 1
        return str(self._sequence)

    def _routed(self, actions: Iterable[SubscriberAction]) -> list[Action]:
        """Lines for an account to the connection that is logged in; without one they are lost, and counted."""
        routed: list[Action] = []
        for action in actions:
            if isinstance(action, ToPhone):
                routed.append(action)
            elif action.account in self.logged_in:
                routed.append(Send(self.logged_in[action.account], action.line))
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
