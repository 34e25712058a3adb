"""What the ini says, as frozen values. No parsing, no I/O: `config` makes these.

Times are seconds, sizes bytes. Names are the ini's keys with `_` for `-`, plus the unit where the key has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class RichmondSettings:
    """[richmond]: the installation and its master."""

    directory: Path  # var/: everything that Richmond writes lives below it
    workers_path: Path  # the site's own classes; put on sys.path of workers only
    log: Path | None  # None: standard error
    log_level: str  # debug, info, warning or error
    log_messages: bool  # whole numbers and texts in the logs
    pid_file: Path
    socket: Path
    max_workers: int  # over all classes
    stop_timeout_s: float  # from SIGTERM of the master to SIGKILL of what is left
    orphan_timeout_s: float  # a worker's time to drain after the master has died
    sample_interval_s: float
    broker: bool  # no: this host runs workers only


@dataclass(frozen=True, slots=True)
class SsmiSettings:
    """[ssmi]: the account at the gateway."""

    host: str  # empty: none configured
    port: int
    username: str
    password: str = field(repr=False)
    encoding: str
    login_timeout_s: float
    link_check_interval_s: float
    max_line_bytes: int
    reconnect_min_s: float
    reconnect_max_s: float
    auth_backoff_s: float
    remote_logout_backoff_s: float
    on_remote_logout: str  # backoff, reconnect or stop
    session_timeout_s: float
    apology: str
    buffer: int  # inbound messages kept while RabbitMQ is away


@dataclass(frozen=True, slots=True)
class AmqpSettings:
    """[amqp]: RabbitMQ and the names on it."""

    host: str  # empty: the private node
    port: int
    username: str
    password: str = field(repr=False)
    vhost: str
    exchange: str
    send_queue: str
    send_routing_key: str
    receive_queue: str
    receive_routing_key: str
    events_exchange: str
    dead_queue: str
    prefetch: int  # of the broker's reply consumer
    heartbeat_s: int
    tls: bool
    tls_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    connect_timeout_s: float
    reconnect_max_s: float


@dataclass(frozen=True, slots=True)
class RabbitmqSettings:
    """[rabbitmq]: the private node."""

    private: bool
    port: int  # 0: a free one
    start_timeout_s: float


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """[simulator]: the built-in SSMI gateway."""

    enabled: bool
    port: int  # 0: a free one
    socket: Path  # control port for telephones
    username: str
    password: str = field(repr=False)
    session_timeout_s: float  # the subscriber's time to answer
    extended: bool  # 111 with genfields instead of 110


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """[worker:NAME]: one worker class."""

    name: str
    class_path: str  # dotted, as imported: richmond.workers.ussd.EchoWorker
    workers: int
    min: int
    max: int
    codes: tuple[str, ...]  # USSD codes, each with its final '#'; empty: the default class
    queue: str
    routing_key: str
    prefetch: int  # 0: judged by the time that handlers take
    start_timeout_s: float
    start_retries: int
    stable_s: float
    stop_timeout_s: float
    apology: str
    drain_target_s: float
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # the class's own keys
    scale_down_s: float = 60.0  # how long the load must have been lower before workers go


@dataclass(frozen=True, slots=True)
class Settings:
    """One ini, valid as a whole."""

    path: Path
    richmond: RichmondSettings
    ssmi: SsmiSettings
    amqp: AmqpSettings
    rabbitmq: RabbitmqSettings
    simulator: SimulatorSettings
    workers: tuple[WorkerSettings, ...]
