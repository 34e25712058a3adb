"""Who has a USSD session open, whose turn it is, and what is in the inboxes. No I/O.

The network's half of the simulator: at most one session for each number, and exactly one `End` for each `Begin`. A
session is with one account, and no other has a say in it.
Methods return what to tell the SSMI client (`ToClient`) and the telephones (`ToPhone`), in order.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from richmond.errors import RichmondError
from richmond.simulator.wire import Begin, End, Menu, Message, News, Reason
from richmond.ssmi.codec import Event, ExtendedUssd, Ussd, UssdType
from richmond.ssmi.text import septets, ussd_fits

PHASE_DIALOGUE = "2"
SMS_SEPTETS = 160
SMS_UCS2_UNITS = 70
INBOX_MESSAGES = 100  # of one number; older ones go
INBOXES = 10_000  # numbers; the one written to least recently goes
SESSIONS = 100_000  # open at a time
NETWORK = "65501"  # South Africa's first operator: in an IMSI, and as the SPID


class Refused(RichmondError):
    """A telephone asked for what cannot be now. The text is for the person who holds it."""


@dataclass(frozen=True, slots=True)
class ToClient:
    account: str
    line: Event


@dataclass(frozen=True, slots=True)
class ToPhone:
    news: News


Action = ToClient | ToPhone


@dataclass(slots=True)
class _Session:
    account: str
    code: str
    genfields: tuple[str, ...]
    menu_shown: bool  # it is the subscriber's turn
    deadline: float


@dataclass(slots=True)
class Subscribers:
    """`timeout_s`: how long a session may be silent, whoever's turn it is, before the network ends it."""

    timeout_s: float
    extended: bool
    counters: Counter[str] = field(default_factory=Counter)
    _sessions: OrderedDict[str, _Session] = field(default_factory=OrderedDict)  # soonest deadline first
    _inboxes: OrderedDict[str, deque[Message]] = field(default_factory=OrderedDict)
    _opened: int = 0

    def __len__(self) -> int:
        """How many sessions are open."""
        return len(self._sessions)

    def __contains__(self, msisdn: str) -> bool:
        return msisdn in self._sessions

    def deadline(self) -> float | None:
        """When `expire` is due; None while no session is open."""
        return next(iter(self._sessions.values())).deadline if self._sessions else None

    # ---- the telephone's keys ----

    def dial(self, msisdn: str, code: str, now: float, account: str) -> list[Action]:
        if not code.startswith(("*", "#")):
            raise Refused(f"{code!r} is not a USSD code: it begins with * or #, as in *120*663#")
        if msisdn in self._sessions:
            raise Refused(f"{msisdn} has a session open: answer it or hang up first")
        if len(self._sessions) >= SESSIONS:
            raise Refused(f"the network is busy: {SESSIONS} sessions are open")
        self.counters["dialled"] += 1
        return self._begin(msisdn, code, now, account)

    def answer(self, msisdn: str, text: str, now: float) -> list[Action]:
        session = self._open(msisdn)
        if not session.menu_shown:
            raise Refused(f"{msisdn} has no menu to answer yet: the application has not replied")
        session.menu_shown = False
        self._touch(msisdn, session, now)
        self.counters["answered"] += 1
        return [self._line(msisdn, session, UssdType.EXISTING, text)]

    def hangup(self, msisdn: str) -> list[Action]:
        session = self._open(msisdn)
        return [self._line(msisdn, session, UssdType.END, "Done"), self._end(msisdn, "subscriber")]

    def time_out(self, msisdn: str) -> list[Action]:
        session = self._open(msisdn)
        return [self._line(msisdn, session, UssdType.TIMEOUT, "Timeout"), self._end(msisdn, "timeout")]

    # ---- the network ----

    def expire(self, now: float) -> list[Action]:
        due: list[Action] = []
        while (deadline := self.deadline()) is not None and deadline <= now:
            due += self.time_out(next(iter(self._sessions)))
        return due

    def account_of(self, msisdn: str) -> str | None:
        """With whom the session of this number is; None without a session."""
        session = self._sessions.get(msisdn)
        return None if session is None else session.account

    def lose(self, msisdn: str) -> list[Action]:
        """What the subscriber sent could go nowhere: the network ends the session."""
        self._open(msisdn)
        return [self._end(msisdn, "no-client")]

    # ---- the application, through the SSMI client ----

    def reply(self, msisdn: str, text: str, now: float, account: str, *, last: bool) -> list[Action]:
        session = self._session_with(account, msisdn)
        if session is None:
            return []
        self.counters["replies"] += 1
        menu = self._menu(msisdn, text, open=not last)
        if last:
            return [menu, self._end(msisdn, "application")]
        session.menu_shown = True
        self._touch(msisdn, session, now)
        return [menu]

    def redirect(self, msisdn: str, code: str, now: float, account: str) -> list[Action]:
        if self._session_with(account, msisdn) is None:
            return []
        self.counters["redirected"] += 1
        return [self._end(msisdn, "redirect"), *self._begin(msisdn, code, now, account)]

    def push(self, msisdn: str, text: str, now: float, account: str) -> list[Action]:
        if msisdn in self._sessions or len(self._sessions) >= SESSIONS:
            self.counters["pushes_while_busy"] += 1
            return []
        self.counters["pushed"] += 1
        session = self._enter(msisdn, "", now, account)
        session.menu_shown = True
        return [ToPhone(Begin(msisdn, "")), self._menu(msisdn, text, open=True)]

    def deliver(self, message: Message) -> ToPhone:
        if message.kind == "text" and not _sms_fits(message.text):
            self.counters["sms_too_long"] += 1
        inbox = self._inboxes.setdefault(message.msisdn, deque(maxlen=INBOX_MESSAGES))
        self._inboxes.move_to_end(message.msisdn)
        if len(self._inboxes) > INBOXES:
            self._inboxes.popitem(last=False)
        inbox.append(message)
        return ToPhone(message)

    def inbox(self, msisdn: str) -> Iterable[Message]:
        """Oldest first."""
        return self._inboxes.get(msisdn, ())

    # ---- within ----

    def _open(self, msisdn: str) -> _Session:
        session = self._sessions.get(msisdn)
        if session is None:
            raise Refused(f"{msisdn} has no session open")
        return session

    def _session_with(self, account: str, msisdn: str) -> _Session | None:
        """For what an application says; None, and counted, if it has no session there."""
        session = self._sessions.get(msisdn)
        if session is not None and session.account == account:
            return session
        self.counters["replies_without_session"] += 1
        return None

    def _begin(self, msisdn: str, code: str, now: float, account: str) -> list[Action]:
        session = self._enter(msisdn, code, now, account)
        return [ToPhone(Begin(msisdn, code)), self._line(msisdn, session, UssdType.NEW, code)]

    def _enter(self, msisdn: str, code: str, now: float, account: str) -> _Session:
        self._opened += 1
        genfields = (imsi(msisdn), "1", "1", str(self._opened), "")
        session = _Session(account, code, genfields, menu_shown=False, deadline=now + self.timeout_s)
        self._sessions[msisdn] = session
        return session

    def _touch(self, msisdn: str, session: _Session, now: float) -> None:
        session.deadline = now + self.timeout_s
        self._sessions.move_to_end(msisdn)

    def _end(self, msisdn: str, reason: Reason) -> ToPhone:
        del self._sessions[msisdn]
        self.counters[f"ended_{reason.replace('-', '_')}"] += 1
        return ToPhone(End(msisdn, reason))

    def _menu(self, msisdn: str, text: str, *, open: bool) -> ToPhone:
        # What a real gateway does with a longer text is not known; a telephone of ours shows it.
        if not ussd_fits(text):
            self.counters["menus_too_long"] += 1
        return ToPhone(Menu(msisdn, text, open))

    def _line(self, msisdn: str, session: _Session, ussd_type: UssdType, text: str) -> ToClient:
        if self.extended:
            line: Event = ExtendedUssd(msisdn, ussd_type, PHASE_DIALOGUE, session.genfields, text)
        else:
            line = Ussd(msisdn, ussd_type, PHASE_DIALOGUE, text)
        return ToClient(session.account, line)


def imsi(msisdn: str) -> str:
    """A number's invented IMSI: 15 digits, always the same."""
    return NETWORK + msisdn[-10:].rjust(10, "0")


def _sms_fits(text: str) -> bool:
    count = septets(text)
    return len(text) <= SMS_UCS2_UNITS if count is None else count <= SMS_SEPTETS
