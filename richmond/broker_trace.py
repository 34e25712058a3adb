"""Where the broker's messages are on their way: the clock and the switch of `tracing`."""

from __future__ import annotations

import time

import msgspec

from richmond.tracing import Record, Trace


class _Times(msgspec.Struct, frozen=True):
    """Of a worker, Unix seconds."""

    delivered: float | None = None
    replied: float | None = None


class _Said(msgspec.Struct, frozen=True):
    """What of a worker's message says where it belongs."""

    msisdn: str = ""
    kind: str = "ussd"
    in_reply_to: str | None = None
    times: _Times = _Times()


_decoder = msgspec.json.Decoder(_Said)


class Tracer:
    """Ask `on` first: where nothing is traced, nothing may be spent on it."""

    def __init__(self, on: bool) -> None:
        self.on = on
        self._trace = Trace()

    def switch(self, on: bool) -> None:
        if self.on and not on:
            self._trace = Trace()
        self.on = on

    def received(self, msisdn: str, id: str, kind: str, wall: float) -> None:
        self._trace.received(_number(msisdn), id, kind, wall)

    def published(self, id: str) -> None:
        self._trace.published(id, time.time())

    def replied(self, body: bytes, id: str) -> str:
        """Something from a worker came out of a send queue. Returns what it is traced as; "" for what makes no sense.

        `id`: of what answers nothing.
        """
        now = time.time()
        try:
            said = _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return ""
        times = said.times
        if said.in_reply_to is None:
            self._trace.originated(_number(said.msisdn), id, said.kind, times.replied or now)
            return id
        if times.delivered is not None:
            self._trace.delivered(said.in_reply_to, times.delivered)
        self._trace.replied(said.in_reply_to, times.replied or now)
        return said.in_reply_to

    def left(self, id: str, outcome: str) -> None:
        """To the gateway's socket, or not."""
        self._trace.sent(id, time.time(), outcome)

    def of(self, msisdn: str) -> list[Record]:
        return self._trace.of(_number(msisdn))


def _number(msisdn: str) -> str:
    return msisdn.removeprefix("+")
