"""What master, spawner and workers tell each other: one JSON packet each, over SOCK_SEQPACKET pairs.

No I/O. A job holds the password of RabbitMQ: it travels only in such a packet, never in argv or the environment,
where every user of the host could read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from richmond.settings import DEFAULT_ACCOUNT, AmqpSettings, OtelSettings, WorkerSettings

# Linux takes a packet whole or not at all, up to SO_SNDBUF (212,992 bytes unless changed). Readers give this much room.
MAX_PACKET_BYTES = 1 << 20
# A traceback longer than this loses its middle: the cause is at the end, the way there at the start.
MAX_ERROR_CHARACTERS = 16_000


class WorkerJob(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker process needs to know, and the reason why it never reads the ini itself."""

    slot: str  # EchoWorker:0
    generation: int
    row: int  # of the scoreboard
    worker: WorkerSettings
    amqp: AmqpSettings  # host and port resolved, also where the node is private
    workers_path: Path
    orphan_timeout_s: float
    accounts: tuple[str, ...] = (DEFAULT_ACCOUNT,)  # at SSMI gateways, by name
    log: Path | None = None  # where to go on when the master has died; None: standard error
    log_mark: str = ""  # of the pipe to the master, which comes with the order; empty: it logs to standard error
    log_level: str = "info"
    log_messages: bool = False
    log_format: str = "text"
    otel: OtelSettings | None = None  # None: its messages are not followed as spans


# Master to spawner.


class Spawn(msgspec.Struct, frozen=True, tag=True):
    """With it comes, as a descriptor, the pipe that is to be the worker's standard output and error."""

    job: WorkerJob


class Kill(msgspec.Struct, frozen=True, tag=True):
    """Signal this worker, if it still is the spawner's unreaped child: a pid is never signalled after its reuse."""

    slot: str
    pid: int
    signal: int


# Spawner to master.


class Forked(msgspec.Struct, frozen=True, tag=True):
    slot: str
    pid: int


class SpawnFailed(msgspec.Struct, frozen=True, tag=True):
    """There is no process: fork was refused."""

    slot: str
    error: str


class Exited(msgspec.Struct, frozen=True, tag=True):
    """Reaped. One of `code` and `signal` is set; neither if its spawner had died before, so that nobody saw it."""

    slot: str
    pid: int
    code: int | None = None
    signal: int | None = None


class SpawnerDied(msgspec.Struct, frozen=True, tag=True):
    """The spawner has ended, so its workers are draining. `status`: its exit code, negative for a signal."""

    status: int


# Worker to master.


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Connected and consuming. `files`: path to SHA-256 of each site file that importing the class brought in."""

    slot: str
    pid: int
    files: dict[str, str] = {}


class Failed(msgspec.Struct, frozen=True, tag=True):
    """`error` is a traceback. `handler`: one message's handler raised and the worker lives; else it is about to end."""

    slot: str
    pid: int
    error: str
    handler: bool


Order = Spawn | Kill
Event = Forked | SpawnFailed | Exited | SpawnerDied | Ready | Failed


def shorten(error: str) -> str:
    """Make a traceback fit to be sent: within `MAX_ERROR_CHARACTERS`, and without what UTF-8 has no form for."""
    error = error.encode("utf-8", "backslashreplace").decode("utf-8")  # os.fsdecode leaves lone surrogates
    if len(error) <= MAX_ERROR_CHARACTERS:
        return error
    half = MAX_ERROR_CHARACTERS // 2
    return f"{error[:half]}\n... ({len(error) - 2 * half} characters left out)\n{error[-half:]}"


def _to_json(value: object) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):  # settings hold read-only mappings
        return dict(value)
    raise NotImplementedError(type(value))


def _from_json(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)


_encoder = msgspec.json.Encoder(enc_hook=_to_json)
_order_decoder: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order, dec_hook=_from_json)
_event_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event, dec_hook=_from_json)


def encode(message: Order | Event) -> bytes:
    return _encoder.encode(message)


def decode_order(packet: bytes) -> Order:
    """msgspec.DecodeError if it is none: only our own processes hold the other end, so it is a bug."""
    return _order_decoder.decode(packet)


def decode_event(packet: bytes) -> Event:
    """As `decode_order`."""
    return _event_decoder.decode(packet)
