"""A gateway under load that keeps a ledger: every line that it sent, and every reply that came.

Subscribers behave: one says nothing more until he is answered; open loop all the same, since there is always another
one. What they say carries a number, and the worker's answer repeats it, so that each answer belongs to one line.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pika
from gateway import RawGateway
from installation import DEADLINE_S, Installation, until

from richmond.rabbitmq import PrivateNode

RATE = 500  # messages/s
QUIET_S = 2.0  # without a reply, and with empty queues: nothing more will come
SORRY = "sorry"
SITE = """
import os, signal, time
from richmond.workers.ussd import USSDWorker

class Answerer(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        number, _, wish = message.strip("*#").rpartition("*")[2].partition(" ")
        if wish == "raise":
            raise ValueError("as asked")
        if wish == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if wish == "never":
            return
        time.sleep(1 if wish == "hang" else 0.004)  # so that half of the workers are in mid-message
        self.reply(msisdn, f"ok {number}")
        if wish == "twice":
            self.reply(msisdn, f"ok {number}")

    existing_ussd_session = new_ussd_session
"""
INI = f"""
[worker:Answerer]
class = answerer.Answerer
workers = 4
prefetch = 10
apology = {SORRY}
"""


@dataclass(slots=True)
class Line:
    """One that was sent. Times are monotonic."""

    number: int
    msisdn: str
    sent: float
    wish: str
    answers: int = 0
    apologies: int = 0
    first: float = 0.0  # when the first of these came


@dataclass(frozen=True, slots=True)
class Ledger:
    """What became of the lines, by their number."""

    lines: dict[int, Line]
    dead: dict[int, list[str]] = field(repr=False)  # number -> reasons, of messages and of replies
    lost: list[Line]

    @property
    def duplicates(self) -> int:
        """Answers that came once more."""
        return sum(max(0, line.answers + line.apologies - 1) for line in self.lines.values())

    @property
    def once(self) -> int:
        return sum(line.answers == 1 and not line.apologies for line in self.lines.values())

    @property
    def apologies(self) -> int:
        return sum(line.apologies > 0 and not line.answers for line in self.lines.values())

    @property
    def dead_only(self) -> int:
        return sum(number in self.dead for number, line in self.lines.items() if not line.answers + line.apologies)

    @property
    def reasons(self) -> dict[str, int]:
        return dict(Counter(reason for reasons in self.dead.values() for reason in reasons))

    def served(self, since: float, back: float) -> float:
        """Seconds from `back` until all that was sent between `since` and then was answered."""
        firsts = [x.first for x in self.lines.values() if x.first >= back and since - 1 <= x.sent <= back]
        return max(firsts, default=back) - back

    def silence(self, since: float) -> float:
        """The longest time without an answer, from then on."""
        times = sorted(x.first for x in self.lines.values() if x.first >= since and x.answers)
        return max((b - a for a, b in zip([since, *times], times, strict=False)), default=0.0)


class Load(RawGateway):
    """Sends `rate` messages/s while `running`, as soon as a client has logged in."""

    def __init__(self, rate: int = RATE) -> None:
        super().__init__()
        self.rate = rate
        self.wish: Callable[[int], str] = lambda _: ""  # what the worker shall do with the message of this number
        self.ledger: dict[int, Line] = {}  # read a copy: its own thread adds to it
        self.unexpected: list[str] = []
        self._sending = threading.Lock()  # a line is sent to a client that has not logged out, or not at all
        self._idle: deque[str] = deque()
        self._open: set[str] = set()  # numbers with a session
        self._asked: dict[str, Line] = {}  # number -> what is not answered yet
        self._last: dict[str, Line] = {}
        self._heard = time.monotonic()
        self._on = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def section(self) -> str:
        return super().section + f"apology = {SORRY}\n"

    @property
    def in_flight(self) -> int:
        """Sent and not answered."""
        return len(self._asked)

    @property
    def answered(self) -> int:
        return sum(line.answers > 0 for line in self.ledger.copy().values())

    def begin(self, number: int = RATE) -> None:
        """Returns when so many have been answered: all is warm."""
        self._on.set()
        self.go_on(number)

    def go_on(self, number: int = RATE, timeout_s: float = DEADLINE_S) -> None:
        """Until so many lines more, sent from now on, have been answered."""
        since = max(self.ledger.copy(), default=0)
        until(
            f"{number} answers",
            lambda: sum(line.answers > 0 for n, line in self.ledger.copy().items() if n > since) >= number,
            timeout_s,
        )

    def rest(self, richmond: Installation) -> None:
        """Send nothing more, and wait for what is on its way."""
        self._on.clear()
        with self._sending:  # the last one is out
            pass
        queues = self._queues(richmond)

        def quiet() -> bool:
            if not self._asked:
                return True
            if time.monotonic() - self._heard < QUIET_S:
                return False
            snapshot = richmond.status()
            if snapshot is None or snapshot.counters["waiting"] or snapshot.counters["held"]:
                return False
            depths = {q.name: (q.ready, q.unacked or 0) for q in snapshot.queues}
            return all(depths[q] == (0, 0) for q in queues)

        until("the last answers", quiet)

    def finish(self, richmond: Installation) -> Ledger:
        """Come to rest, and look where it may lie for what is missing."""
        self.rest(richmond)
        dead: dict[int, list[str]] = defaultdict(list)
        kept: set[int] = set()
        with connection(richmond) as rabbit:
            for headers, body in drain(rabbit, richmond.settings.amqp.dead_queue):
                dead[number_in(body)].append(headers["x-richmond-reason"])
            for queue in self._queues(richmond):
                kept |= {number_in(body) for _, body in drain(rabbit, queue)}
        gone = [x for x in self.ledger.copy().values() if not x.answers and not x.apologies and x.wish != "never"]
        return Ledger(self.ledger, dict(dead), [x for x in gone if x.number not in dead and x.number not in kept])

    def _queues(self, richmond: Installation) -> list[str]:
        return [*(w.queue for w in richmond.settings.workers), richmond.settings.amqp.send_queue]

    def close(self) -> None:
        self._ended.set()
        self._on.set()
        super().close()
        self._thread.join(10)

    # The sender.

    def _run(self) -> None:
        due, then = 0.0, time.monotonic()
        while not self._ended.wait(0.004):
            now = time.monotonic()
            due = min(due + (now - then) * self.rate, self.rate / 10)  # what a busy gateway missed is not made up for
            then = now
            with self._sending:
                client = self._client
                if client is None or not self._on.is_set():
                    due = 0.0
                    continue
                lines = [self._next(now) for _ in range(int(due))]
                due -= len(lines)
                try:
                    client.sendall("".join(lines).encode())
                except OSError:
                    if self._client is client:
                        self._client = None

    def _next(self, now: float) -> str:
        number = len(self.ledger) + 1
        msisdn = self._idle.popleft() if self._idle else f"27{len(self._last):09}"
        wish = self.wish(number)
        line = Line(number, msisdn, now, wish)
        self.ledger[number] = self._last[msisdn] = self._asked[msisdn] = line
        if msisdn in self._open:
            said = f"SSMI,110,{msisdn},2,0,{number} {wish}".rstrip() + "\r"
        else:
            self._open.add(msisdn)
            said = f"SSMI,110,{msisdn},1,0,*120*{number} {wish}".rstrip() + "#\r"
        return said + self._hang_up(msisdn) if wish == "gone" else said

    def _hang_up(self, msisdn: str) -> str:
        """At once, without waiting for the answer: that may not reach the next session."""
        self._open.discard(msisdn)
        del self._asked[msisdn]
        self._idle.append(msisdn)
        return f"SSMI,110,{msisdn},3,0,\r"

    # What the client says.

    def _line(self, client: Any, line: str) -> None:
        if line == "SSMI,99":
            with self._sending:
                self._client = None
                super()._line(client, line)
        elif line.startswith("SSMI,110,"):
            self._reply(*line.split(",", 4)[2:])
        else:
            super()._line(client, line)

    def _reply(self, msisdn: str, ussd_type: str, text: str) -> None:
        now = self._heard = time.monotonic()
        found = re.fullmatch(r"ok (\d+)", text)
        line = self.ledger.get(int(found[1])) if found else self._last.get(msisdn) if text == SORRY else None
        if line is None or line.msisdn != msisdn:
            self.unexpected.append(f"{msisdn} {ussd_type} {text}")
            return
        line.first = line.first or now
        line.answers += bool(found)
        line.apologies += not found
        if ussd_type == "3":
            self._open.discard(msisdn)
        if self._asked.get(msisdn) is line:
            del self._asked[msisdn]
            self._idle.append(msisdn)


def number_in(body: bytes) -> int:
    """Of the line that this message or reply belongs to."""
    found = re.search(r"(\d+)(?: [a-z]+)?#?$", json.loads(body)["message"])
    return int(found[1]) if found else 0


@contextlib.contextmanager
def connection(richmond: Installation):
    """A channel of pika's."""
    amqp = richmond.settings.amqp
    if richmond.node is None:
        amqp = PrivateNode(richmond.settings.richmond.directory / "rabbitmq").running().apply(amqp)
    credentials = pika.PlainCredentials(amqp.username, amqp.password)
    rabbit = pika.BlockingConnection(pika.ConnectionParameters(amqp.host, amqp.port, amqp.vhost, credentials))
    try:
        yield rabbit.channel()
    finally:
        rabbit.close()


def drain(channel: Any, queue: str):
    """(headers, body) of all that is there."""
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return
        yield properties.headers or {}, body
