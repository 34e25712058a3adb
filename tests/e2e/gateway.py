"""A gateway of raw bytes, written from the protocol page: it knows nothing of Richmond's codec or simulator.

Tests ask for it before the installation, so that it ends after it: a Richmond that lost its gateway dials the port
again and again, and would find the gateway of another test there.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

from installation import until


class RawGateway:
    """Accepts `password`, answers link checks, keeps every line. Used by one test at a time, from its own thread."""

    def __init__(self, password: str = "pa,ss#1") -> None:
        self.password = password
        self.logins: list[str] = []  # every login line that came, right or wrong
        self.lines: list[str] = []  # every other line
        self.port = 0
        self._client: socket.socket | None = None  # the last one that logged in
        self._listener: socket.socket | None = None
        self.open()

    def __enter__(self) -> RawGateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def section(self) -> str:
        """Lines for [ssmi]; quick to come back, so that a test need not wait."""
        return (
            f"host = 127.0.0.1\nport = {self.port}\nusername = user\npassword = {self.password}\n"
            "reconnect-min = 0.1\nreconnect-max = 0.5\n"
        )

    def open(self) -> None:
        """Listen, on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Gone: the link is reset and nobody listens."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept
            listener.close()
        self.reset()

    def reset(self) -> None:
        """RST, as from a gateway that was killed."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.shutdown(socket.SHUT_RD)  # wakes recv, which would keep the socket from its end
            client.close()

    @property
    def linked(self) -> bool:
        return self._client is not None

    def send(self, *lines: str) -> None:
        self.send_raw(b"".join(line.encode("latin-1") + b"\r" for line in lines))

    def send_raw(self, data: bytes) -> None:
        client = until("a client at the gateway", lambda: self._client)
        client.sendall(data)

    def got(self, line: str) -> str:
        """Waits for a line that begins like this."""
        return until(
            f"the line {line!r} in {self.lines}", lambda: next((x for x in self.lines if x.startswith(line)), "")
        )

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        half = b""
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                *lines, half = (half + data).split(b"\r")
                for line in lines:
                    self._line(client, line.decode("latin-1"))
        if client is self._client:
            self._client = None
        client.close()

    def _line(self, client: socket.socket, line: str) -> None:
        if line.startswith("SSMI,1,"):
            self.logins.append(line)
            right = line == f"SSMI,1,user,{self.password}"
            client.sendall(b"SSMI,101,1\r" if right else b"SSMI,102,1\r")
            if right:
                self._client = client
        elif line == "SSMI,3":
            client.sendall(b"SSMI,101,2\r")
        else:
            self.lines.append(line)
            if line == "SSMI,99":
                client.shutdown(socket.SHUT_RDWR)
