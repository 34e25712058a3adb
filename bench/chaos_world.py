"""What a chaos run plays with: an installation, its RabbitMQ behind a proxy, and a gateway that keeps the ledger.

The parts are those of the fault tests, whose directories are put on the path here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import termios
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("faults", "e2e", "edge")]

from amqp_proxy import Proxy  # noqa: E402
from full_disk import files_no_larger_than  # noqa: E402
from installation import Installation, settled, until  # noqa: E402
from load import SORRY, Ledger, Line, Load  # noqa: E402
from nodes import OwnNode, Through  # noqa: E402
from rabbit import control  # noqa: E402

__all__ = ["Held", "Ledger", "World", "control", "files_no_larger_than", "until"]

RECOVERED = 20  # answers to what was sent afterwards
RECOVERY_S = 180.0  # else the run ends: it did not recover
FORGOTTEN_S = 30.0  # a subscriber who got no answer gives up, and another one dials
SMS_EVERY = 8  # every so many messages is an SMS
PLAIN = {"raise": 401, "never": 503}  # what goes wrong without a fault, every so many messages

SITE = """
import os, pathlib, signal, threading, time
from richmond.workers.sms import SMSWorker
from richmond.workers.ussd import USSDWorker

KEPT = []


def note(options, number):
    with open(options["handled"], "ab", 0) as handled:
        handled.write(number.encode() + b"\\n")


