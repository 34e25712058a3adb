"""Who has a USSD session open, with which token and code. No I/O.

110 carries no session id and a late reply reaches whatever session the number has open now. So every session gets a
token, and a reply that carries another one is refused.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from richmond.ssmi.codec import UssdType

# Plain strings: an enumeration's members take three times as long to compare with.
_NEW, _END, _OVER = str(UssdType.NEW), str(UssdType.END), (str(UssdType.END), str(UssdType.TIMEOUT))
_BEGINS = (str(UssdType.NETWORK), str(UssdType.NEW))

SAVE_AGAIN = 0.1  # of the timeout: a session that goes on is saved anew when what is saved is older than that

SESSION_OVER = "session-over"  # the token is not the open session's
NO_SESSION = "no-session"  # no token, and nothing open


class Pages(msgspec.Struct, frozen=True):
    """What the subscriber has not seen yet of a text.

    `ussd_type`: of the last page. `genfields`: of an extended reply.
    """

    texts: tuple[str, ...]
    ussd_type: str
    genfields: tuple[str, ...] | None = None


@dataclass(slots=True)
class Session:
    token: str
    code: str | None  # None: we never saw its beginning
    touched: float
    saved: float | None = None  # `touched` of what is on disk for this number; None: nothing is
    pages: Pages | None = None
    asked: float = 0.0  # when the message came that is not answered yet; 0: there is none


@dataclass(frozen=True, slots=True)
class Saved:
    """A session as it is kept on disk. `touched`: Unix seconds."""

    msisdn: str
    token: str
    code: str | None
    touched: float
    pages: Pages | None = None


class Place(msgspec.Struct, frozen=True):
    """Where an inbound message belongs. `token` None: the end of a session that we do not know."""

    token: str | None
    code: str | None
    state: str  # new, open, adopted or over
    pages: Pages | None = None


_UNKNOWN_OVER = Place(None, None, "over")


class SessionTable:
    """The open session of every msisdn. `timeout_s`: idle seconds; `token`: makes a new, never repeated one."""

    def __init__(self, timeout_s: float, token: Callable[[], str]) -> None:
        self.timeout_s = timeout_s
        self._token = token
        # The longest idle first. Not a dict: finding its first key walks over all that was deleted before it.
        self._open: OrderedDict[str, Session] = OrderedDict()
        self._changed: set[str] = set()  # what is on disk is not what is here
        # A session that began although one was open; an end, and an answer, of one that is not known (any more).
        self.odd: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def restore(self, saved: Iterable[Saved], now: float, wall: float) -> int:
        """Take up what an earlier process had open, the longest idle first; how many are still so."""
        for one in saved:
            touched = now - max(0.0, wall - one.touched)
            self._open[one.msisdn] = Session(one.token, one.code, touched, saved=touched, pages=one.pages)
        self.expire(now)
        return len(self._open)

    def changes(self, now: float, wall: float) -> tuple[list[Saved], list[str]]:
        """What has to be saved, and which numbers have none open any more, since the last call."""
        changed, self._changed = self._changed, set()
        opened, closed = [], []
        for msisdn in changed:
            session = self._open.get(msisdn)
            if session is None:
                closed.append(msisdn)
            else:
                session.saved = session.touched
                touched = wall - (now - session.touched)
                opened.append(Saved(msisdn, session.token, session.code, touched, session.pages))
        return opened, closed

    @property
    def dirty(self) -> bool:
        return bool(self._changed)

    def inbound(self, msisdn: str, ussd_type: str, message: str, now: float) -> Place:
        session = self._current(msisdn, now)
        if ussd_type == _NEW:
            if session is not None:
                self.odd["sessions-overtaken"] += 1
            session = self._begin(msisdn, normal_code(message), now)
            session.asked = now
            return Place(session.token, session.code, "new")
        if ussd_type in _OVER:
            if session is None:
                self.odd["sessions-over-before"] += 1
                return _UNKNOWN_OVER
            self._end(msisdn)
            return Place(session.token, session.code, "over")
        if session is None:  # begun before we started, or older than our timeout: the gateway knows better
            self.odd["sessions-adopted"] += 1
            session = self._begin(msisdn, None, now)
            session.asked = now
            return Place(session.token, None, "adopted")
        self._touch(msisdn, session, now)
        session.asked = now
        return Place(session.token, session.code, "open", session.pages)

    def refusal(self, msisdn: str, token: str | None, now: float) -> str | None:
        """Why a reply may not go to this number; None if it may."""
        session = self._current(msisdn, now)
        if token is None:
            return NO_SESSION if session is None else None
        return None if session is not None and session.token == token else SESSION_OVER

    def replied(self, msisdn: str, ussd_type: str, now: float) -> Session | None:
        """A reply goes out, and what is left of the one before is void.

        Returns the session that it ends, for `reopen` should it not get there.
        """
        if ussd_type == _END:
            return self._end(msisdn)
        session = self._current(msisdn, now)
        if session is not None:
            self._touch(msisdn, session, now)
            if session.pages is not None:
                self.keep_pages(msisdn, session.token, None)
        elif ussd_type in _BEGINS:
            self._begin(msisdn, None, now)
        return None

    def asked(self, msisdn: str) -> float:
        """When the message came that a reply answers now; 0 for a second reply, and for what nobody has asked for."""
        session = self._open.get(msisdn)
        if session is None:
            return 0.0
        asked, session.asked = session.asked, 0.0
        return asked

    def keep_pages(self, msisdn: str, token: str | None, pages: Pages | None) -> None:
        """Have the session `token`, or any if that is None, remember these, unless it is over."""
        session = self._open.get(msisdn)
        if session is not None and token in (None, session.token):
            session.pages = pages
            self._changed.add(msisdn)

    def code(self, msisdn: str) -> str | None:
        """Which opened the session; None if there is none, or nobody knows."""
        session = self._open.get(msisdn)
        return session.code if session is not None else None

    def reopen(self, msisdn: str, session: Session, now: float) -> None:
        """Undo an end that never reached the gateway, unless another session began meanwhile."""
        if msisdn not in self._open:
            session.touched = now
            self._open[msisdn] = session
            self._changed.add(msisdn)

    def expire(self, now: float) -> int:
        """Forget the sessions that are idle for longer than the timeout; how many those were."""
        expired = 0
        while self._open:
            msisdn = next(iter(self._open))
            if self._open[msisdn].touched + self.timeout_s > now:
                break
            self._end(msisdn)
            expired += 1
        return expired

    def _current(self, msisdn: str, now: float) -> Session | None:
        session = self._open.get(msisdn)
        if session is not None and session.touched + self.timeout_s <= now:
            self._end(msisdn)
            return None
        return session

    def _begin(self, msisdn: str, code: str | None, now: float) -> Session:
        before = self._open.pop(msisdn, None)
        session = self._open[msisdn] = Session(self._token(), code, now, saved=before.saved if before else None)
        self._changed.add(msisdn)
        return session

    def _end(self, msisdn: str) -> Session | None:
        session = self._open.pop(msisdn, None)
        if session is not None and session.saved is None:
            self._changed.discard(msisdn)  # it came and went between two saves
        elif session is not None:
            self._changed.add(msisdn)
        return session

    def _touch(self, msisdn: str, session: Session, now: float) -> None:
        session.touched = now
        self._open.move_to_end(msisdn)
        if session.saved is not None and now - session.saved > SAVE_AGAIN * self.timeout_s:
            self._changed.add(msisdn)


def normal_code(dialled: str) -> str:
    """`*6*7*8` and `*6*7*8#` are one code: gateways sometimes leave out the final '#'."""
    code = dialled.strip()
    return code if code.endswith("#") else f"{code}#"
