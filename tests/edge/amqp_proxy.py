"""A TCP proxy in front of RabbitMQ that resets connections where a test wants it."""

import contextlib
import socket
import struct
import threading


class Proxy:
    """Listens on a free port; `limit` bytes from the server (or the client) later it resets the connection."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.limit: dict[str, int] = {}  # "up": from the client, "down": from the server; missing: none
        self.connections = 0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._spawn(self._accept)

    def reset(self) -> None:
        """Reset every connection there is."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RD)  # wakes its thread, which closes it
            for sock in pair:
                sock.close()

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
            with self._lock:
                self._pairs.append((client, server))
            self.connections += 1
            self._spawn(self._pump, client, server, self.limit.get("up"))
            self._spawn(self._pump, server, client, self.limit.get("down"))

    def _pump(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536 if limit is None else min(65536, limit)):
                sink.sendall(data)
                if limit is not None:
                    limit -= len(data)
                    if not limit:
                        break
        self.reset()