class Answerer(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        number, _, wish = message.strip("*#").rpartition("*")[2].partition(" ")
        note(self.options, number)
        if wish == "raise":
            raise ValueError("as asked")
        if wish == "never":
            return
        if wish == "poison":
            os._exit(1)
        if wish and self.first(number):
            getattr(self, wish)()
        time.sleep(0.004)
        self.reply(msisdn, f"ok {number}")

    existing_ussd_session = new_ussd_session

    def first(self, number):
        try:
            (pathlib.Path(self.options["seen"]) / number).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def crash(self):
        os._exit(1)

    def segfault(self):
        os.kill(os.getpid(), signal.SIGSEGV)

    def halt(self):
        os.kill(os.getpid(), signal.SIGSTOP)

    def spin(self):
        while True:
            pass

    def lock(self):
        both_sides = threading.Lock()
        both_sides.acquire()
        both_sides.acquire()

    def doze(self):
        time.sleep(1)

    def leak(self):
        KEPT.append(b"x" * (100 << 20))

    def hog(self):
        KEPT.append(b"x" * (200 << 20))


class Texter(SMSWorker):
    def received_sms(self, sms):
        number = sms.message.rpartition(" ")[2]
        note(self.options, number)
        time.sleep(0.002)
        self.send_sms(sms.msisdn, f"ok {number}")
"""
INI = f"""
[worker:Answerer]
class = chaotic.Answerer
workers = 4
min = 3
max = 6
prefetch = 10
apology = {SORRY}
task-timeout = 2
liveness-interval = 0.5
stable-seconds = 2
start-retries = 20
stop-timeout = 5
max-messages = 20000
max-memory = 100M
max-memory-hard = 200M
[[options]]
seen = {{seen}}
handled = {{handled}}
[worker:Texter]
class = chaotic.Texter
sms = yes
workers = 2
min = 1
max = 3
prefetch = 10
task-timeout = 2
liveness-interval = 0.5
stable-seconds = 2
start-retries = 20
stop-timeout = 5
[[options]]
handled = {{handled}}
"""


class Gateway(Load):
    """USSD as of `Load`, some SMS, and a link that can be treated badly. Each SMS is answered by one."""

    def __init__(self, rate: int) -> None:
        self.asked_for: deque[str] = deque()  # what the next messages shall do to their workers
        self.wished: list[int] = []  # which those were, in this step
        self.since = float("inf")  # monotonic
        self.answered_since = 0  # of what was sent since then
        self.twice = 0  # answers that came once more
        self.late = 0  # answers that were found in a link that had been given up
        self.deaf: set[socket.socket] = set()
        self.halted: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext  # who logs in
        self.slow_until = 0.0
        super().__init__(rate)
        self.wish = self._wish

    @property
    def section(self) -> str:
        return (
            super().section
            + "link-check-interval = 1\nauth-backoff = 0.3\napologise-after = 5\nremote-logout-backoff = 0.3\n"
        )

    def mark(self) -> None:
        """Count from now on."""
        self.answered_since, self.since = 0, time.monotonic()

    @property
    def granted(self) -> bool:
        """Whether each message that was bad for its worker has an answer, or its subscriber has given up."""
        old = time.monotonic() - FORGOTTEN_S
        lines = [self.ledger[number] for number in self.wished.copy()]
        return all(line.answers or line.apologies or line.sent < old for line in lines)

    def forget(self) -> None:
        """Who has waited for too long."""
        self.wished.clear()
        old = time.monotonic() - FORGOTTEN_S
        for msisdn, line in list(self._asked.items()):
            if line.sent < old:
                self._asked.pop(msisdn, None)

    # Done to the link.

    def half_open(self) -> None:
        """Neither read nor write any more, and tell nobody."""
        with self._sending:
            client, self._client = self._client, None
        if client is not None:
            self.deaf.add(client)

    def reset(self) -> None:
        """RST, once all that was said on either side has arrived.

        SSMI confirms no reply, so one that is lost with the link could not be told from one that was never written:
        the other side is stopped for the moment, what it has written is read, and nothing is on the wire.
        """
        with self._sending:
            client, self._client = self._client, None
            if client is None:
                return
            until("the link to be empty", lambda: _unsent(client) == 0, RECOVERY_S)
        with self.halted():
            until("what was written to be read", lambda: not _unread(client), RECOVERY_S)
            with contextlib.suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.shutdown(socket.SHUT_RD)  # wakes its thread, which closes it
            until("the reset", lambda: client.fileno() < 0, RECOVERY_S)

    def close_down(self) -> None:
        """Nobody listens, and the link is reset; `open` ends it."""
        super(Load, self).close()

    def say(self, *pieces: bytes) -> None:
        """Between two lines."""
        with self._sending, contextlib.suppress(OSError):
            if self._client is not None:
                for piece in pieces:
                    self._client.sendall(piece)

    def stutter(self, seconds: float) -> None:
        """Lines byte by byte."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            with self._sending:
                client = self._client
                said = self._next(time.monotonic()) if client is not None else ""
                with contextlib.suppress(OSError):
                    for byte in said.encode():
                        client.sendall(bytes([byte]))
            time.sleep(0.001)

    def _serve(self, client: socket.socket) -> None:
        half = b""
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            while True:
                if client in self.deaf:
                    self._await_end(client)
                slow = time.monotonic() < self.slow_until
                data = client.recv(64 if slow else 65536)
                if not data:
                    break
                if slow:
                    time.sleep(0.01)
                *lines, half = (half + data).split(b"\r")
                for line in lines:
                    self.late += client in self.deaf and line.startswith(b"SSMI,1")
                    self._line(client, line.decode("latin-1"))
        with self._sending:
            if client is self._client:
                self._client = None
            self.deaf.discard(client)
            client.close()

    def _await_end(self, client: socket.socket) -> None:
        """Until the other side has given it up: then there is what it had said."""
        poll = select.poll()
        poll.register(client, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        poll.poll(60_000)

    # What is said, and heard.

    def _wish(self, number: int) -> str:
        with contextlib.suppress(IndexError):
            wish = self.asked_for.popleft()
            self.wished.append(number)
            return wish
        return next((wish for wish, every in PLAIN.items() if number % every == 0), "")

    def _next(self, now: float) -> str:
        number = len(self.ledger) + 1
        if number % SMS_EVERY:
            return super()._next(now)
        msisdn = f"2799{number % 1000:07}"
        self.ledger[number] = Line(number, msisdn, now, "sms")
        return f"SSMI,103,{msisdn},17,sms {number}\r"

    def _line(self, client: Any, line: str) -> None:
        if line.startswith("SSMI,2,"):
            msisdn, text = line.split(",", 4)[3:]
            self._reply(msisdn, "0", text)
        elif line == "SSMI,3":
            with self._sending:  # between two lines
                if client not in self.deaf:
                    with contextlib.suppress(OSError):  # what came with it is still to be heard
                        client.sendall(b"SSMI,101,2\r")
        else:
            super()._line(client, line)

    def _reply(self, msisdn: str, ussd_type: str, text: str) -> None:
        found = (
            self.ledger.get(int(text[3:])) if text.startswith("ok ") and text[3:].isdigit() else self._last.get(msisdn)
        )
        super()._reply(msisdn, ussd_type, text)
        if found is not None:
            self.twice += found.answers + found.apologies > 1
            self.answered_since += found.sent >= self.since

    # To rest.

    def _queues(self, richmond: Installation) -> list[str]:
        return [*super()._queues(richmond), f"{richmond.settings.amqp.send_queue}.sms"]

    def rest(self, richmond: Installation) -> None:
        self._on.clear()
        with self._sending:
            pass
        queues = self._queues(richmond)

        def quiet() -> bool:
            if time.monotonic() - self._heard < 2:
                return False
            snapshot = richmond.status()
            if snapshot is None or any(snapshot.counters[k] for k in ("waiting", "held", "sms-waiting", "sms-held")):
                return False
            depths = {q.name: (q.ready, q.unacked or 0) for q in snapshot.queues}
            return all(depths[q] == (0, 0) for q in queues)

        until("the last answers", quiet, RECOVERY_S)


def _unsent(sock: socket.socket) -> int:
    """Bytes that the other side's kernel has not got."""
    return _asked_of(sock, termios.TIOCOUTQ)


def _unread(sock: socket.socket) -> int:
    """Bytes that the other side has written and we have not read."""
    try:
        (here, port), (there, its_port) = sock.getsockname(), sock.getpeername()
    except OSError:  # it has gone by itself
        return 0
    ends = [f"{socket.inet_aton(there)[::-1].hex()}:{its_port:04x}", f"{socket.inet_aton(here)[::-1].hex()}:{port:04x}"]
    for line in Path("/proc/net/tcp").read_text().lower().splitlines()[1:]:
        fields = line.split()
        if fields[1:3] == ends:
            return int(fields[4].partition(":")[0], 16) + _asked_of(sock, termios.FIONREAD)
    return _asked_of(sock, termios.FIONREAD)


def _asked_of(sock: socket.socket, request: int) -> int:
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock, request, b"\0" * 4))[0])
    except (OSError, ValueError):  # it is closed
        return 0


