"""gevent's pywsgi, bounded: so many connections, so many bytes, so much time for a request and for taking an answer.

Of too many connections, the one that has waited longest without asking for anything is closed. No access log.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from http.client import HTTPException
from typing import Any

import gevent
from gevent import socket
from gevent.pywsgi import Input, LoggingLogAdapter, WSGIHandler, WSGIServer

from richmond.web import guard

log = logging.getLogger(__name__)

IDLE_S = 30.0  # an open connection on which nothing more is asked
PATIENCE_S = 10.0  # from a request's first line to its last, and for a client to take what it is sent
MAX_HEAD_BYTES = 16 * 1024
_BACKLOG = 64

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


class Server(WSGIServer):  # type: ignore[misc]
    """Listens as soon as it is made: OSError if it cannot. `patience_s`: for a request, and for taking an answer."""

    def __init__(
        self, host: str, port: int, application: Application, max_clients: int, patience_s: float = PATIENCE_S
    ) -> None:
        self._max_clients = max_clients
        self.patience_s = patience_s
        self._clients: list[gevent.Greenlet] = []  # oldest first
        self._asked: set[gevent.Greenlet] = set()  # those whose request is being answered
        listener = _listen(host, port)
        errors = LoggingLogAdapter(log, logging.ERROR)
        super().__init__(listener, application, spawn=self._let_in, log=None, error_log=errors, handler_class=_Handler)
        self.start()

    @property
    def port(self) -> int:
        return int(self.server_port)

    def close_all(self) -> None:
        self.stop(timeout=0)
        gevent.killall(self._clients, block=False)

    def answering(self, is_so: bool) -> None:
        (self._asked.add if is_so else self._asked.discard)(gevent.getcurrent())

    def _let_in(self, run: Callable[..., None], handle: Any, close: Any, args: tuple[Any, ...]) -> gevent.Greenlet:
        self._clients = [c for c in self._clients if not c.dead]
        if len(self._clients) >= self._max_clients:
            leaves = next((c for c in self._clients if c not in self._asked), self._clients[0])
            self._clients.remove(leaves)
            leaves.kill(block=False)
        self._clients.append(gevent.spawn(run, handle, close, args))
        return self._clients[-1]


class _Handler(WSGIHandler):  # type: ignore[misc]
    server: Server
    _asked = False  # for anything yet

    def read_requestline(self) -> str:
        idle_s = IDLE_S if self._asked else self.server.patience_s
        self.socket.settimeout(idle_s)
        with gevent.Timeout(idle_s, False):
            return str(super().read_requestline())
        return ""  # as if it had hung up

    def read_request(self, raw_requestline: str) -> bool:
        """With its body. ValueError: it is none, too long or too slow, and the connection is closed."""
        self.socket.settimeout(self.server.patience_s)
        try:
            with gevent.Timeout(self.server.patience_s, ValueError("too slow")):
                super().read_request(raw_requestline)
                if self.headers.get("transfer-encoding"):
                    raise ValueError("no Content-Length")
                length = self.content_length or 0
                if length > guard.MAX_BODY_BYTES:
                    raise ValueError("too long")
                self._body = self.rfile.read(length) if length else b""
        except (OSError, HTTPException) as e:
            raise ValueError(str(e)) from e
        return True

    def MessageClass(self, file: Any, *args: Any) -> Any:
        return super().MessageClass(_Head(file), *args)

    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        environ["richmond.socket"] = self.socket
        self.wsgi_input = environ["wsgi.input"] = Input(io.BytesIO(self._body), len(self._body))
        return environ

    def handle_one_response(self) -> None:
        self._asked = True
        self.server.answering(True)
        try:
            super().handle_one_response()
        finally:
            self.server.answering(False)

    def handle_error(self, t: Any, v: Any, tb: Any) -> None:
        """A client that has gone, or takes nothing, is no error of ours."""
        if isinstance(v, OSError):
            self.close_connection = True
            return
        super().handle_error(t, v, tb)

    def log_error(self, msg: str, *args: Any) -> None:
        """Called for what clients do wrong."""
        log.debug(msg, *args)


class _Head:
    """So many bytes of it and no more."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = MAX_HEAD_BYTES

    def readline(self, size: int = -1) -> bytes:
        line: bytes = self._file.readline(min(self._left, size) if size >= 0 else self._left)
        self._left -= len(line)
        if self._left <= 0:
            raise ValueError("too long")
        return line


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
