"""The telephones of one open page: a connection to the simulator's socket, as `richmond dial` has one.

Needs gevent's hub; a greenlet reads what the simulator says, and hands on answers and news.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import gevent
import msgspec
from gevent.event import AsyncResult
from gevent.lock import RLock
from gevent.queue import Empty, Full, Queue

from richmond.errors import ControlError, RichmondError, UsageError
from richmond.simulator import wire
from richmond.simulator.control import COUNTRY
from richmond.simulator.line import ANSWER_S, Line
from richmond.ssmi.text import ussd_fits

MOST_NUMBERS = 64  # of one page
UNREAD = 2000  # events, before a page that does not read is cut off
MOST_LINES = 500  # of the log as it was

_ALLOWED = (
    wire.Dial
    | wire.Answer
    | wire.Hangup
    | wire.Timeout
    | wire.Register
    | wire.SendSms
    | wire.ReadInbox
    | wire.ReadStatus
    | wire.ReadLog
)
_requests: msgspec.json.Decoder[_ALLOWED] = msgspec.json.Decoder(_ALLOWED)
News = wire.News | wire.Line


class PhoneLine:
    """`name`: not to be guessed; whoever knows it may use the line. Close it: that hangs up."""

    def __init__(self, socket: Path) -> None:
        """NotRunning where no simulator answers."""
        self.name = secrets.token_urlsafe(16)
        self._line = Line(socket)
        self._numbers: set[str] = set()
        self._asked: deque[AsyncResult[wire.Event]] = deque()  # in the order in which the simulator answers
        self._sending = RLock()
        self._news: Queue[News | None] = Queue(UNREAD)
        self._reader = gevent.spawn(self._read)

    def close(self) -> None:
        self._reader.kill()
        self._gone(ControlError("the telephone has been hung up"))
        self._line.close()

    def ask(self, data: bytes) -> wire.Event:
        """Hand on the request of a page; its answer, `wire.Error` too. UsageError: telephones may not say that."""
        try:
            request = _requests.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            raise UsageError(f"not a request of a telephone: {e}") from e
        if isinstance(request, wire.Register) and not request.msisdn:
            # The simulator would take the number that this line used last.
            request = wire.Register(msisdn=f"{COUNTRY}83{secrets.randbelow(10**7):07}")
        elif not request.msisdn and not isinstance(request, wire.ReadLog | wire.ReadStatus):
            raise UsageError('say for which number: "msisdn"')
        if len(self._numbers) >= MOST_NUMBERS and request.msisdn not in self._numbers:
            raise UsageError(f"a page has at most {MOST_NUMBERS} telephones")
        if isinstance(request, wire.ReadInbox):
            request = wire.ReadInbox(msisdn=request.msisdn)  # what comes to a number of the page is told anyway
        answer = self._ask(request)
        if isinstance(answer, wire.Ok) and answer.msisdn:
            self._numbers.add(answer.msisdn)
        if isinstance(answer, wire.Log):
            return wire.Log([line for line in answer.lines if self._is_ours(line)][-MOST_LINES:])
        return answer

    def status(self) -> wire.Status:
        status = self._ask(wire.ReadStatus())
        assert isinstance(status, wire.Status)
        return status

    def news(self, beat_s: float) -> Iterator[News | None]:
        """What happens to the page's numbers; None whenever nothing does for `beat_s`. Ends with the simulator."""
        while True:
            try:
                news = self._news.get(timeout=beat_s)
            except Empty:
                yield None
                continue
            if news is None:
                return
            yield news

    def _ask(self, request: wire.Request) -> wire.Event:
        answer: AsyncResult[wire.Event] = AsyncResult()
        with self._sending:
            self._asked.append(answer)
            self._line.send(request)
        try:
            event: wire.Event = answer.get(timeout=ANSWER_S)
        except gevent.Timeout:
            raise ControlError(f"the simulator has not answered within {ANSWER_S:g} s") from None
        return event

    def _read(self) -> None:
        try:
            while True:
                event = self._line.next(None)
                if isinstance(event, News):
                    if not isinstance(event, wire.Line) or self._is_ours(event):
                        self._news.put_nowait(event)
                elif event is not None and self._asked:
                    self._asked.popleft().set(event)
        except Full:
            self._gone(ControlError("the page does not read what happens to its telephones"))
        except RichmondError as e:
            self._gone(e)

    def _gone(self, why: RichmondError) -> None:
        while self._asked:
            self._asked.popleft().set_exception(why)
        while self._news.full():
            self._news.get_nowait()
        self._news.put_nowait(None)

    def _is_ours(self, line: wire.Line) -> bool:
        return line.direction == "--" or not self._numbers.isdisjoint(line.text.split(","))


def shown(news: News) -> bytes:
    """As JSON, for the page; of a menu also whether a USSD screen takes it."""
    facts = msgspec.to_builtins(news)
    if isinstance(news, wire.Menu):
        facts["fits"] = ussd_fits(news.text)
    return msgspec.json.encode(facts)
