"""A TCP proxy in front of RabbitMQ that resets connections where a test wants it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass


@dataclass(eq=False)
class _Pair:
    client: socket.socket
    server: socket.socket
    left: dict[str, int | None]  # bytes until it is reset


class Proxy:
    """Listens on a free port; `limit` bytes from the server (or the client) later it resets a new connection."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.limit: dict[str, int] = {}  # "up": from the client, "down": from the server; missing: none
        self.connections = 0
        self._pairs: list[_Pair] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._spawn(self._accept)

    def reset(self) -> None:
        """Reset every connection there is."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._reset(pair)

    def cut(self, way: str, after: int) -> None:
        """Reset each connection there is once it has carried so many bytes more, "up" or "down"."""
        with self._lock:
            for pair in self._pairs:
                pair.left[way] = after

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.reset()
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, target, *args) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                client.close()
                continue
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(client, server, {"up": None, "down": None, **self.limit})
            with self._lock:
                self._pairs.append(pair)
            self.connections += 1
            self._spawn(self._pump, pair, client, server, "up")
            self._spawn(self._pump, pair, server, client, "down")

    def _pump(self, pair: _Pair, source: socket.socket, sink: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                left = pair.left[way]
                if left is None:
                    sink.sendall(data)
                    continue
                sink.sendall(data[:left])
                pair.left[way] = left = left - len(data)
                if left <= 0:
                    break
        self._reset(pair)

    def _reset(self, pair: _Pair) -> None:
        with self._lock:
            if pair not in self._pairs:
                return
            self._pairs.remove(pair)
        for sock in (pair.client, pair.server):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)  # wakes its thread, which closes it
        for sock in (pair.client, pair.server):
            sock.close()
