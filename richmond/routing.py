"""Which worker class an inbound message goes to: USSD by its session's code, SMS by short code and keyword. No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from richmond.settings import DEFAULT_ACCOUNT, AmqpSettings, WorkerSettings
from richmond.ssmi.sessions import normal_code

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Route:
    """`rest`: what was dialled behind a prefix, `1*4` of `*120*663*1*4#`; empty for whole codes and for SMS."""

    routing_key: str
    worker: str  # its name; empty where the ini has no worker class
    rest: str = ""


class Routes:
    """The class without codes and without keys for SMS is the default: it takes the rest of the USSD, also what has no
    code.

    With no worker class in the ini at all, whoever consumes the receive queue is the default: the broker of 2010 ran
    with an ini that knew of no workers.
    """

    def __init__(self, workers: Sequence[WorkerSettings], amqp: AmqpSettings) -> None:
        named = {name for worker in workers for name in worker.accounts}
        nobody = None if workers else Route(amqp.receive_routing_key, "")
        self._tables = {
            account: _Table([w for w in workers if not w.accounts or account in w.accounts], nobody)
            for account in named
        }
        self._others = _Table([w for w in workers if not w.accounts], nobody)

    def ussd(self, code: str | None, account: str) -> Route | None:
        """A whole code before a prefix, a longer prefix before a shorter one. None where no class wants it."""
        table = self._tables.get(account, self._others)
        if code is None:
            return table.default
        code = normal_code(code)
        route = table.codes.get(code)
        if route is not None:
            return route
        for prefix, route in table.prefixes:
            if code.startswith(prefix):
                return Route(route.routing_key, route.worker, code[len(prefix) :].removesuffix("#"))
        return table.default

    def sms(self, account: str, destination: str | None, text: str | None) -> Route | None:
        """`destination`: the short code of a premium SMS. `text` None: it is binary. None where no class wants it."""
        table = self._tables.get(account, self._others)
        if table.sms:
            destination, word = destination or "", first_word(text or "")
            for claim in ((destination, word), ("", word), (destination, "")):
                route = table.sms.get(claim)
                if route is not None:
                    return route
        return table.default_sms

    def default_sms(self, account: str) -> Route | None:
        """Who takes the SMS that no other class wants."""
        return self._tables.get(account, self._others).default_sms

    def routing_key(self, code: str | None) -> str | None:
        route = self.ussd(code, DEFAULT_ACCOUNT)
        return route.routing_key if route is not None else None


class _Table:
    """The routes of one account."""

    def __init__(self, workers: Sequence[WorkerSettings], default: Route | None) -> None:
        self.codes: dict[str, Route] = {}
        self.prefixes: list[tuple[str, Route]] = []  # the longest first
        self.sms: dict[tuple[str, str], Route] = {}  # short code and keyword, either of them empty for any
        self.default = default
        self.default_sms: Route | None = None
        for worker in workers:
            route = Route(worker.routing_key, worker.name)
            for code in worker.codes:
                if code.endswith("*"):
                    self.prefixes.append((code, route))
                else:
                    self.codes[normal_code(code)] = route
            self.sms |= dict.fromkeys(worker.sms_claims, route)
            if worker.is_default:
                self.default = route
            if worker.sms:
                self.default_sms = route
        self.prefixes.sort(key=lambda entry: -len(entry[0]))


def first_word(text: str) -> str:
    """In upper case, without what is neither letter nor digit around it: `WIN` of ` "win", a car`."""
    word = _WORD.search(text)
    return word[0].upper() if word else ""
