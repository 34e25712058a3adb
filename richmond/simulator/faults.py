"""What is wrong with the gateway on request, until it is calm again. No I/O.

A fault is for all accounts (`account` "") or for one; a connection that has not logged in has the faults of all.
"""

from __future__ import annotations

from collections.abc import Callable

from richmond.simulator.wire import FaultName

LOGIN_NACKS = ("1", "4")
LINE_NACKS = ("2", "3")
MOST_IN_A_CHUNK = 20  # bytes

# One line of each kind that a client has to survive: it keeps the link, ignores the line, and may count it.
GARBAGE = (
    b"Garbage",
    b"",
    b"\n",
    b"SSMI",
    b"SSMI,",
    b"SSMI,,",
    b"ssmi,103,27831112222,1,hello",
    b"SSMI,103",
    b"SSMI,103,27831112222",
    b"SSMI,one,two",
    b"SSMI,00103,27831112222,1,hello",
    b"SSMI,101,9",
    b"SSMI,102,9",
    b"SSMI,110,27831112222,9,0,hello",
    b"SSMI,111,27831112222,2,0",
    b"SSMI,4294967296,hello",
    b"\x00\x01\x02\x7f\x80\xfe\xff",
    b"SSMI,105,\xc3(\xa0\xa1 not utf-8",
)


class Faults:
    def __init__(self) -> None:
        self._active: dict[tuple[str, str], float] = {}  # (name, account) -> seconds, times, or 1

    def begin(self, name: FaultName, account: str, value: float = 1.0) -> None:
        self._active[name, account] = value

    def end(self, name: FaultName, account: str) -> bool:
        """False if it was not on there. Without an account it ends for all."""
        return self._remove(lambda key: key[0] == name and account in ("", key[1]))

    def calm(self, account: str) -> None:
        self._remove(lambda key: account in ("", key[1]))

    def value(self, name: FaultName, account: str) -> float:
        """0.0: not on."""
        return self._active.get((name, account)) or self._active.get((name, ""), 0.0)

    def refuse(self, code: str, times: int, account: str) -> None:
        """Have the next logins (1, 4) or lines (2, 3) answered with this NACK."""
        self._active[f"nack {code}", account] = times

    def refused(self, codes: tuple[str, ...], account: str) -> str | None:
        """The NACK for what just came, one time less from now on; None if it is to be taken."""
        for code in codes:
            for key in ((f"nack {code}", account), (f"nack {code}", "")):
                if key in self._active:
                    self._active[key] -= 1
                    if self._active[key] == 0:
                        del self._active[key]
                    return code
        return None

    def listed(self) -> list[str]:
        """For people, in the order in which they began."""
        return [
            name
            + (f" {value:g} s" if name == "delay" else f", {value:g} times" if name.startswith("nack") else "")
            + (f", for {account}" if account else "")
            for (name, account), value in self._active.items()
        ]

    def _remove(self, wanted: Callable[[tuple[str, str]], bool]) -> bool:
        gone = [key for key in self._active if wanted(key)]
        for key in gone:
            del self._active[key]
        return bool(gone)


def cut(data: bytes, size: Callable[[], int]) -> list[bytes]:
    """Into pieces; `size` says how long the next one is, at least 1."""
    pieces = []
    at = 0
    while at < len(data):
        end = at + size()
        pieces.append(data[at:end])
        at = end
    return pieces


def long_line(length: int) -> bytes:
    """A free form line, its carriage return not counted."""
    return b"SSMI,105,".ljust(length, b"x") + b"\r"
