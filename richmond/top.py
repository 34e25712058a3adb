"""`richmond top`: the live screen. What is on it stands in `top_frame`.

The master is asked once a second, in a thread, so that one that does not answer keeps nobody from the keys.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console, ConsoleDimensions, RenderableType
from rich.live import Live

from richmond.errors import RichmondError
from richmond.supervisor import protocol
from richmond.supervisor.control import call
from richmond.supervisor.status import Snapshot, from_dict
from richmond.top_frame import SORTS, History, View, frame

REFRESH_S = 1.0
TIMEOUT_S = 3.0
_ESCAPES = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down"}


def show_once(socket: Path, console: Console) -> None:
    """One frame, for a pipe or a terminal that can do no more. NotRunning where no master is."""
    history = History()
    snapshot = _ask(socket)
    history.add(snapshot, time.monotonic())
    view = View(snapshot, live=False, rates=history.rates)
    console.print(frame(view, history, console.width, 1 << 20))


def _ask(socket: Path) -> Snapshot:
    return from_dict(call(socket, protocol.GetStatus(), TIMEOUT_S)["status"])


class Top:
    """The live screen, on the terminal that standard input and output are."""

    def __init__(self, socket: Path, console: Console) -> None:
        self._socket = socket
        self._console = console
        self._history = History()
        self._view = View()
        self._news: queue.SimpleQueue[Snapshot | RichmondError | str] = queue.SimpleQueue()
        self._wake_read, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._ended = threading.Event()
        self._requests: queue.SimpleQueue[protocol.Scale | protocol.Restart] = queue.SimpleQueue()
        self._wanted: dict[str, int] = {}  # counts that were asked for and are not yet in a Snapshot

    def run(self) -> None:
        """Until q or Ctrl-C."""
        for target in (self._fetch, self._obey):
            threading.Thread(target=target, daemon=True).start()
        signal.signal(signal.SIGWINCH, lambda *_: self._ring())
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the terminal gets back what it was
        with contextlib.suppress(KeyboardInterrupt), _keys_at_once(), self._screen() as live:
            while True:
                live.update(self._frame(), refresh=True)
                readable, _, _ = select.select([sys.stdin, self._wake_read], [], [], REFRESH_S)
                if self._wake_read in readable:
                    os.read(self._wake_read, 4096)
                    self._take_news()
                if sys.stdin in readable and not self._take_keys(os.read(sys.stdin.fileno(), 1024)):
                    break
        self._ended.set()

    def _screen(self) -> Live:
        return Live(console=self._console, screen=True, auto_refresh=False, vertical_overflow="crop")

    def _frame(self) -> RenderableType:
        columns, lines = os.get_terminal_size(sys.stdout.fileno())  # whatever $COLUMNS says: it may be resized
        self._console.size = ConsoleDimensions(columns, lines)
        return frame(self._view, self._history, self._console.width, self._console.height)

    def _fetch(self) -> None:
        while not self._ended.is_set():
            try:
                self._tell(_ask(self._socket))
            except RichmondError as e:
                self._tell(e)
            self._ended.wait(REFRESH_S)

    def _tell(self, news: Snapshot | RichmondError | str) -> None:
        self._news.put(news)
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b".")

    def _take_news(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                match self._news.get_nowait():
                    case Snapshot() as snapshot:
                        self._history.add(snapshot, time.monotonic())
                        self._view = replace(self._view, snapshot=snapshot, trouble="", rates=self._history.rates)
                        reached = [cls.name for cls in snapshot.classes if self._wanted.get(cls.name) == cls.target]
                        for name in reached:
                            del self._wanted[name]
                    case RichmondError() as error:
                        self._view = replace(self._view, trouble=str(error))
                    case message:
                        self._view = replace(self._view, message=message)

    def _take_keys(self, typed: bytes) -> bool:
        """False: it is the end."""
        if not typed:
            return False
        for key in _keys(typed):
            match key:
                case "q" | "\x04":
                    return False
                case "up" | "down":
                    self._view = self._view.moved(-1 if key == "up" else 1)
                case "s":
                    sort = SORTS[(SORTS.index(self._view.sort) + 1) % len(SORTS)]
                    self._view = replace(self._view, sort=sort, message=f"workers by {sort}")
                case "+" | "=" | "-":
                    self._scale(-1 if key == "-" else 1)
                case "r":
                    if (chosen := self._view.chosen()) is not None:
                        self._requests.put(protocol.Restart(chosen.name))
        return True

    def _scale(self, by: int) -> None:
        chosen = self._view.chosen()
        if chosen is not None:
            count = max(0, self._wanted.get(chosen.name, chosen.target) + by)
            self._wanted[chosen.name] = count
            self._requests.put(protocol.Scale(chosen.name, count))

    def _obey(self) -> None:
        """One request after another, in a thread of its own; of several counts for a class only the last matters."""
        while True:
            request = self._requests.get()
            if isinstance(request, protocol.Scale) and self._wanted.get(request.worker, request.count) != request.count:
                continue
            try:
                self._tell(str(call(self._socket, request, TIMEOUT_S)["text"]))
            except RichmondError as e:
                self._wanted.pop(request.worker or "", None)
                self._tell(str(e))


def _keys(typed: bytes) -> Iterator[str]:
    while typed:
        for escape, name in _ESCAPES.items():
            if typed.startswith(escape):
                yield name
                typed = typed[len(escape) :]
                break
        else:
            yield chr(typed[0])
            typed = typed[1:]


@contextlib.contextmanager
def _keys_at_once() -> Iterator[None]:
    """Keys come as they are typed, and are not shown; Ctrl-C stays a signal."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
