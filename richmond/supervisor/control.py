"""The control socket, both ends: a unix socket that only its owner may use, and one call of it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import msgspec

from richmond.errors import ControlError, NotRunning, UsageError
from richmond.supervisor import protocol

log = logging.getLogger(__name__)

MAX_CLIENTS = 64
IDLE_S = 30.0  # a client that has sent no whole line for so long is half-open or forgotten

Answer = dict[str, Any]
Handler = Callable[[protocol.Request], Answer]


class ControlServer:
    """Serves requests on `path`; `handle` may block its greenlet and answers each request, in order."""

    def __init__(self, path: Path, handle: Handler) -> None:
        self._path = path
        self._handle = handle
        self._listener: socket.socket | None = None
        self._acceptor: gevent.Greenlet | None = None
        self._clients: list[gevent.Greenlet] = []  # oldest first
        self._asked: set[gevent.Greenlet] = set()  # those whose request is being handled

    def start(self) -> None:
        """The caller holds the installation's lock: a socket that is there already belongs to nobody."""
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
            client, _ = listener.accept()
            self._clients = [c for c in self._clients if not c.dead]
            if len(self._clients) >= MAX_CLIENTS:
                # the oldest that waits for no answer, so that half-open ones keep nobody out
                leaves = next((c for c in self._clients if c not in self._asked), self._clients[0])
                self._clients.remove(leaves)
                leaves.kill(block=False)
            self._clients.append(gevent.spawn(self._serve, client))

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if not _allowed(client):
                client.sendall(protocol.encode(protocol.failure("not your richmond: another user runs it")))
                return
            client.settimeout(IDLE_S)
            reader = client.makefile("rb")
            while line := reader.readline(protocol.MAX_LINE_BYTES + 1):
                if len(line) > protocol.MAX_LINE_BYTES:
                    client.sendall(protocol.encode(protocol.failure("the line is too long")))
                    return
                client.sendall(protocol.encode(self._answer(line)))

    def _answer(self, line: bytes) -> Answer:
        me = gevent.getcurrent()
        self._asked.add(me)
        try:
            return self._handle(protocol.decode(line))
        except UsageError as e:
            return protocol.failure(str(e), usage=True)
        except Exception:  # meant: a bug in one answer must not take the control socket away
            log.exception("a control request failed")
            return protocol.failure("an error inside richmond; its log has the traceback")
        finally:
            self._asked.discard(me)


def _allowed(client: socket.socket) -> bool:
    """Only our own user and root: the socket's mode says so too, but a mode can be changed."""
    size = struct.calcsize("3i")
    _pid, uid, _gid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid in (0, os.geteuid())


def call(path: Path, request: protocol.Request, timeout_s: float) -> Answer:
    """One request to the master that listens on `path`, and its answer.

    NotRunning if nobody listens; UsageError or ControlError if the answer is no; ControlError if none comes in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        try:
            client.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError) as e:
            raise NotRunning(f"no richmond answers on {path}; start it with: richmond start") from e
        except OSError as e:
            raise ControlError(f"{path}: {e.strerror or e}") from e
        try:
            client.sendall(protocol.encode(request))
            line = client.makefile("rb").readline()
        except TimeoutError as e:
            raise ControlError(f"richmond did not answer within {timeout_s:g} s") from e
        except OSError as e:
            raise ControlError(f"richmond hung up: {e.strerror or e}") from e
    if not line.endswith(b"\n"):
        raise ControlError("richmond hung up before it answered")
    answer: Answer = msgspec.json.decode(line)
    if not answer.get("ok"):
        kind = UsageError if answer.get("usage") else ControlError
        raise kind(str(answer.get("error", "richmond said no")))
    return answer
