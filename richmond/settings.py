"""What the ini says, as frozen values. No parsing, no I/O: `config` makes these.

Times are seconds, sizes bytes. Names are the ini's keys with `_` for `-`, plus the unit where the key has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from types import MappingProxyType

DEFAULT_ACCOUNT = "default"  # the name of [ssmi] without one


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
    journal_max_bytes: int = 1 << 30  # of what waits for RabbitMQ on the disk
    trace: bool = False  # remember the times of a subscriber's last messages at each hop
    log_files: str = "one"  # or per-class
    log_max_bytes: int = 50 << 20  # a larger one is rotated; 0: never
    log_backups: int = 5  # rotated files that are kept
    log_format: str = "text"  # or json
    on_event: str = ""  # a command that gets every event; empty: none
    hook_timeout_s: float = 10.0  # of this and of on-fatal


@dataclass(frozen=True, slots=True)
class SsmiSettings:
    """[ssmi] or [ssmi:NAME]: an account at a gateway."""

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
    name: str = DEFAULT_ACCOUNT
    apologise_after_s: float = 15.0  # so long a subscriber waits for RabbitMQ to come back
    ussd_rate: float = 0.0  # messages/s to the gateway; 0: no limit
    sms_rate: float = 0.0
    ussd_burst: int = 10  # messages that may go at once before the rate bites
    sms_burst: int = 10
    opt_out: bool = False  # no SMS to those who have sent one of the next
    opt_out_keywords: tuple[str, ...] = ("STOP", "END", "QUIT", "UNSUBSCRIBE")  # upper case
    opt_in_keywords: tuple[str, ...] = ("START",)

    @property
    def section(self) -> str:
        """Where it stands in the ini."""
        return "ssmi" if self.name == DEFAULT_ACCOUNT else f"ssmi:{self.name}"


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
    # URL of the management API, perhaps with a user and password; empty: it is not asked. No connection depends on it.
    management: str = field(default="", repr=False, compare=False)


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
class OtelSettings:
    """[otel]: the way of messages as OpenTelemetry spans."""

    enabled: bool = False
    endpoint: str = "http://127.0.0.1:4318"  # of the collector, OTLP over HTTP, without /v1/traces
    service_name: str = "richmond"
    headers: str = field(default="", repr=False)  # NAME=VALUE, NAME=VALUE; a token, say
    sample_ratio: float = 1.0  # of messages, 0 to 1


@dataclass(frozen=True, slots=True)
class WebSettings:
    """[web]: what a browser and Prometheus see."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: int = 0  # 0: a free one
    token_file: Path = Path("web.token")
    hosts: tuple[str, ...] = ()  # names under which it may be asked, besides addresses and localhost; lower case
    max_clients: int = 64


@dataclass(frozen=True, slots=True)
class EnvironmentFile:
    """Read with the ini, by whoever may read it: a worker need not."""

    path: Path
    variables: Mapping[str, str] = field(repr=False)

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """[worker:NAME]: one worker class."""

    name: str
    class_path: str  # dotted, as imported: richmond.workers.ussd.EchoWorker
    workers: int
    min: int
    max: int
    codes: tuple[str, ...]  # USSD codes, each with its final '#', or with a final '*': a prefix
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
    scale_down_s: float = 20.0  # worker-seconds that idle ones may cost before they go
    short_codes: tuple[str, ...] = ()  # destinations of premium SMS
    keywords: tuple[str, ...] = ()  # first words of SMS, upper case; with short_codes, both must match
    sms: bool = False  # takes the SMS that no other class wants
    accounts: tuple[str, ...] = ()  # whose messages it takes; empty: all accounts'
    long_text: str = "cut"  # cut, refuse or pages: a USSD text that is too long
    sms_long: str = "split"  # split or refuse
    more_option: str = "#"  # the answer that asks for the next page
    more_text: str = "# More"  # the last line of a page that has a next one
    task_timeout_s: float = 60.0  # with a message in hand for so long a worker hangs; 0: no limit
    liveness_interval_s: float = 5.0  # an idle worker's loop takes a turn so often; 0: only when there is something
    max_messages: int = 0  # after so many a worker is replaced; 0, here and in the next three: no limit
    max_age_s: float = 0.0
    max_memory: int = 0  # resident bytes: it drains and is replaced
    max_memory_hard: int = 0  # it is killed
    user: str = ""  # empty: that of the master; the next four, too
    umask: str = ""  # octal
    nice: int | None = None
    rlimit_nofile: int | None = None  # descriptors
    rlimit_as: int | None = None  # bytes of address space
    environment_file: EnvironmentFile | None = None  # `environment` comes before it
    on_fatal: str = "none"  # or exit: the master ends; or a command that gets the event
    weight: int = 1  # of its share of max-workers, where that is too little for all
    target_utilisation: float = 0.85  # of a worker's time that handlers may take in the long run

    @property
    def is_default(self) -> bool:
        """It takes the USSD that no other class wants, and no SMS."""
        return not (self.codes or self.short_codes or self.keywords or self.sms)

    @property
    def sms_claims(self) -> tuple[tuple[str, str], ...]:
        """Which SMS are its own: (short code, keyword), either of them empty where any will do."""
        if not (self.short_codes or self.keywords):
            return ()
        return tuple(product(self.short_codes or ("",), self.keywords or ("",)))


@dataclass(frozen=True, slots=True)
class Settings:
    """One ini, valid as a whole."""

    path: Path
    richmond: RichmondSettings
    accounts: tuple[SsmiSettings, ...]  # at least one
    amqp: AmqpSettings
    rabbitmq: RabbitmqSettings
    simulator: SimulatorSettings
    workers: tuple[WorkerSettings, ...]
    otel: OtelSettings = OtelSettings()
    web: WebSettings = WebSettings()

    @property
    def ssmi(self) -> SsmiSettings:
        """The first account: the one that the simulator stands in for."""
        return self.accounts[0]

    def simulated(self) -> dict[str, tuple[str, str]]:
        """Account -> user and password at the simulator, of the first account and of each other one without a host."""
        if not self.simulator.enabled:
            return {}
        first, *others = self.accounts
        pair = self.simulator.username, self.simulator.password
        return {first.name: pair} | {
            a.name: (a.username or a.name, a.password or self.simulator.password) for a in others if not a.host
        }

    def simulated_encodings(self) -> dict[str, str]:
        """User at the simulator -> encoding of its texts."""
        users = self.simulated()
        return {users[a.name][0]: a.encoding for a in self.accounts if a.name in users}


def send_suffixes(account: str) -> tuple[str, str]:
    """What an account's two send queues, for USSD and for all else, add to the names in [amqp]."""
    suffix = "" if account == DEFAULT_ACCOUNT else f".{account}"
    return suffix, f"{suffix}.sms"
