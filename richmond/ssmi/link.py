"""The state of the link to the gateway: login, link check, loss, back-off. No I/O.

Each method takes the monotonic time and returns what is to be done, in order. After a Hangup the caller closes the
socket and calls `lost`, as it does when the socket ends by itself; that call decides when to dial again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

from richmond.settings import SsmiSettings
from richmond.ssmi.codec import Ack, Event, LinkCheck, Login, Logout, Nack, RemoteLogout, encode


class LinkState(Enum):
    STOPPED = "stopped"
    CONNECTING = "connecting"
    LOGGING_IN = "logging-in"
    UP = "up"
    BACKOFF = "backoff"
    AUTH_FAILED = "auth-failed"
    REMOTE_LOGOUT = "remote-logout"


@dataclass(frozen=True, slots=True)
class Dial:
    pass


@dataclass(frozen=True, slots=True)
class Send:
    data: bytes


@dataclass(frozen=True, slots=True)
class Hangup:
    reason: str


Action = Dial | Send | Hangup

MISSED_CHECKS = 2  # unanswered when the timer fires: the link is dead
SLOW_GROWTH = 16  # a slow back-off grows to this many times its setting

_NACKS = {
    "1": "the gateway refuses the user name or password: check username and password in [{}]",
    "2": "the gateway does not know the message type",
    "3": "the gateway could not parse a line",
    "4": "the gateway says that the account is suspended: ask its operator",
}
_CONNECTED = (LinkState.LOGGING_IN, LinkState.UP)


class Link:
    """`since`: monotonic time of the last change of state. `last_error`: plain words, never a password."""

    def __init__(self, settings: SsmiSettings, now: float = 0.0) -> None:
        self.settings = settings
        self.state = LinkState.STOPPED
        self.since = now
        self.last_error = ""
        self.counters: Counter[str] = Counter()
        self._deadline: float | None = None
        self._unanswered = 0  # link checks
        self._losses = 0  # in a row, for the growth of each back-off
        self._refusals = 0
        self._logouts = 0

    def deadline(self) -> float | None:
        """When `tick` is due; None: nothing to wait for."""
        return self._deadline

    def start(self, now: float) -> list[Action]:
        if self.state is not LinkState.STOPPED:
            return []
        return self._dial(now)

    def connected(self, now: float) -> list[Action]:
        if self.state is not LinkState.CONNECTING:
            return [Hangup("no connection wanted")]
        self._enter(LinkState.LOGGING_IN, now, now + self.settings.login_timeout_s)
        return [self._line(Login(self.settings.username, self.settings.password))]

    def received(self, event: Event, now: float) -> list[Action]:
        """For Ack, Nack and RemoteLogout; anything else says nothing about the link."""
        if self.state not in _CONNECTED:
            return []
        match event:
            case Ack("1") if self.state is LinkState.LOGGING_IN:
                self.counters["logins"] += 1
                self._refusals = 0
                self._unanswered = 0
                self._enter(LinkState.UP, now)
                return self._check(now)
            case Ack("2"):
                self._unanswered = 0
                self._losses = self._logouts = 0  # a login alone proves nothing: some gateways drop it at once
            case Nack(code):
                self.counters[f"nack:{code}"] += 1
                refusal = _NACKS.get(code, f"the gateway refuses with code {code}")
                self.last_error = refusal.format(self.settings.section)
                if self.state is LinkState.LOGGING_IN:
                    self._enter(LinkState.AUTH_FAILED, now)
                    return [Hangup(self.last_error)]
            case RemoteLogout(ip):
                return self._remote_logout(ip, now)
        return []

    def lost(self, reason: str, now: float, jitter: float) -> list[Action]:
        """The connection is gone, or could not be made. `jitter`: in [0, 1)."""
        match self.state:
            case LinkState.STOPPED:
                return []
            case LinkState.AUTH_FAILED:
                self._deadline = now + self._slow(self.settings.auth_backoff_s, self._refusals, jitter)
                self._refusals += 1
            case LinkState.REMOTE_LOGOUT:
                if self.settings.on_remote_logout == "stop":
                    return []
                self._deadline = now + self._slow(self.settings.remote_logout_backoff_s, self._logouts, jitter)
                self._logouts += 1
            case _:
                self.counters["losses"] += 1
                self.last_error = reason
                delay = min(self.settings.reconnect_max_s, self.settings.reconnect_min_s * 2.0 ** min(self._losses, 30))
                self._losses += 1
                self._enter(LinkState.BACKOFF, now, now + delay * (0.5 + jitter / 2))
        return []

    def tick(self, now: float) -> list[Action]:
        if self._deadline is None or now < self._deadline:
            return []
        match self.state:
            case LinkState.UP:
                if self._unanswered < MISSED_CHECKS:
                    return self._check(now)
                self.counters["dead"] += 1
                self._deadline = None
                return [Hangup(f"the gateway left {self._unanswered} link checks unanswered")]
            case LinkState.LOGGING_IN:
                self.counters["login-timeouts"] += 1
                self.last_error = (
                    f"the gateway did not answer the login within {self.settings.login_timeout_s:g} s:"
                    f" check host, port, username and password in [{self.settings.section}]"
                )
                self._enter(LinkState.AUTH_FAILED, now)
                return [Hangup(self.last_error)]
            case _:
                return self._dial(now)

    def take(self, settings: SsmiSettings, now: float) -> None:
        """Other times of the same account. A wait that has begun becomes shorter with them, never longer."""
        self.settings = settings
        longest = {
            LinkState.UP: settings.link_check_interval_s,
            LinkState.LOGGING_IN: settings.login_timeout_s,
            LinkState.BACKOFF: settings.reconnect_max_s,
        }.get(self.state)
        if longest is not None and self._deadline is not None:
            self._deadline = min(self._deadline, now + longest)

    def resumed(self, now: float) -> None:
        """We did not read for a while: silence during that time is no evidence against the gateway."""
        if self.state is LinkState.UP and self._deadline is not None and self._deadline < now:
            self._deadline = now + self.settings.login_timeout_s

    def stop(self, now: float) -> list[Action]:
        """For good, until `start`. After the logout the caller reads to the end before it closes."""
        was = self.state
        self._enter(LinkState.STOPPED, now)
        if was is LinkState.UP:
            return [self._line(Logout())]
        return [Hangup("stopped")] if was is LinkState.LOGGING_IN else []

    def _dial(self, now: float) -> list[Action]:
        self.counters["dials"] += 1
        self._enter(LinkState.CONNECTING, now)
        return [Dial()]

    def _check(self, now: float) -> list[Action]:
        self.counters["link-checks"] += 1
        self._unanswered += 1
        self._deadline = now + self.settings.link_check_interval_s
        return [self._line(LinkCheck())]

    def _remote_logout(self, ip: str, now: float) -> list[Action]:
        self.counters["remote-logouts"] += 1
        self.last_error = f"another client, at {ip[:60]}, has logged in with this account"
        if self.settings.on_remote_logout == "reconnect":
            return [Hangup(self.last_error)]
        if self.settings.on_remote_logout == "stop":
            self.last_error += "; on-remote-logout = stop: restart richmond to log in again"
        self._enter(LinkState.REMOTE_LOGOUT, now)
        return [Hangup(self.last_error)]

    def _slow(self, base_s: float, times: int, jitter: float) -> float:
        """Never less than the setting: two clients that return at once push each other out for ever."""
        growth: float = min(2.0 ** min(times, 30), SLOW_GROWTH)
        return base_s * growth * (1 + jitter / 4)

    def _enter(self, state: LinkState, now: float, deadline: float | None = None) -> None:
        self.state = state
        self.since = now
        self._deadline = deadline

    def _line(self, command: Login | LinkCheck | Logout) -> Send:
        return Send(encode(command, self.settings.encoding))
