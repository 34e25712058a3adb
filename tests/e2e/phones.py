"""Telephones that talk without a pause, from a thread of their own, and notice each reply that does not come."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import msgspec
from installation import DEADLINE_S, Installation, until


class Phones:
    """Each of `count` subscribers dials `code`, says `answers` texts, hangs up and dials again, until the end.

    A text is unlike all others, and the worker's reply has to end with it: what comes twice after a crash is told
    from what was asked for. `lost`: sessions that ended without their reply.
    """

    def __init__(self, installation: Installation, count: int = 8, code: str = "*120*663#", answers: int = 3) -> None:
        self._path = installation.settings.simulator.socket
        self._code = code
        self._answers = answers
        self.replies: list[str] = []
        self.lost: list[dict[str, Any]] = []
        self._said: dict[str, list[str]] = {
            f"2783{n:07}": [] for n in range(count)
        }  # since it dialled, the last one open
        self._ending = False
        self._talking: set[str] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure: Exception | None = None

    def __enter__(self) -> Phones:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(self._path))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        """Let everybody end the session in hand, and see that no reply was lost."""
        self._ending = True
        try:
            until("the last replies", lambda: self.failure or not self._talking, DEADLINE_S)
        finally:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join(10)
            self._socket.close()
        assert self.failure is None
        assert not self.lost

    def wait(self, what: str, condition: Callable[[str], bool], number: int = 20) -> None:
        """Until `number` replies more have come for which `condition` is true."""
        start = len(self.replies)
        until(what, lambda: self.failure or sum(map(condition, self.replies[start:])) >= number)
        assert self.failure is None

    def _send(self, **request: str) -> None:
        self._socket.sendall(msgspec.json.encode(request) + b"\n")

    def _dial(self, msisdn: str) -> None:
        self._said[msisdn] = [self._code]
        self._talking.add(msisdn)
        self._send(op="dial", msisdn=msisdn, code=self._code)

    def _run(self) -> None:
        try:
            for msisdn in self._said:
                self._dial(msisdn)
            for line in self._socket.makefile("rb"):
                self._take(msgspec.json.decode(line))
        except Exception as e:  # the test's thread has to hear of it
            if not self._ending:
                self.failure = e

    def _take(self, event: dict[str, Any]) -> None:
        msisdn = event.get("msisdn", "")
        match event["event"]:
            case "menu":
                self._menu(msisdn, event["text"], event["open"])
            case "end":
                if event["reason"] != "subscriber":
                    self.lost.append(event)
                self._talking.discard(msisdn)
                if not self._ending:
                    self._dial(msisdn)
            case "error":
                self.failure = AssertionError(event["text"])

    def _menu(self, msisdn: str, text: str, is_open: bool) -> None:
        said = self._said[msisdn]
        if len(said) > 1 and not text.endswith(said[-1]):
            return  # again, after a crash
        self.replies.append(text)
        if is_open and len(said) <= self._answers:
            said.append(f"{msisdn}-{len(self.replies)}")
            self._send(op="answer", msisdn=msisdn, text=said[-1])
        elif is_open:
            self._send(op="hangup", msisdn=msisdn)
