"""Mixes faults under load, as a seed says, and ends with a ledger: `make chaos`, or `python -m bench.chaos --help`.

A whole Richmond, its RabbitMQ behind a proxy, and a gateway that numbers all it says. In each step one fault, or two at
once, are done and taken back; then Richmond has to be well again, with nothing left over. Exit code 0: nothing was lost
but what the README says that a kill -9 of the master costs, and no step ended otherwise than it should.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import chaos_report
from bench.chaos_faults import FAULTS, Fault
from bench.chaos_world import RECOVERY_S, Held, World, until

TWO_AT_ONCE = 0.35
GONE_S = 30.0  # for processes, zombies and descriptors to go
MORE_DESCRIPTORS, MORE_THREADS, MORE_MEMORY_BYTES = 4, 2, 64 << 20  # than when this master was first well


@dataclass(frozen=True, slots=True)
class Strike:
    fault: Fault
    draw: random.Random  # of its own: what another does at the same time does not disturb it
    after_s: float


@dataclass(slots=True)
class Step:
    number: int
    began_s: float  # since the begin of the run
    faults: list[str]
    recovery_s: float = 0.0  # from when the last was taken back until all was well
    twice: int = 0
    may_be_twice: int = 0


@dataclass(slots=True)
class Run:
    seed: int
    began: float = field(default_factory=time.monotonic)
    steps: list[Step] = field(default_factory=list)
    anomalies: list[str] = field(default_factory=list)
    first: dict[int, Held] = field(default_factory=dict)  # master -> what it held when it was first well
    last: dict[int, Held] = field(default_factory=dict)

    def anomaly(self, text: str) -> None:
        step = self.steps[-1] if self.steps else None
        at = f"step {step.number} ({' + '.join(step.faults)})" if step else "the start"
        said = f"seed {self.seed}, {time.monotonic() - self.began:.1f} s, {at}: {text}"
        self.anomalies.append(said)
        print(f"ANOMALY {said}", file=sys.stderr, flush=True)


def schedule(seed: int, faults: Sequence[Fault]) -> Iterator[list[Strike]]:
    """One or two faults a step, each as often as the others, for ever."""
    draw = random.Random(seed)
    deck: list[Fault] = []
    while True:
        if len(deck) < 2:
            deck = draw.sample(list(faults), len(faults)) + deck
        chosen = [deck.pop()]
        if draw.random() < TWO_AT_ONCE and deck and deck[-1].of != chosen[0].of:
            chosen.append(deck.pop())
        yield [Strike(f, random.Random(draw.getrandbits(64)), draw.uniform(0, 1)) for f in chosen]


def play(world: World, run: Run, number: int, strikes: list[Strike]) -> bool:
    """False: it does not recover."""
    step = Step(number, time.monotonic() - run.began, [s.fault.name for s in strikes])
    run.steps.append(step)
    gateway = world.gateway
    gateway.forget()
    world.victims.clear()
    twice, in_flight = gateway.twice, world.in_flight()
    threads = [threading.Thread(target=_strike, args=(world, run, strike)) for strike in strikes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gateway.mark()
    back = time.monotonic()
    repeats = any(s.fault.repeats for s in strikes)
    in_flight = max(in_flight, world.in_flight())
    try:
        until("recovery", world.recovered, RECOVERY_S)
    except AssertionError:
        snapshot = world.richmond.status()
        facts = "no status" if snapshot is None else f"problems: {snapshot.problems}, classes: {snapshot.classes}"
        alive = {pid: line for pid, line in world.richmond.processes().items() if pid in world.victims}
        run.anomaly(
            f"not well after {RECOVERY_S:g} s; {gateway.answered_since} answers, all had an end: {gateway.granted}, "
            f"alive: {alive}; {facts}"
        )
        return False
    step.recovery_s = time.monotonic() - back
    step.twice = gateway.twice - twice
    step.may_be_twice = in_flight if repeats else 0
    before = run.steps[-2].may_be_twice if len(run.steps) > 1 else 0
    if step.twice > step.may_be_twice + before:
        run.anomaly(f"{step.twice} were answered twice, {step.may_be_twice} were in flight")
    _look_for_leftovers(world, run)
    return True


def _strike(world: World, run: Run, strike: Strike) -> None:
    time.sleep(strike.after_s)
    try:
        strike.fault.strike(world, strike.draw)
    except Exception as e:  # meant: the others go on, and it is told
        run.anomaly(f"{strike.fault.name}: {type(e).__name__}: {e}")


def _look_for_leftovers(world: World, run: Run) -> None:
    master = world.master
    first = run.first.setdefault(master, world.held())
    for what, gone in (
        ("processes to be gone", lambda: not world.surplus()),
        ("zombies to be reaped", lambda: not world.zombies()),
        ("descriptors to be closed", lambda: world.held().descriptors <= first.descriptors + MORE_DESCRIPTORS),
        ("threads to end", lambda: world.held().threads <= first.threads + MORE_THREADS),
    ):
        try:
            until(what, gone, GONE_S)
        except AssertionError as e:
            run.anomaly(
                f"{e}: processes {world.surplus()}, zombies {world.zombies()}, {world.held()}, at first {first}"
            )
    run.last[master] = world.held()
    if run.last[master].memory_bytes > first.memory_bytes + MORE_MEMORY_BYTES:
        run.anomaly(f"the master has grown: {run.last[master]}, at first {first}")
        run.first[master] = run.last[master]


def options() -> argparse.Namespace:
    p = argparse.ArgumentParser(
        prog="python -m bench.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--minutes", type=float, default=30)
    p.add_argument("--seconds", type=float, help="instead of minutes")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--rate", type=int, default=300, help="messages a second (300)")
    p.add_argument("--faults", default="", metavar="A,B", help=f"of {', '.join(f.name for f in FAULTS)}")
    p.add_argument("--json", type=Path, metavar="FILE", help="everything that is in the report, and each step")
    o = p.parse_args()
    names = [name for name in o.faults.split(",") if name]
    if unknown := set(names) - {f.name for f in FAULTS}:
        p.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(f.name for f in FAULTS)}")
    o.faults = [f for f in FAULTS if not names or f.name in names]
    o.seconds = o.minutes * 60 if o.seconds is None else o.seconds
    return o


def chaos(directory: Path, o: argparse.Namespace) -> tuple[Run, dict[str, Any]]:
    world = World(directory, o.rate)
    try:
        world.start()
        run = Run(o.seed)
        for number, strikes in enumerate(schedule(o.seed, o.faults), 1):
            if time.monotonic() - run.began > o.seconds:
                break
            if not play(world, run, number, strikes):
                break
            step = run.steps[-1]
            print(
                f"{step.began_s:7.1f} s  {number:>3}  {' + '.join(step.faults)}: well {step.recovery_s:.2f} s after, "
                f"{step.twice} twice (of {step.may_be_twice})",
                file=sys.stderr,
                flush=True,
            )
        report = chaos_report.close(world, run)
    finally:
        try:
            world.close()
        except AssertionError as e:
            run.anomaly(str(e)[:500])
    return run, report


def main() -> int:
    o = options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: all that was started is ended
    directory = Path(tempfile.mkdtemp(prefix="richmond-chaos-"))
    run, report = chaos(directory, o)
    report |= {"seed": o.seed, "anomalies": run.anomalies, "steps": [asdict(step) for step in run.steps]}
    if o.json:
        o.json.write_text(json.dumps(report, indent=1) + "\n")
    print(chaos_report.text(report))
    if run.anomalies:
        print(f"\nEverything is left in {directory}. Again: python -m bench.chaos --seed {o.seed} --rate {o.rate}")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
