"""A terminal with a command in its foreground, as a person sits before it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping
from pathlib import Path

from installation import until


class Terminal:
    """The kernel turns what is typed into signals for the foreground group, as in any terminal."""

    def __init__(
        self, command: list[str], cwd: Path, environ: Mapping[str, str], columns: int = 80, lines: int = 50
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env={**environ, "TERM": "xterm"},
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        self._output = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self._reader.join(10)
        os.close(self._master)

    @property
    def text(self) -> str:
        """What has been shown, without colours and carriage returns."""
        text = self._output.decode("utf-8", "replace").replace("\r\n", "\n")
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)

    def expect(self, text: str, times: int = 1) -> str:
        def shown() -> bool:
            running = self.process.poll() is None
            if not running:
                self._reader.join(10)
            found = self.text.count(text) >= times
            assert found or running, f"ended without {text!r}"
            return found

        try:
            until(f"{text!r} on the terminal", shown)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.text}") from None
        return self.text

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """Wait until the command has ended; its exit code."""
        code = self.process.wait(60)
        self._reader.join(10)
        return code

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # EIO: the last process has let the terminal go
                return
            if not data:
                return
            self._output += data
