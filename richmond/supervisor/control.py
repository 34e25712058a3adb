"""The control socket, both ends: a unix socket that only its owner may use, and one call of it.

Who has sent no whole line for half a minute, or takes an answer no faster, is cut off; of too many clients, the oldest
that waits for no answer. So nobody keeps anybody out, nor much memory.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import struct
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, BinaryIO

import gevent
import msgspec
from gevent import monkey

from richmond.errors import ControlError, NotRunning, UsageError
from richmond.supervisor import protocol

log = logging.getLogger(__name__)

MAX_CLIENTS = 64
IDLE_S = 30.0  # a client that has sent no whole line for so long is half-open or forgotten
REFUSED_S = 0.1  # before the next attempt to accept, where there is no descriptor left

Answer = dict[str, Any]
Stream = Generator[Answer, None, None]
Handler = Callable[[protocol.Request], Answer | Stream]


class ControlServer:
    """Serves requests on `path`; `handle` may block its greenlet and answers each request, in order.

    A stream ends when the client hangs up, and with it the connection.
    """

    def __init__(self, path: Path, handle: Handler, idle_s: float = IDLE_S) -> None:
        self._path = path
        self._handle = handle
        self._idle_s = idle_s
        self._listener: socket.socket | None = None
        self._acceptor: gevent.Greenlet | None = None
        self._clients: list[gevent.Greenlet] = []  # oldest first
        self._asked: set[gevent.Greenlet] = set()  # those whose request is being handled

    def start(self) -> gevent.Greenlet:
        """The caller holds the installation's lock: a socket that is there already belongs to nobody.

        Returns who lets clients in, and never ends by himself.
        """
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(mask)
        listener.listen(128)
        self._listener = listener
        self._acceptor = gevent.spawn(self._accept, listener)
        return self._acceptor

    def refuse(self) -> None:
        """Take no more clients and remove the socket; who is connected already is still answered."""
        if self._acceptor is not None:
            self._acceptor.kill()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)

    def stop(self) -> None:
        self.refuse()
        # an answer may still be on its way, such as the one to `stop`
        gevent.joinall(self._clients, timeout=0.5)
        gevent.killall(self._clients)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError as e:
                log.error("nobody can be served on the control socket: %s", e.strerror)
                gevent.sleep(REFUSED_S)
                continue
            self._clients = [c for c in self._clients if not c.dead]
            if len(self._clients) >= MAX_CLIENTS:
                # the oldest that waits for no answer, so that half-open ones keep nobody out
                leaves = next((c for c in self._clients if c not in self._asked), self._clients[0])
                self._clients.remove(leaves)
                leaves.kill(block=False)
            self._clients.append(gevent.spawn(self._serve, client))

    def _serve(self, client: socket.socket) -> None:
        # The file is closed here too: it holds the socket open, and a greenlet that was killed holds its variables.
        with client, client.makefile("rb") as reader, contextlib.suppress(OSError):
            if not _allowed(client):
                client.sendall(protocol.encode(protocol.failure("not your richmond: another user runs it")))
                return
            client.settimeout(self._idle_s)
            while line := self._read_line(reader):
                if len(line) > protocol.MAX_LINE_BYTES:
                    client.sendall(protocol.encode(protocol.failure("the line is too long")))
                    return
                if not self._reply(client, line):
                    return

    def _read_line(self, reader: BinaryIO) -> bytes:
        """Empty if none comes: one byte at a time is no way to stay."""
        with gevent.Timeout(self._idle_s, False):
            return reader.readline(protocol.MAX_LINE_BYTES + 1)
        return b""

    def _reply(self, client: socket.socket, line: bytes) -> bool:
        """False: there is no more to be said."""
        me = gevent.getcurrent()
        self._asked.add(me)
        try:
            answer = self._answer(line)
            if isinstance(answer, dict):
                client.sendall(protocol.encode(answer))
            else:
                self._stream(client, answer)
            return isinstance(answer, dict)
        finally:
            self._asked.discard(me)

    def _stream(self, client: socket.socket, answers: Stream) -> None:
        watcher = gevent.spawn(_await_hangup, client, gevent.getcurrent())
        try:
            for answer in answers:
                client.sendall(protocol.encode(answer))
        finally:
            watcher.kill()
            answers.close()

    def _answer(self, line: bytes) -> Answer | Stream:
        try:
            return self._handle(protocol.decode(line))
        except UsageError as e:
            return protocol.failure(str(e), usage=True)
        except Exception:  # meant: a bug in one answer must not take the control socket away
            log.exception("a control request failed")
            return protocol.failure("an error inside richmond; its log has the traceback")


def _await_hangup(client: socket.socket, stream: gevent.Greenlet) -> None:
    """End `stream` when its client has gone; one that has only said that it asks for nothing more still listens."""
    while True:
        try:
            if not client.recv(4096):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    poll = monkey.get_original("select", "poll")()  # gevent's knows nothing of hang-ups
    poll.register(client, select.POLLHUP)
    if poll.poll(0):
        stream.kill(block=False)


def _allowed(client: socket.socket) -> bool:
    """Only our own user and root: the socket's mode says so too, but a mode can be changed."""
    size = struct.calcsize("3i")
    _pid, uid, _gid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid in (0, os.geteuid())


def call(path: Path, request: protocol.Request, timeout_s: float) -> Answer:
    """One request to the master that listens on `path`, and its answer.

    NotRunning if nobody listens; UsageError or ControlError if the answer is no; ControlError if none comes in time.
    """
    with contextlib.closing(stream(path, request, timeout_s)) as answers:
        return next(answers)


def stream(path: Path, request: protocol.Request, timeout_s: float) -> Stream:
    """As `call`, but with every answer, until the master hangs up. `timeout_s`: for the first."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            # Not settimeout: connect would then fail at once while more clients wait than the backlog holds.
            limit = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            client.connect(str(path))
        except BlockingIOError as e:
            raise ControlError(f"richmond did not answer within {timeout_s:g} s") from e
        except (FileNotFoundError, ConnectionRefusedError) as e:
            raise NotRunning(f"no richmond answers on {path}; start it with: richmond start") from e
        except OSError as e:
            raise ControlError(f"{path}: {e.strerror or e}") from e
        try:
            client.settimeout(timeout_s)
            with contextlib.suppress(BrokenPipeError):  # it may have said no before it was asked
                client.sendall(protocol.encode(request))
            reader = client.makefile("rb")
            yield _checked(reader.readline())
            client.settimeout(None)
            while line := reader.readline():
                yield _checked(line)
        except TimeoutError as e:
            raise ControlError(f"richmond did not answer within {timeout_s:g} s") from e
        except OSError as e:
            raise ControlError(f"richmond hung up: {e.strerror or e}") from e


def _checked(line: bytes) -> Answer:
    if not line.endswith(b"\n"):
        raise ControlError("richmond hung up before it answered")
    answer: Answer = msgspec.json.decode(line)
    if not answer.get("ok"):
        kind = UsageError if answer.get("usage") else ControlError
        raise kind(str(answer.get("error", "richmond said no")))
    return answer
