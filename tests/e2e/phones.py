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
        self.repeated = 0  # menus that nobody had asked for: again, after a crash
        self._asked: dict[str, str | None] = {f"2783{n:07}": None for n in range(count)}  # what awaits its reply
        self._answered = dict.fromkeys(self._asked, 0)  # in this session
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
            self._check()
        finally:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join(10)
            self._socket.close()
        assert not self.lost

    def wait(self, what: str, condition: Callable[[str], bool], number: int = 20) -> None:
        """Until `number` replies more have come for which `condition` is true."""
        start = len(self.replies)
        until(what, lambda: self.failure or sum(map(condition, self.replies[start:])) >= number)
        self._check()

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _send(self, **request: str) -> None:
        self._socket.sendall(msgspec.json.encode(request) + b"\n")

    def _dial(self, msisdn: str) -> None:
        self._asked[msisdn], self._answered[msisdn] = "", 0
        self._talking.add(msisdn)
        self._send(op="dial", msisdn=msisdn, code=self._code)

    def _run(self) -> None:
        try:
            for msisdn in self._asked:
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
        asked = self._asked[msisdn]
        if asked is None or not text.endswith(asked):
            self.repeated += 1
            return
        self.replies.append(text)
        self._asked[msisdn] = None
        if is_open and self._answered[msisdn] < self._answers:
            self._answered[msisdn] += 1
            self._asked[msisdn] = answer = f"{msisdn}-{len(self.replies)}"
            self._send(op="answer", msisdn=msisdn, text=answer)
        elif is_open:
            self._send(op="hangup", msisdn=msisdn)
