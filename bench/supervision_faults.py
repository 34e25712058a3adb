"""The rows: each does something to every program, one after the other, and yields what an outsider saw of it.

A record has the row, the program, the repetition, and either times in ms or an `outcome` in words. A time that is None
never came.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench import processes
from bench import supervision_observer as observer
from bench.supervision_observer import Seen, clock
from bench.supervision_program import Program, Setup, kill
from richmond.rabbitmq import NodeInfo

NEVER_S = 15.0
TURN_S = 3.0
HANG_S = 3
SETTLE_S = 6.0  # after a reload
LOOP_S = 12.0
IDLE_WORKERS = 64

Record = dict[str, Any]


@dataclass(slots=True)
class World:
    programs: list[type[Program]]
    node: NodeInfo
    directory: Path
    repeat: int
    idle_s: float
    progress: Callable[[str], None]

    @contextlib.contextmanager
    def program(self, kind: type[Program], setup: Setup) -> Iterator[Program]:
        """Not started yet; nothing of it is left afterwards."""
        program = kind(Path(tempfile.mkdtemp(prefix=f"{kind.name}-", dir=self.directory)), self.node, setup)
        try:
            yield program
        finally:
            program.close()

    def each(self, row: str, setup: Callable[[], Setup], fault: Callable[[Program], Record]) -> Iterator[Record]:
        """A fresh program of each kind, and again `repeat` times."""
        for i in range(self.repeat):
            for kind in self.programs:
                self.progress(f"{row}, {kind.name}, {i + 1} of {self.repeat}")
                with self.program(kind, setup()) as program:
                    program.start()
                    yield {"row": row, "program": kind.name, "repeat": i, **fault(program)}


def crash(world: World) -> Iterator[Record]:
    """The only worker is killed, and a question asked in the same moment. All programs run; they take turns."""
    with contextlib.ExitStack() as stack:
        programs = [stack.enter_context(world.program(kind, Setup())) for kind in world.programs]
        for program in programs:
            program.start()
            program.wait_serving()
        time.sleep(max(program.rest_s for program in programs))
        for i in range(world.repeat):
            for program in programs:
                world.progress(f"crash, {program.name}, {i + 1} of {world.repeat}")
                ends = clock() + TURN_S
                while True:
                    yield {"row": "crash", "program": program.name, "repeat": i, **_crash(program)}
                    if clock() > ends:
                        break
                    time.sleep(program.rest_s)


def _crash(program: Program) -> Record:
    victim, forker = _only(program), program.forker()
    assert forker is not None
    began = clock()
    os.kill(victim.pid, signal.SIGKILL)
    key = program.probe.ask()
    forked = observer.until_forked(forker, {victim}, NEVER_S)
    answered = program.probe.answered(key, NEVER_S) if forked else None
    return {"forked_ms": _ms(began, forked and forked[1]), "answered_ms": _ms(began, answered)}


def stopped(world: World) -> Iterator[Record]:
    """The only worker, with nothing to do, is sent SIGSTOP."""

    def fault(program: Program) -> Record:
        (victim,) = program.wait_serving()
        time.sleep(random.uniform(0, HANG_S))
        forker = program.forker()
        assert forker is not None
        known = observer.children(forker)
        began = clock()
        os.kill(victim.pid, signal.SIGSTOP)
        forked = observer.until_forked(forker, known, NEVER_S)
        return {"forked_ms": _ms(began, forked and forked[1])}

    return world.each("stopped", lambda: Setup(timeout_s=HANG_S), fault)


def master_killed(world: World) -> Iterator[Record]:
    def fault(program: Program) -> Record:
        program.wait_serving()
        time.sleep(random.uniform(0, 2))
        assert program.process is not None
        family = observer.family(program.process.pid)
        began = clock()
        program.signal(signal.SIGKILL)
        return {"gone_ms": _ms(began, observer.until_gone(family, NEVER_S))}

    return world.each("master-killed", lambda: Setup(workers=2), fault)


def sighup_broken(world: World) -> Iterator[Record]:
    return world.each("sighup-broken", lambda: Setup(workers=2), lambda p: _reload(p, "SIGHUP", _break_file))


def verb_broken(world: World) -> Iterator[Record]:
    return world.each("verb-broken", lambda: Setup(workers=2), lambda p: _reload(p, p.reloads_file, _break_file))


def verb_broken_code(world: World) -> Iterator[Record]:
    return world.each("broken-code", lambda: Setup(workers=2), lambda p: _reload(p, p.reloads_code, _break_code))


def grow_by_file(world: World) -> Iterator[Record]:
    def three(program: Program) -> None:
        program.setup.workers = 3
        program.write()

    return world.each("grow-file", lambda: Setup(workers=2), lambda p: _grow(p, p.reloads_file or "SIGHUP", three))


def grow_by_verb(world: World) -> Iterator[Record]:
    return world.each("grow-verb", lambda: Setup(workers=2), lambda p: _grow(p, p.grows, lambda _: None))


def dies_at_once(world: World) -> Iterator[Record]:
    return world.each("dies-at-once", lambda: Setup(mode="dies at once"), _loop)


def dies_slowly(world: World) -> Iterator[Record]:
    return world.each("dies-slowly", lambda: Setup(mode="dies after 1.2 s"), _loop)


def misspelt(world: World) -> Iterator[Record]:
    def fault(program: Program) -> Record:
        wrong, right = program.misspelling
        running = observer.until(lambda: program.ended or program.workers(), NEVER_S, 0.01)
        if running and not program.ended and program.serves(NEVER_S):
            said = wrong in program.output.read_text()
            return {"outcome": "accepted" + (", with a warning" if said else "")}
        text = program.output.read_text().replace(wrong, "")
        return {"outcome": "refused" + (f", and names {right}" if right in text else "")}

    return world.each("misspelt", lambda: Setup(misspelt=True), fault)


def memory(world: World) -> Iterator[Record]:
    def fault(program: Program) -> Record:
        workers = program.wait_serving()
        time.sleep(SETTLE_S)
        assert program.process is not None
        helpers = observer.family(program.process.pid) - workers - {observer.see(program.process.pid)}
        return {
            "master_mb": _uss_mb(program.process.pid),
            "helpers_mb": sum(_uss_mb(seen.pid) for seen in helpers if seen),
            "worker_mb": statistics.median(_uss_mb(seen.pid) for seen in workers),
        }

    return world.each("memory", lambda: Setup(workers=2), fault)


def idle(world: World) -> Iterator[Record]:
    def fault(program: Program) -> Record:
        program.wait_serving()
        time.sleep(SETTLE_S)
        assert program.process is not None
        family = [psutil.Process(seen.pid) for seen in observer.family(program.process.pid)]
        master = [p for p in family if p.pid not in {w.pid for w in program.workers()}]
        before, before_master, began = processes.cpu_s(family), processes.cpu_s(master), clock()
        time.sleep(world.idle_s)
        seconds = clock() - began
        return {
            "cpu_percent": 100 * (processes.cpu_s(family) - before) / seconds,
            "master_cpu_percent": 100 * (processes.cpu_s(master) - before_master) / seconds,
        }

    return world.each("idle", lambda: Setup(workers=IDLE_WORKERS), fault)


ROWS: dict[str, Callable[[World], Iterator[Record]]] = {
    "crash": crash,
    "stopped": stopped,
    "master-killed": master_killed,
    "sighup-broken": sighup_broken,
    "verb-broken": verb_broken,
    "broken-code": verb_broken_code,
    "grow-file": grow_by_file,
    "grow-verb": grow_by_verb,
    "dies-at-once": dies_at_once,
    "dies-slowly": dies_slowly,
    "misspelt": misspelt,
    "memory": memory,
    "idle": idle,
}


def _break_file(program: Program) -> None:
    (program.directory / program.config).write_text(program.config_text() + program.broken_line + "\n")


def _break_code(program: Program) -> None:
    program.setup.mode = "cannot be imported"
    program.write()


def _reload(program: Program, verb: str, change: Callable[[Program], None]) -> Record:
    """What serves a while after the verb, and what the verb said."""
    old = program.wait_serving()
    if not verb:
        return {"outcome": "-"}
    time.sleep(program.rest_s)
    change(program)
    claimed = program.run(verb)
    time.sleep(SETTLE_S)
    said = "" if verb.startswith("SIG") else f"; the verb says {'ok' if claimed else 'error'}"
    if program.ended:
        assert program.process is not None
        left = len(observer.inhabitants(program.directory))
        code = program.process.returncode
        return {"outcome": f"nothing serves: exit {code}" + (f", {left} orphans" if left else "") + said}
    present = program.workers()
    if not program.serves(NEVER_S / 3):
        return {"outcome": f"nothing serves: {len(present)} workers{said}"}
    if present == old:
        return {"outcome": f"all serve on{said}"}
    return {"outcome": f"{len(present)} serve, {len(present & old)} of them as before{said}"}


def _grow(program: Program, verb: str, change: Callable[[Program], None]) -> Record:
    old = program.wait_serving()
    if not verb:
        return {"outcome": "cannot"}
    time.sleep(program.rest_s)
    change(program)
    program.run(verb)
    time.sleep(SETTLE_S)
    present = program.workers()
    stay = len(present & old)
    return {"outcome": f"{len(present)} run, " + ("both old ones stay" if stay == 2 else f"{2 - stay} of 2 replaced")}


def _loop(program: Program) -> Record:
    """The site's code counts its starts: it may be too short to be seen."""
    observer.until(lambda: program.ended or program.starts(), NEVER_S)
    time.sleep(LOOP_S)
    starts = program.starts()
    if program.ended:
        assert program.process is not None
        verdict = f"exit {program.process.returncode}"
    else:
        verdict = program.verdict()
    return {"starts": starts, "outcome": f"{starts} starts, {verdict}"}


def _only(program: Program) -> Seen:
    (worker,) = program.workers()
    return worker


def _ms(began: float, at: float | None) -> float | None:
    return None if at is None else 1000 * (at - began)


def _uss_mb(pid: int) -> float:
    return processes.uss_mb(psutil.Process(pid))


def kill_all(directory: Path) -> None:
    """Whatever still runs below `directory`."""
    while left := observer.inhabitants(directory):
        kill(left)
        observer.until_gone(left, NEVER_S)
