"""The life of one worker slot: a table of states and events. Pure: no clock, no I/O, no chance.

State names are supervisord's. `step` returns the slot as it is afterwards and what has to be done.
The restart policy (delays, FATAL) follows systemd's and supervisord's, mended: see ARCHITECTURE.md.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

IMPORT_FAILED = 3  # exit code of a worker whose class cannot be imported: trying again cannot help
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 60.0
KILL_AGAIN_S = 5.0  # SIGKILL is sent again to what is still there
ABORT_S = 2.0  # a hung worker's time to print its stacks


class State(StrEnum):
    STOPPED = "STOPPED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"
    STOPPING = "STOPPING"
    FATAL = "FATAL"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the ini says of restarts, for one class."""

    start_timeout_s: float
    start_retries: int
    stable_s: float
    stop_timeout_s: float


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one worker. `due` is when the state's own timer ends, monotonic; None: it has none."""

    name: str
    index: int
    row: int
    generation: int
    since: float
    state: State = State.STOPPED
    pid: int | None = None  # None while no process is known, as between the request to fork and its answer
    due: float | None = None
    crashes: int = 0  # unexpected exits in a row; being stable sets it to 0
    stable: bool = False
    doomed: str = ""  # why it was killed, although nobody wanted it to stop; said when it has gone
    cause: str = ""  # what the process said of its end, before it came
    last_error: str = ""
    traceback: str = ""
    files: Mapping[str, str] = field(default_factory=dict)  # site files that it imported: path -> SHA-256
    reserved: float = 0.0  # it waits for its turn to start, which holds until then: see guard.py
    draw: float = 0.0  # 0 to 1, the worker's own
    leaving: str = ""  # why a fresh one takes its place
    keeps_place: bool = False  # STOPPING, and until it has gone it counts as one of those that are wanted


@dataclass(frozen=True, slots=True)
class Start:
    pass


@dataclass(frozen=True, slots=True)
class Stop:
    pass


@dataclass(frozen=True, slots=True)
class Forked:
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    error: str


@dataclass(frozen=True, slots=True)
class Ready:
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exited:
    code: int | None
    signal: int | None


@dataclass(frozen=True, slots=True)
class Due:
    """The slot's timer has ended."""


@dataclass(frozen=True, slots=True)
class KillNow:
    """The second SIGTERM of the master: nobody waits any longer."""


@dataclass(frozen=True, slots=True)
class Orphaned:
    """The spawner has died: the worker drains, and nobody will report its exit."""


@dataclass(frozen=True, slots=True)
class Hung:
    """It makes no progress. `stopped`: by a signal, so that it cannot print its stacks."""

    why: str
    stopped: bool


@dataclass(frozen=True, slots=True)
class Recycle:
    """End it as planned; a fresh one is to start once it has gone. `signal`: SIGTERM has it drain."""

    why: str
    signal: int


Event = Start | Stop | Forked | SpawnFailed | Ready | Exited | Due | KillNow | Orphaned | Hung | Recycle


@dataclass(frozen=True, slots=True)
class Spawn:
    slot: str


@dataclass(frozen=True, slots=True)
class Kill:
    slot: str
    pid: int
    signal: int


Action = Spawn | Kill
Result = tuple[Slot, list[Action]]


def step(slot: Slot, event: Event, now: float, rules: Rules, jitter: float) -> Result:
    """What `event` makes of `slot`. `now`: monotonic seconds. `jitter`: 0 to 1, drawn by the caller.

    An event that means nothing in a state changes nothing: reports and exits may cross on their way.
    """
    handler = _TABLE.get((slot.state, type(event)))
    return (slot, []) if handler is None else handler(slot, event, now, rules, jitter)


def backoff_s(crashes: int, jitter: float) -> float:
    """Seconds before the next start after `crashes` unexpected exits in a row: none after the first."""
    if crashes <= 1:
        return 0.0
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(crashes - 2, 30)) * (0.5 + jitter / 2)


def exit_text(code: int | None, signum: int | None) -> str:
    if signum is None:
        return f"exited with code {code}"
    try:
        name = signal.Signals(signum).name
    except ValueError:
        name = f"signal {signum}"
    return f"killed by {name}"


def _to(slot: Slot, state: State, now: float, due: float | None = None) -> Slot:
    return replace(slot, state=state, since=now, due=due)


def _start(slot: Slot, _event: Event, now: float, rules: Rules, _jitter: float) -> Result:
    slot = replace(slot, pid=None, stable=False, doomed="", cause="", files={}, leaving="")
    return _to(slot, State.STARTING, now, now + rules.start_timeout_s), [Spawn(slot.name)]


def _forked(slot: Slot, event: Event, now: float, rules: Rules, _jitter: float) -> Result:
    assert isinstance(event, Forked)
    slot = replace(slot, pid=event.pid)
    if slot.doomed:
        return slot, [Kill(slot.name, event.pid, signal.SIGKILL)]
    return slot, []


def _forked_too_late(slot: Slot, event: Event, now: float, rules: Rules, _jitter: float) -> Result:
    assert isinstance(event, Forked)
    return replace(slot, pid=event.pid), [Kill(slot.name, event.pid, signal.SIGTERM)]


def _ready(slot: Slot, event: Event, now: float, rules: Rules, jitter: float) -> Result:
    assert isinstance(event, Ready)
    if slot.doomed:
        return slot, []
    return _to(replace(slot, files=event.files, draw=jitter), State.RUNNING, now, now + rules.stable_s), []


