"""The telephones' port: a unix socket that speaks `wire`. Decides nothing about sessions; hands on and streams back."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import gevent
import msgspec
from gevent import socket
from gevent.pool import Pool
from gevent.server import StreamServer

from richmond.errors import AlreadyRunning, UsageError
from richmond.simulator import wire
from richmond.simulator.gateway import Action, Gateway, is_msisdn
from richmond.simulator.outbox import LINGER_S, Outbox
from richmond.simulator.subscribers import Refused

UNREAD_BYTES = 4 * 1024 * 1024  # of events, before a telephone that does not read is cut off
BACKLOG = 1024
NUMBERS = 100_000  # that telephones hold or follow
COUNTRY = "27"  # random numbers are South African mobile ones: 2783 and seven digits


class Host(Protocol):
    """What the port needs of the simulator around it."""

    gateway: Gateway

    def now(self) -> float: ...
    def perform(self, actions: list[Action]) -> None: ...
    def drop(self, account: str, *, reset: bool) -> None: ...
    def inject(self, line: str | bytes, account: str) -> None: ...
    def garbage(self, account: str) -> None: ...
    def long(self, length: int, account: str) -> None: ...
    def behave(self) -> None: ...
    def log(self) -> list[wire.Line]: ...
    def status(self, telephones: int) -> wire.Status: ...


class ControlPort:
    def __init__(self, path: Path, host: Host) -> None:
        self._path = path
        self._host = host
        self._holders: dict[str, _Phones] = {}  # who gets what happens to a number
        self._followers: dict[str, set[_Phones]] = {}  # who else gets the SMS of a number
        self._readers: set[_Phones] = set()  # of the log, as it grows
        self._connections: set[_Phones] = set()
        self._server: StreamServer | None = None
        self._inode = 0

    def start(self) -> None:
        """AlreadyRunning if somebody answers there; a socket that nobody serves is replaced."""
        listener = _listen(self._path)
        self._inode = self._path.stat().st_ino
        self._server = StreamServer(listener, self._serve, spawn=Pool())
        self._server.start()

    def close(self) -> None:
        """Hang up all telephones and let them go; `stop` waits for them."""
        if self._server is None:
            return
        self._server.close()
        for phones in tuple(self._connections):
            self._gone(phones)
            phones.outbox.finish()

    def stop(self) -> None:
        if self._server is None:
            return
        self._server.stop(timeout=LINGER_S)
        with contextlib.suppress(FileNotFoundError):
            # Somebody may have put another socket there meanwhile.
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def tell(self, news: wire.News) -> None:
        """To whoever holds the number; a number that nobody holds is a telephone in a drawer."""
        holder = self._holders.get(news.msisdn)
        if holder is not None:
            holder.send(news)
        if isinstance(news, wire.Message):
            for phones in self._followers.get(news.msisdn, ()):
                if phones is not holder:
                    phones.send(news)

    def tell_line(self, line: wire.Line) -> None:
        for phones in self._readers:
            phones.send(line)

    # ---- for the connections ----

    def claim(self, msisdn: str, phones: _Phones) -> None:
        if msisdn not in self._holders:
            self._check_room()
            self._holders[msisdn] = phones
        elif self._holders[msisdn] is not phones:
            raise Refused(f"{msisdn} is in use by another telephone")

    def is_held(self, msisdn: str) -> bool:
        return msisdn in self._holders

    def follow(self, msisdn: str, phones: _Phones) -> None:
        self._check_room()
        self._followers.setdefault(msisdn, set()).add(phones)
        phones.followed.add(msisdn)

    def read_on(self, phones: _Phones) -> None:
        self._readers.add(phones)

    def _check_room(self) -> None:
        if len(self._holders) + len(self._followers) >= NUMBERS:
            raise Refused(f"{NUMBERS} numbers are in use already")

    def free_number(self) -> str:
        while True:
            msisdn = f"{COUNTRY}83{random.randrange(10**7):07}"  # noqa: S311 - no secret
            if msisdn not in self._holders and msisdn not in self._host.gateway.subscribers:
                return msisdn

    def _gone(self, phones: _Phones) -> None:
        while phones.numbers:
            msisdn = phones.numbers.pop()
            if msisdn in self._host.gateway.subscribers:
                self._host.perform(self._host.gateway.hangup(msisdn))
            del self._holders[msisdn]
        while phones.followed:
            msisdn = phones.followed.pop()
            self._followers[msisdn].discard(phones)
            if not self._followers[msisdn]:
                del self._followers[msisdn]
        self._readers.discard(phones)

    def status(self) -> wire.Status:
        return self._host.status(len(self._holders))

    def _serve(self, sock: Any, _address: object) -> None:
        phones = _Phones(sock, self, self._host)
        self._connections.add(phones)
        try:
            phones.read(sock)
        except OSError:
            pass  # gone without a word
        finally:
            self._connections.discard(phones)
            self._gone(phones)
            phones.outbox.close()


class _Phones:
    """One connection: a telephone, or thousands."""

    def __init__(self, sock: Any, port: ControlPort, host: Host) -> None:
        self.numbers: set[str] = set()
        self.followed: set[str] = set()
        self.outbox = Outbox(sock, UNREAD_BYTES)
        self._port = port
        self._host = host
        self._last = ""
        self._ops: dict[type[Any], Callable[[Any], None]] = {
            wire.Dial: self._dial,
            wire.Answer: self._answer,
            wire.Hangup: self._hangup,
            wire.Timeout: self._timeout,
            wire.Register: self._register,
            wire.SendSms: self._sms,
            wire.ReadInbox: self._inbox,
            wire.ReadStatus: lambda _request: self.send(port.status()),
            wire.ReadLog: self._log,
            wire.SetReport: self._report,
            wire.SetNack: self._nack,
            wire.PushOut: self._push_out,
            wire.SetFault: self._fault,
            wire.Calm: self._calm,
            wire.Garbage: self._garbage,
            wire.Long: self._long,
            wire.Drop: self._drop,
            wire.Extended: self._extended,
            wire.Inject: self._inject,
        }

    def send(self, event: wire.Event) -> None:
        self.outbox.put(wire.encode(event))

    def read(self, sock: Any) -> None:
        half = b""
        skipping = False
        while data := sock.recv(65536):
            *lines, half = (half + data).split(b"\n")
            for line in lines:
                if skipping:
                    skipping = False
                elif len(line) > wire.MAX_LINE_BYTES:
                    self._refuse_length()
                elif line.strip():
                    self._handle(line)
            if len(half) > wire.MAX_LINE_BYTES:
                if not skipping:
                    self._refuse_length()
                half, skipping = b"", True
            # A socket that always has data never makes its greenlet wait: let the others run.
            gevent.sleep(0)

    def _refuse_length(self) -> None:
        self.send(wire.Error(f"a line is longer than {wire.MAX_LINE_BYTES} bytes"))

    def _handle(self, line: bytes) -> None:
        try:
            request = wire.decode_request(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            self.send(wire.Error(f"not a request: {e}"))
            return
        try:
            self._ops[type(request)](request)
        except Refused as e:
            self.send(wire.Error(str(e)))

    def _number(self, request: wire.Request, *, fresh: bool = False) -> str:
        """The number that a request is for, now this connection's. `fresh`: take a free one if none is said."""
        msisdn = request.msisdn or self._last
        if not msisdn:
            if not fresh:
                raise Refused('say for which number: "msisdn"')
            msisdn = self._port.free_number()
        _check_number(msisdn)
        self._port.claim(msisdn, self)
        self.numbers.add(msisdn)
        self._last = msisdn
        return msisdn

    def _ok(self, op: str, msisdn: str, actions: list[Action]) -> None:
        self.send(wire.Ok(op, msisdn))
        self._host.perform(actions)

    def _dial(self, request: wire.Dial) -> None:
        msisdn = self._number(request, fresh=True)
        self._ok("dial", msisdn, self._host.gateway.dial(msisdn, request.code, self._host.now(), request.account))

    def _answer(self, request: wire.Answer) -> None:
        msisdn = self._number(request)
        self._ok("answer", msisdn, self._host.gateway.answer(msisdn, request.text, self._host.now()))

    def _hangup(self, request: wire.Hangup) -> None:
        msisdn = self._number(request)
        self._ok("hangup", msisdn, self._host.gateway.hangup(msisdn))

    def _timeout(self, request: wire.Timeout) -> None:
        msisdn = request.msisdn or self._last
        self._ok("timeout", msisdn, self._host.gateway.time_out(msisdn))

    def _register(self, request: wire.Register) -> None:
        self._ok("register", self._number(request, fresh=True), [])

    def _sms(self, request: wire.SendSms) -> None:
        held = self._port.is_held(request.msisdn)
        msisdn = request.msisdn if held else self._number(request, fresh=True)
        self._ok("sms", msisdn, self._host.gateway.sms(msisdn, request))

    def _inbox(self, request: wire.ReadInbox) -> None:
        msisdn = request.msisdn or self._last
        _check_number(msisdn)
        if request.follow:
            self._port.follow(msisdn, self)
        self.send(wire.Inbox(msisdn, list(self._host.gateway.subscribers.inbox(msisdn))))

    def _log(self, request: wire.ReadLog) -> None:
        if request.follow:
            self._port.read_on(self)
        self.send(wire.Log(self._host.log()))

    # ---- what the gateway does to its clients ----

    def _report(self, request: wire.SetReport) -> None:
        self._host.gateway.set_report(request)
        self.send(wire.Ok("report", request.msisdn))

    def _nack(self, request: wire.SetNack) -> None:
        self._host.gateway.set_nack(request)
        self.send(wire.Ok("nack"))

    def _push_out(self, request: wire.PushOut) -> None:
        self._ok("logout", "", self._host.gateway.push_out(request))

    def _fault(self, request: wire.SetFault) -> None:
        self._host.gateway.set_fault(request)
        self._host.behave()
        self.send(wire.Ok("fault"))

    def _calm(self, request: wire.Calm) -> None:
        self._host.gateway.calm(request.account)
        self._host.behave()
        self.send(wire.Ok("calm"))

    def _garbage(self, request: wire.Garbage) -> None:
        self._host.garbage(request.account)
        self.send(wire.Ok("garbage"))

    def _long(self, request: wire.Long) -> None:
        self._host.long(request.bytes, request.account)
        self.send(wire.Ok("long"))

    def _drop(self, request: wire.Drop) -> None:
        self._host.drop(request.account, reset=request.reset)
        self.send(wire.Ok("drop"))

    def _extended(self, request: wire.Extended) -> None:
        self._host.gateway.subscribers.extended = request.on
        self.send(wire.Ok("extended"))

    def _inject(self, request: wire.Inject) -> None:
        try:
            self._host.inject(bytes.fromhex(request.hex) if request.hex else request.line, request.account)
        except ValueError:
            raise Refused("inject takes a line in the account's encoding, or hex digits") from None
        self.send(wire.Ok("inject"))


def _check_number(msisdn: str) -> None:
    if not is_msisdn(msisdn):
        raise Refused(f"{msisdn!r} is not a telephone number: 1 to 15 digits, as in 27831112222")


def _listen(path: Path) -> Any:
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as other:
            other.settimeout(1)
            try:
                other.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                pass  # the bind below has the word
            else:
                raise AlreadyRunning(f"another simulator answers at {path}; stop it, or set another [simulator] socket")
    listener = socket.socket(socket.AF_UNIX)
    try:
        # Linux makes the file with the mode of the unbound socket: there is no moment in which others may connect.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(str(path))
    except OSError as e:
        listener.close()
        raise UsageError(f"{path}: {e.strerror or e}; the simulator's socket cannot be made there") from e
    listener.listen(BACKLOG)
    return listener