@dataclass(frozen=True, slots=True)
class Held:
    """By the master. Descriptors without its workers' pipes."""

    descriptors: int
    threads: int
    memory_bytes: int


class World:
    def __init__(self, directory: Path, rate: int) -> None:
        self.directory = directory
        self.stack = contextlib.ExitStack()
        self.gateway = self.stack.enter_context(Gateway(rate))
        self.node = OwnNode(directory / "rabbitmq")
        self.stack.callback(self.node.stop)
        self.proxy = self.stack.enter_context(contextlib.closing(Proxy(self.node.port)))
        self.seen = directory / "seen"
        self.seen.mkdir()
        self._handled = directory / "handled"
        home = directory / "richmond"
        home.mkdir()
        self.richmond = Installation(
            home,
            node=Through(self.node, self.proxy),
            workers=INI.format(seen=self.seen, handled=self._handled),
            ssmi=self.gateway.section,
            amqp="heartbeat = 3\nreconnect-max = 1\n",
        )
        self.stack.callback(self._end)
        self.version = 0
        self.write_code()
        self.changing = threading.Lock()  # the ini and the code, by one at a time
        self.victims: set[int] = set()  # who has to be gone before all is well
        self.kills: list[float] = []  # of masters, monotonic
        self.node_kills: list[float] = []  # of RabbitMQ
        self.resets = 0  # of the gateway's link, by the gateway
        self._stops: Counter[int] = Counter()  # pid -> how many have it stopped
        self._stopping = threading.Lock()
        self.gateway.halted = lambda: self.stopped([self.master])

    def start(self) -> None:
        self.richmond.start()
        self.gateway.begin(self.gateway.rate)

    def close(self) -> None:
        self.stack.close()

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.node.signal(signal.SIGCONT)
        self.richmond.close()

    def write_code(self, text: str = SITE) -> None:
        """With a new number in it: it has changed."""
        self.version += 1
        (self.richmond.site / "chaotic.py").write_text(f"{text}\nVERSION = {self.version}\n")

    def hang_up(self) -> None:
        if master := self.master:
            self.tell([master], signal.SIGHUP)

    # Seen from outside.

    @property
    def master(self) -> int:
        """0: just now there is none."""
        process = self.richmond.process
        return process.pid if process is not None else 0

    def titled(self, part: str) -> list[int]:
        return sorted(pid for pid, line in self.richmond.processes().items() if f"richmond: {part}" in line)

    @property
    def workers(self) -> list[int]:
        return sorted(self.titled("Answerer:") + self.titled("Texter:"))

    def tell(self, pids: Iterable[int], number: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self, pids: Iterable[int], number: int = signal.SIGKILL) -> None:
        """Have them gone: killed, or so treated that Richmond has to kill them."""
        pids = list(pids)
        self.victims.update(pids)
        self.tell(pids, number)

    @contextlib.contextmanager
    def stopped(self, pids: Iterable[int]) -> Iterator[None]:
        """Until the last who has them stopped is done."""
        pids = [pid for pid in pids if pid]
        with self._stopping:
            self._stops.update(pids)
            self.tell(pids, signal.SIGSTOP)
        try:
            until("them to be stopped", lambda: all(_stands(pid) for pid in pids), RECOVERY_S)
            yield
        finally:
            with self._stopping:
                self._stops.subtract(pids)
                self.tell([pid for pid in pids if not self._stops[pid]], signal.SIGCONT)

    def handled(self) -> set[int]:
        """What a worker has had in its hands: RabbitMQ had it, and unless it was killed too has it still."""
        return set(map(int, self._handled.read_text().split()))

    def in_flight(self) -> int:
        """What may be answered twice."""
        amqp, workers = self.richmond.settings.amqp, self.richmond.settings.workers
        return self.gateway.in_flight + 2 * amqp.prefetch + sum(w.prefetch * w.max for w in workers)

    def recovered(self) -> bool:
        if self.gateway.answered_since < RECOVERED:
            return False
        if any(psutil.pid_exists(pid) for pid in self.victims) or not self.gateway.granted:
            return False
        snapshot = self.richmond.status()
        return snapshot is not None and snapshot.phase == "running" and not snapshot.problems and settled(snapshot)

    def surplus(self) -> set[int]:
        """Processes that should not be there, now."""
        snapshot = self.richmond.status()
        if snapshot is None:
            return set(self.richmond.processes()) - {self.master}
        pids = {slot.pid for cls in snapshot.classes for slot in cls.slots}
        return set(self.richmond.processes()) - pids - {self.master, *self.titled("spawner")[:1]}

    def zombies(self) -> set[int]:
        found = set()
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.master).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if child.status() == psutil.STATUS_ZOMBIE:
                        found.add(child.pid)
        return found

    def held(self) -> Held:
        process = psutil.Process(self.master)
        return Held(process.num_fds() - len(self.workers), process.num_threads(), process.memory_full_info().uss)


def _stands(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return True