def _not_ready(slot: Slot, _event: Event, now: float, rules: Rules, _jitter: float) -> Result:
    text = slot.doomed or f"not ready within {rules.start_timeout_s:g} s of its start"
    slot = replace(slot, doomed=text, due=now + KILL_AGAIN_S)
    return slot, [Kill(slot.name, slot.pid, signal.SIGKILL)] if slot.pid is not None else []


def _running_due(slot: Slot, event: Event, now: float, rules: Rules, jitter: float) -> Result:
    if slot.doomed:
        return _kill(slot, event, now, rules, jitter)
    return replace(slot, stable=True, crashes=0, due=None), []


def _hung(slot: Slot, event: Event, now: float, rules: Rules, _jitter: float) -> Result:
    """SIGABRT has it print its stacks and end; SIGKILL follows when that has not helped."""
    assert isinstance(event, Hung)
    if slot.doomed or slot.pid is None:
        return slot, []
    number, again_s = (signal.SIGKILL, KILL_AGAIN_S) if event.stopped else (signal.SIGABRT, ABORT_S)
    return replace(slot, doomed=event.why, due=now + again_s), [Kill(slot.name, slot.pid, number)]


def _crashed(slot: Slot, event: Event, now: float, rules: Rules, jitter: float) -> Result:
    code: int | None = None
    if isinstance(event, SpawnFailed):
        text = f"could not be forked: {event.error}"
    else:
        assert isinstance(event, Exited)
        code = event.code
        text = exit_text(event.code, event.signal)
        if slot.doomed:
            text = f"{slot.doomed}, {text}"
    traceback = slot.traceback if slot.cause else ""  # else it is of a message that failed some time ago
    if slot.cause:
        text = f"{slot.cause} ({text})"
    crashes = slot.crashes + 1
    slot = replace(
        slot, pid=None, stable=False, doomed="", cause="", crashes=crashes, last_error=text, traceback=traceback
    )
    if code == IMPORT_FAILED or crashes >= rules.start_retries:
        return _to(slot, State.FATAL, now), []
    delay = backoff_s(crashes, jitter)
    if delay == 0.0:
        return _start(slot, event, now, rules, jitter)
    return _to(slot, State.BACKOFF, now, now + delay), []


def _orphaned(slot: Slot, event: Event, now: float, rules: Rules, jitter: float) -> Result:
    return _start(replace(slot, last_error="its spawner ended"), event, now, rules, jitter)


def _stop(slot: Slot, _event: Event, now: float, rules: Rules, _jitter: float) -> Result:
    kill: list[Action] = [Kill(slot.name, slot.pid, signal.SIGTERM)] if slot.pid is not None else []
    due = slot.due if slot.doomed else now + rules.stop_timeout_s  # what hangs drains nothing
    return _to(slot, State.STOPPING, now, due), kill


def _recycle(slot: Slot, event: Event, now: float, rules: Rules, _jitter: float) -> Result:
    assert isinstance(event, Recycle)
    assert slot.pid is not None
    killed = event.signal == signal.SIGKILL
    leaving = replace(slot, keeps_place=True, leaving=event.why, doomed=event.why if killed else "")
    due = now + (KILL_AGAIN_S if killed else rules.stop_timeout_s)
    return _to(leaving, State.STOPPING, now, due), [Kill(slot.name, slot.pid, event.signal)]


def _kill_draining(slot: Slot, event: Event, now: float, _rules: Rules, _jitter: float) -> Result:
    assert isinstance(event, Recycle)
    if slot.doomed or slot.pid is None or event.signal != signal.SIGKILL:
        return slot, []
    return replace(slot, doomed=event.why, due=now + KILL_AGAIN_S), [Kill(slot.name, slot.pid, event.signal)]


def _gone(slot: Slot, _event: Event, now: float, rules: Rules, _jitter: float) -> Result:
    return _to(replace(slot, pid=None), State.STOPPED, now), []


def _kill(slot: Slot, _event: Event, now: float, rules: Rules, _jitter: float) -> Result:
    kill: list[Action] = [Kill(slot.name, slot.pid, signal.SIGKILL)] if slot.pid is not None else []
    return replace(slot, due=now + KILL_AGAIN_S), kill


_TABLE: dict[tuple[State, type], Callable[[Slot, Event, float, Rules, float], Result]] = {
    (State.STOPPED, Start): _start,
    (State.STARTING, Forked): _forked,
    (State.STARTING, SpawnFailed): _crashed,
    (State.STARTING, Ready): _ready,
    (State.STARTING, Due): _not_ready,
    (State.STARTING, Exited): _crashed,
    (State.STARTING, Stop): _stop,
    (State.STARTING, Orphaned): _orphaned,
    (State.RUNNING, Due): _running_due,
    (State.RUNNING, Hung): _hung,
    (State.RUNNING, Recycle): _recycle,
    (State.RUNNING, Exited): _crashed,
    (State.RUNNING, Stop): _stop,
    (State.RUNNING, Orphaned): _orphaned,
    (State.BACKOFF, Due): _start,
    (State.BACKOFF, Start): _start,
    (State.BACKOFF, Stop): _gone,
    (State.FATAL, Start): _start,
    (State.FATAL, Stop): _gone,
    (State.STOPPING, Forked): _forked_too_late,
    (State.STOPPING, SpawnFailed): _gone,
    (State.STOPPING, Exited): _gone,
    (State.STOPPING, Orphaned): _gone,
    (State.STOPPING, Recycle): _kill_draining,
    (State.STOPPING, Due): _kill,
    (State.STOPPING, KillNow): _kill,
}
