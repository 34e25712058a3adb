"""What the master knows of its workers, what can happen to it, and what it can do. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from richmond.settings import Settings, WorkerSettings
from richmond.supervisor import jobs, policy
from richmond.supervisor.lifecycle import Slot, State
from richmond.supervisor.liveness import Idle, Look

ROWS = 8192  # of the scoreboard: more than twice as many workers as anybody runs on a host
PROBE_FIRST_S = 60.0
PROBE_MAX_S = 600.0


@dataclass(frozen=True, slots=True)
class Back:
    """What a rollout goes back to when the new workers do not come up."""

    generation: int
    spec: WorkerSettings


@dataclass(frozen=True, slots=True)
class WorkerClass:
    """One [worker:NAME] and its slots."""

    spec: WorkerSettings
    generation: int
    target: int
    reason: str
    pin: int | None = None  # the operator's count, until `scale NAME auto`
    decision: policy.Decision | None = None  # the policy's last word, before max-workers
    woken: bool = False  # since the last sample: its messages need not be told of again
    slots: tuple[Slot, ...] = ()
    samples: tuple[policy.Sample, ...] = ()
    reloaded: float = 0.0  # when the ini was last read, and the files of workers compared with the disk
    removed: bool = False  # no longer in the ini; forgotten when its slots have gone
    probe_due: float | None = None  # when one FATAL slot tries again
    probe_delay_s: float = PROBE_FIRST_S
    recycled: int = 0  # workers, for one of the limits of their age, their work or their memory
    last_recycled: str = ""  # which one, and why
    rollout: str = ""  # why the present generation replaced the one before
    back: Back | None = None  # until the last old worker has gone
    rolled_back: str = ""  # why, until the next reload
    rolled_back_traceback: str = ""

    @property
    def settled(self) -> bool:
        """As many workers of the present generation run as the target says, and no others are left."""
        return len(self.slots) == self.target and all(
            slot.state is State.RUNNING and slot.generation == self.generation for slot in self.slots
        )

    def count(self, *states: State) -> int:
        return sum(slot.state in states for slot in self.slots)


@dataclass(frozen=True, slots=True)
class Waiter:
    """A request that is answered when its class has settled."""

    request: int
    name: str  # empty: all of them
    text: str
    rollout: bool = False  # it hears of it if that is rolled back


@dataclass(frozen=True, slots=True)
class Fleet:
    settings: Settings
    classes: Mapping[str, WorkerClass]
    waiters: tuple[Waiter, ...] = ()
    started: bool = False  # RabbitMQ's address is known; before that nothing is forked
    stopping: bool = False
    amqp_up: bool = False  # while RabbitMQ is away no worker can become READY, and none is blamed for it
    next_row: int = 0  # of the scoreboard; taken in turn, so that one who drains keeps its own
    starts_until: float = 0.0  # see guard.py
    look_due: float | None = None  # when `Looked` is due, monotonic; None: there is nobody to look at
    silent_since: float = 0.0  # silence of workers before that proves nothing
    idle: Mapping[str, Idle] = field(default_factory=dict)  # slot -> its worker, if that has nothing to do
    held: Mapping[str, int] = field(default_factory=dict)  # slot -> messages, when that was last looked at

    @property
    def workers(self) -> int:
        return sum(len(cls.slots) for cls in self.classes.values())

    def put(self, cls: WorkerClass) -> Fleet:
        return replace(self, classes={**self.classes, cls.spec.name: cls})

    def find(self, slot: str) -> tuple[WorkerClass, Slot] | None:
        cls = self.classes.get(slot.rpartition(":")[0])
        return next(((cls, s) for s in cls.slots if s.name == slot), None) if cls else None


# What happens. The events of the spawner and of the workers are in jobs.py.


@dataclass(frozen=True, slots=True)
class Started:
    """The services are there: `settings` with the addresses of the private node and the simulator filled in."""

    settings: Settings


@dataclass(frozen=True, slots=True)
class Tick:
    """A slot's timer may have ended."""


@dataclass(frozen=True, slots=True)
class Scale:
    request: int
    name: str
    count: int | None  # None: hand the count back to the policy
    wait: bool
    held: Mapping[str, int] = field(default_factory=dict)  # slot -> messages that its worker holds


@dataclass(frozen=True, slots=True)
class Restart:
    request: int
    name: str | None  # None: every class
    wait: bool


@dataclass(frozen=True, slots=True)
class Reloaded:
    """A valid ini, and what the site files that workers have imported are now: path -> SHA-256."""

    settings: Settings
    files: Mapping[str, str]
    request: int | None = None  # None: a signal, nobody asks
    wait: bool = False
    notes: tuple[str, ...] = ()  # what cannot be taken over


@dataclass(frozen=True, slots=True)
class Sampled:
    samples: Mapping[str, policy.Sample]
    held: Mapping[str, int] = field(default_factory=dict)  # slot -> messages that its worker holds


@dataclass(frozen=True, slots=True)
class Woken:
    """The broker has a message for a class of which no worker runs."""

    name: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What is seen of the workers that run, by slot."""

    looks: Mapping[str, Look]


@dataclass(frozen=True, slots=True)
class AmqpChanged:
    """The master's own connection to RabbitMQ came or went."""

    up: bool


@dataclass(frozen=True, slots=True)
class Shutdown:
    now: bool  # the second signal, or the stop timeout: nobody waits any longer


Event = jobs.Event | Started | Tick | Scale | Restart | Reloaded | Sampled | Woken | Looked | AmqpChanged | Shutdown


# What is to be done.


@dataclass(frozen=True, slots=True)
class Spawn:
    slot: str
    row: int
    generation: int
    spec: WorkerSettings


@dataclass(frozen=True, slots=True)
class Kill:
    slot: str
    pid: int
    signal: int


@dataclass(frozen=True, slots=True)
class Reply:
    request: int
    ok: bool
    text: str
    usage: bool = False  # what was asked for cannot be: the caller's mistake


@dataclass(frozen=True, slots=True)
class Log:
    level: str  # info, warning or error
    text: str


@dataclass(frozen=True, slots=True)
class RestartSpawner:
    pass


Action = Spawn | Kill | Reply | Log | RestartSpawner
Result = tuple[Fleet, list[Action]]
