"""What a broker knows of itself, as values. No I/O."""

from __future__ import annotations

import msgspec

from richmond.durations import Durations


class LinkStatus(msgspec.Struct, frozen=True):
    """`since`: Unix seconds. `error`: the last one, in plain words; empty if there was none."""

    state: str
    since: float
    error: str


class Throttled(msgspec.Struct, frozen=True):
    """Messages that wait because the account's rate is used up. `kind`: ussd or sms. `since`: Unix seconds."""

    kind: str
    waiting: int
    since: float
    per_second: float


class AccountStatus(msgspec.Struct, frozen=True):
    """One account at a gateway. `sessions`: how many are open. `unread`: why its gateway is not read; empty: it is."""

    name: str
    address: str
    link: LinkStatus
    sessions: int
    throttled: tuple[Throttled, ...]
    unread: str
    counters: dict[str, int]


class JournalStatus(msgspec.Struct, frozen=True):
    """What waits for RabbitMQ and is no USSD. `entries`: on the disk; `kept`: in memory, since the disk takes nothing.

    `oldest`: when it was read, Unix seconds; None if there is none.
    """

    entries: int
    oldest: float | None
    kept: int


class BrokerStatus(msgspec.Struct, frozen=True):
    """`counters`: of all accounts together, as `broker` says.

    `end_to_end`: USSD, from a message at the gateway's socket to its reply there.
    """

    accounts: tuple[AccountStatus, ...]
    amqp: LinkStatus
    journal: JournalStatus
    opt_outs: int  # subscribers who want no more SMS
    counters: dict[str, int]
    end_to_end: Durations
    spans: tuple[int, int] = (0, 0)  # exported, dropped
