"""A telephone in the terminal: dials through the simulator's unix socket, shows menus, takes answers.

Texts go to `stdout`; what cannot go on is a RichmondError.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from richmond.errors import ControlError
from richmond.simulator import wire
from richmond.simulator.line import Line
from richmond.simulator.show import lines, message

HANGUP_S = 5.0  # for the simulator to confirm a hang-up
PROMPT = "> "
ENDED = {
    "application": "(session ended)",
    "subscriber": "(hung up)",
    "timeout": "(timed out)",
    "redirect": "(redirected)",
    "no-client": "(the gateway has no client logged in: session ended)",
}


def run(
    socket_path: Path,
    code: str,
    *,
    msisdn: str | None = None,
    answers: Iterable[str] | None = None,
    stdin: TextIO,
    stdout: TextIO,
    interactive: bool,
    timeout_s: float = 20.0,
    wait: bool = False,
    account: str = "",
) -> int:
    """One call from dialling to its end. Returns the exit code.

    `msisdn`: None for a free number at random. `account`: empty for the simulator's first. `interactive`: a person
    answers at `stdin`; end of file and Ctrl-C hang up. Otherwise `answers`, or without any the lines of `stdin`, are
    the script: the conversation is printed, and 0 means that the session took all of it and then ended, was hung up or,
    with `wait`, was left to time out; 1 that no reply came within `timeout_s`, or that the session ended early.
    """
    with Line(socket_path) as line:
        call = _Call(line, stdout, timeout_s, account)
        if interactive:
            return call.talk(stdin, code, msisdn)
        script = answers if answers is not None else (answer.rstrip("\n") for answer in stdin)
        return call.recite(deque(script), code, msisdn, wait=wait)


class _Call:
    def __init__(self, line: Line, stdout: TextIO, timeout_s: float, account: str) -> None:
        self._account = account
        self._line = line
        self._stdout = stdout
        self._timeout_s = timeout_s

    def recite(self, script: deque[str], code: str, msisdn: str | None, *, wait: bool) -> int:
        self._print(f"{PROMPT}{code}")
        self._line.send(wire.Dial(msisdn=msisdn or "", code=code, account=self._account))
        timeout_s: float | None = self._timeout_s
        while True:
            event = self._line.next(timeout_s)
            if event is None:
                self._print(f"(no reply within {self._timeout_s:g} s)")
                return 1
            reason = self._show(event)
            if reason is not None:
                return self._judge(reason, script, wait=wait)
            if not (isinstance(event, wire.Menu) and event.open):
                continue
            if script:
                answer = script.popleft()
                self._print(f"{PROMPT}{answer}")
                self._line.send(wire.Answer(text=answer))
            elif wait:
                timeout_s = None  # the simulator has its own limit
            else:
                self._hang_up()
                return 0

    def _judge(self, reason: wire.Reason, script: deque[str], *, wait: bool) -> int:
        if script:
            self._print(f"(ended with {len(script)} of the answers not given: {', '.join(script)})")
            return 1
        return 0 if reason == "application" or (reason == "timeout" and wait) else 1

    def talk(self, stdin: TextIO, code: str, msisdn: str | None) -> int:
        keys = _Keys(stdin)
        both: list[Line | _Keys] = [self._line, keys]
        try:
            self._line.send(wire.Dial(msisdn=msisdn or "", code=code, account=self._account))
            menu_shown = False
            while True:
                if menu_shown and not self._line.waiting():
                    self._stdout.write(PROMPT)
                    self._stdout.flush()
                    # While a person thinks the network may end the session, or an SMS come.
                    if keys.waiting() or self._line not in select.select(both, [], [])[0]:
                        answer = keys.line()
                        if answer is None:
                            break
                        self._line.send(wire.Answer(text=answer))
                        menu_shown = False
                        continue
                    self._print("")
                event = self._line.next(self._timeout_s)
                if event is None:
                    self._print(f"(no reply within {self._timeout_s:g} s)")
                    return 1
                reason = self._show(event)
                if reason is not None:
                    return 1 if reason == "no-client" else 0
                if isinstance(event, wire.Menu):
                    menu_shown = event.open
        except KeyboardInterrupt:
            pass
        self._print("")
        self._hang_up()
        return 0

    def _hang_up(self) -> None:
        self._line.send(wire.Hangup())
        while True:
            event = self._line.next(HANGUP_S)
            if event is None or isinstance(event, wire.Error):
                return  # ended by the other side a moment ago
            if self._show(event) is not None:
                return

    def _show(self, event: wire.Event) -> wire.Reason | None:
        """Print it; why the call ended, if this is its end."""
        match event:
            case wire.Menu():
                self._print(lines(event.text))
            case wire.Message():
                self._print(message(event))
            case wire.End():
                self._print(ENDED[event.reason])
                return event.reason if event.reason != "redirect" else None
            case wire.Error():
                raise ControlError(event.text)
            case _:
                pass
        return None

    def _print(self, text: str) -> None:
        self._stdout.write(f"{text}\n")
        self._stdout.flush()


class _Keys:
    """Lines from a terminal. Not through the stream's own buffer, in which `select` would not see a second line."""

    def __init__(self, stdin: TextIO) -> None:
        self._fd = stdin.fileno()
        self._encoding = stdin.encoding
        self._half = b""

    def fileno(self) -> int:
        return self._fd

    def waiting(self) -> bool:
        return b"\n" in self._half

    def line(self) -> str | None:
        """None at end of file."""
        while b"\n" not in self._half:
            data = os.read(self._fd, 4096)
            if not data:
                return None
            self._half += data
        line, _, self._half = self._half.partition(b"\n")
        return line.decode(self._encoding, "replace")
