"""Whatever happens in whatever order, the fleet keeps its promises: a state machine that plays the operating system.

Its workers report or never do, ignore SIGTERM, hang, abort or do not, grow old, die at any moment: before the master
knows their pid, with its signal on the way, together with their spawner. What holds at every step:

 1. No two slots share a name or a row of the scoreboard; no two processes live in one slot, or write to one row.
 2. A signal goes only to the process that is in the slot for which it is meant.
 3. A class has no more workers than its target, and one that takes over.
 4. All targets together fit into max-workers; each is within its class's bounds, unless the operator has pinned it.
 5. Once all news has arrived, a process that no slot knows has been told to end.
 6. A slot that waits for a process (to start, to end, to be killed) has a timer: it never waits for ever.
 7. No rollout, scaling or recycling drains a worker while fewer than the target would be left running.
 8. In any span of time, no more workers start than max-workers and ten for each second.
 9. A request is answered at most once, and a tick leaves nothing due, so that the master does not spin.

And when all goes well for a long time: every class has exactly its target running, every one of them is responsive, no
other process is left, every request has been answered; or, in a stop, nothing is left at all.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from richmond import config
from richmond.supervisor import fleet as f
from richmond.supervisor import guard, jobs, plan, policy, scaling
from richmond.supervisor.lifecycle import State
from richmond.supervisor.liveness import Look

BASE = config.load(Path(__file__).parents[2] / "etc/richmond.ini", {})
MAX_WORKERS = 12
NAMES = ("A", "B", "C")
SIGABRT, SIGKILL = 6, 9
OLD = 1000  # messages: max-messages of all classes

bounds = st.integers(0, 4).flatmap(
    lambda low: st.integers(low, 8).flatmap(lambda high: st.tuples(st.just(low), st.integers(low, high), st.just(high)))
)
classes = st.dictionaries(st.sampled_from(NAMES), st.tuples(bounds, st.sampled_from([5, 10])), min_size=1)

rarely = st.sampled_from([False, False, False, True])


def ini(chosen):
    """Valid settings, as the config lets them pass: the minima fit into max-workers (3 classes with min 4 at most)."""
    workers = tuple(
        replace(
            BASE.workers[0],
            name=name,
            routing_key=name,
            min=low,
            workers=start,
            max=high,
            prefetch=prefetch,
            max_messages=OLD,
            task_timeout_s=2.0,
            liveness_interval_s=0.5,
        )
        for name, ((low, start, high), prefetch) in chosen.items()
    )
    return replace(BASE, richmond=replace(BASE.richmond, max_workers=MAX_WORKERS), workers=workers)


@dataclass
class Process:
    pid: int
    slot: str
    row: int
    born: float
    deaf: bool = False  # nothing but SIGKILL ends it
    mute: bool = False  # it will never be ready
    told_to_end: bool = False
    told_to_abort: bool = False
    orphan: bool = False  # its spawner has died
    ready: bool = False
    hung_since: float | None = None
    done: int = 0


class FleetMachine(RuleBasedStateMachine):
    """The spawner's events wait on a wire until they are delivered, so that they cross with everything else."""

    def __init__(self):
        super().__init__()
        self.now = 1000.0
        self.fleet = plan.begin(ini({"A": ((1, 2, 8), 10), "B": ((0, 1, 3), 10)}))
        self.orders = []  # the spawner's: not forked yet
        self.spawner = True
        self.wire = []  # from the spawner and the workers to the master
        self.living = {}
        self.pids = iter(range(100, 10**6))
        self.requests = iter(range(10**6))
        self.asked = set()
        self.replies = Counter()
        self.starts = []
        self.step(f.AmqpChanged(True))

    @initialize(up=st.sampled_from([True, True, False]))
    def begin(self, up):
        if up:
            self.services_are_there()
            self.all_goes_well(2)

    # The master's hands.

    def step(self, event, jitter=0.5):
        self.now += 0.001
        before = self.fleet
        self.fleet, actions = plan.step(self.fleet, event, self.now, jitter)
        self.drains_nobody_who_is_needed(before)
        self.starts += [self.now for action in actions if isinstance(action, f.Spawn)]
        for action in actions:
            match action:
                case f.Spawn() if self.spawner:
                    self.orders.append(action)
                case f.Spawn():
                    self.wire.append(jobs.SpawnFailed(action.slot, "the spawner has ended"))
                case f.Kill(slot, pid, number):
                    process = self.living.get(pid)
                    assert process is None or process.slot == slot
                    if process is not None and number == SIGKILL:
                        self.end(process, None, SIGKILL)
                    elif process is not None and number == SIGABRT:
                        process.told_to_abort = True
                    elif process is not None:
                        process.told_to_end = True
                case f.RestartSpawner():
                    self.spawner = True
                case f.Reply(request):
                    self.replies[request] += 1

    def end(self, process, code, signal):
        del self.living[process.pid]
        if process.orphan:
            code = signal = None
        self.wire.append(jobs.Exited(process.slot, process.pid, code, signal))

    def some(self, data, among):
        return data.draw(st.sampled_from(list(among)))

    # What the spawner and the workers do.

    @precondition(lambda self: self.orders)
    @rule(deaf=rarely, mute=rarely)
    def fork(self, deaf, mute):
        order = self.orders.pop(0)
        assert order.slot not in {p.slot for p in self.living.values() if not p.orphan}, "two live in one slot"
        process = Process(next(self.pids), order.slot, order.row, self.now, deaf, mute)
        assert order.row not in {p.row for p in self.living.values()}, "two write to one row"
        self.living[process.pid] = process
        self.wire.append(jobs.Forked(process.slot, process.pid))

    @precondition(lambda self: self.orders)
    @rule()
    def fork_is_refused(self):
        self.wire.append(jobs.SpawnFailed(self.orders.pop(0).slot, "no memory"))

    @precondition(lambda self: self.living)
    @rule(data=st.data(), files=st.sampled_from([{}, {"/site/a.py": "1"}, {"/site/a.py": "2"}]))
    def report_ready(self, data, files):
        process = self.some(data, self.living.values())
        if not process.ready and not process.mute:
            process.ready = True
            self.wire.append(jobs.Ready(process.slot, process.pid, files))

    @precondition(lambda self: self.living)
    @rule(data=st.data(), code=st.sampled_from([0, 1, 3, None]))
    def die(self, data, code):
        self.end(self.some(data, self.living.values()), code, SIGKILL if code is None else None)

    @precondition(lambda self: any(p.told_to_end and not p.deaf for p in self.living.values()))
    @rule(data=st.data())
    def end_as_told(self, data):
        self.end(self.some(data, [p for p in self.living.values() if p.told_to_end and not p.deaf]), 0, None)

    @precondition(lambda self: any(p.told_to_abort for p in self.living.values()))
    @rule(data=st.data())
    def abort_as_told(self, data):
        self.end(self.some(data, [p for p in self.living.values() if p.told_to_abort]), None, SIGABRT)

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def hang(self, data):
        self.some(data, self.living.values()).hung_since = self.now

    @precondition(lambda self: self.living)
    @rule(data=st.data(), more=st.sampled_from([1, OLD]))
    def handle_messages(self, data, more):
        self.some(data, self.living.values()).done += more

    @rule(in_hand=st.booleans(), stopped=st.booleans(), times=st.integers(1, 4))
    def keep_looking(self, in_hand, stopped, times):
        for _ in range(times):
            self.look(in_hand, stopped, in_time=True)

    @rule(in_hand=st.booleans(), stopped=st.booleans(), in_time=st.booleans())
    def look(self, in_hand, stopped, in_time):
        """The master looks: when it wanted to, or too early, or late because it was stopped itself."""
        if in_time and self.fleet.look_due is not None:
            self.now = max(self.now, self.fleet.look_due)
        looks = {}
        for process in self.living.values():
            since = process.hung_since
            began = since if in_hand else None
            still = stopped and since is not None
            looks[process.slot] = Look(process.pid, since or self.now, began, process.done, still, 1 << 20)
        self.step(f.Looked(looks))

    @precondition(lambda self: self.living)
    @rule(data=st.data(), handler=st.booleans())
    def report_a_traceback(self, data, handler):
        process = self.some(data, self.living.values())
        self.wire.append(jobs.Failed(process.slot, process.pid, "Traceback\nOops", handler))

    @precondition(lambda self: self.spawner)
    @rule()
    def spawner_dies(self):
        self.spawner = False
        self.wire.append(jobs.SpawnerDied(-9))
        self.wire += [jobs.SpawnFailed(order.slot, "the spawner ended") for order in self.orders]
        self.orders.clear()
        for process in self.living.values():
            process.orphan = process.told_to_end = True

    @precondition(lambda self: self.wire)
    @rule()
    def deliver(self):
        self.step(self.wire.pop(0))

    @precondition(lambda self: self.wire)
    @rule()
    def deliver_all(self):
        while self.wire:
            self.step(self.wire.pop(0))

    # What the clock, RabbitMQ and the operator do.

    @rule(seconds=st.sampled_from([0.1, 1.0, 30.0, 61.0, 600.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def tick(self):
        self.step(f.Tick())
        due = plan.deadline(self.fleet)
        assert due is None or due > self.now, "the master would spin"

    @rule(up=st.booleans())
    def rabbitmq_comes_or_goes(self, up):
        self.step(f.AmqpChanged(up))

    @precondition(lambda self: not self.fleet.started)
    @rule()
    def services_are_there(self):
        self.step(f.Started(self.fleet.settings))

    @rule(name=st.sampled_from(NAMES), count=st.one_of(st.none(), st.integers(-1, MAX_WORKERS + 1)), wait=st.booleans())
    def scale(self, name, count, wait):
        self.step(f.Scale(self.ask(), name, count, wait))

    @rule(name=st.one_of(st.none(), st.sampled_from(NAMES)), wait=st.booleans())
    def restart(self, name, wait):
        self.step(f.Restart(self.ask(), name, wait))

    def ask(self):
        request = next(self.requests)
        self.asked.add(request)
        return request

    @rule(chosen=classes, digest=st.sampled_from("12"))
    def reload(self, chosen, digest):
        self.step(f.Reloaded(ini(chosen), {"/site/a.py": digest}))

    @rule(name=st.sampled_from(NAMES), ready=st.integers(0, 500), busy=st.floats(0, 50))
    def sample(self, name, ready, busy):
        cls = self.fleet.classes.get(name)
        last = cls.samples[-1] if cls and cls.samples else policy.Sample(0, 0, 0, 0, 0)
        self.now += 2
        taken = policy.Sample(self.now, ready, 5, last.handled + 10, last.busy_s + busy)
        self.step(f.Sampled({name: taken}))

    @rule(name=st.sampled_from(NAMES))
    def a_message_comes_for_a_class(self, name):
        """The broker tells of it where it was told that the class sleeps, and maybe once too often."""
        asleep = name in scaling.asleep(self.fleet).values()
        self.step(f.Woken(name))
        cls = self.fleet.classes.get(name)
        assert not asleep or cls.target == 1 or sum(c.target for c in self.fleet.classes.values()) == MAX_WORKERS

    @precondition(lambda self: len(self.starts) > 15)  # late: nothing starts after it
    @rule(at_once=st.booleans())
    def shut_down(self, at_once):
        self.step(f.Shutdown(at_once))

    # What must hold.

    def drains_nobody_who_is_needed(self, before):
        ran = {s.pid for cls in before.classes.values() for s in cls.slots if s.state is State.RUNNING}
        for cls in self.fleet.classes.values():
            drained = [s for s in cls.slots if s.state is State.STOPPING and s.pid in ran and not s.doomed]
            if not self.fleet.stopping and any(not s.keeps_place for s in drained):
                assert cls.count(State.RUNNING) >= cls.target, cls

    @invariant()
    def starts_keep_to_the_rate(self):
        for n, at in enumerate(self.starts):
            most = MAX_WORKERS + guard.STARTS_PER_S * (self.now - at) + 1e-6
            assert len(self.starts) - n <= most

    @invariant()
    def who_waits_for_a_process_has_a_timer(self):
        waiting = (State.STARTING, State.STOPPING, State.BACKOFF)
        for cls in self.fleet.classes.values():
            assert all(s.due is not None for s in cls.slots if s.state in waiting or s.doomed), cls

    @invariant()
    def slots_have_names_and_rows_of_their_own(self):
        slots = [s for cls in self.fleet.classes.values() for s in cls.slots]
        assert len({s.name for s in slots}) == len(slots)
        assert len({s.row for s in slots}) == len(slots)

    @invariant()
    def a_class_has_no_more_workers_than_its_target_and_one_that_takes_over(self):
        for cls in self.fleet.classes.values():
            stays = [s for s in cls.slots if s.state is not State.STOPPING]
            replacing = any(s.generation != cls.generation for s in stays)
            assert len(stays) <= cls.target + replacing, cls

    @invariant()
    def targets_stay_within_max_workers(self):
        assert sum(cls.target for cls in self.fleet.classes.values()) <= MAX_WORKERS

    @invariant()
    def targets_keep_the_minimum_of_the_policy(self):
        for cls in self.fleet.classes.values():
            if cls.pin is None and not cls.removed:
                assert cls.spec.min <= cls.target <= cls.spec.max

    @invariant()
    def every_process_has_a_slot_or_ends(self):
        if self.wire:
            return
        known = {s.pid for cls in self.fleet.classes.values() for s in cls.slots}
        assert all(p.told_to_end or p.told_to_abort for p in self.living.values() if p.pid not in known)

    @invariant()
    def nobody_is_answered_twice(self):
        assert all(count == 1 for count in self.replies.values())
        assert self.replies.keys() <= self.asked

    @precondition(lambda self: self.spawner)
    @rule(steps=st.integers(1, 3))
    def all_goes_well(self, steps):
        for _ in range(steps):
            while self.orders:
                self.fork(deaf=False, mute=False)
            self.deliver_everything()
            for process in list(self.living.values()):
                if process.told_to_end and (process.orphan or not process.deaf):  # orphans are killed by processes.py
                    self.end(process, 0, None)
                elif not process.ready and not process.mute:
                    process.ready = True
                    self.wire.append(jobs.Ready(process.slot, process.pid, {}))
            self.deliver_everything()

    def teardown(self):
        """Then all goes well for a long time."""
        self.step(f.AmqpChanged(True))
        if not self.fleet.started:
            self.services_are_there()
        for _ in range(400):
            if not self.spawner and not self.wire:
                break  # it died while stopping: no other is wanted
            self.all_goes_well(1)
            if self.at_rest():
                break
            if not self.orders:
                dues = [due for due in (plan.deadline(self.fleet), self.fleet.look_due) if due is not None]
                self.now = max(self.now, min(dues, default=self.now))
                self.look(in_hand=False, stopped=False, in_time=False)
                self.tick()
        assert self.at_rest(), self.fleet
        assert self.replies.keys() == self.asked
        assert self.fleet.waiters == ()

    def deliver_everything(self):
        while self.wire:
            self.step(self.wire.pop(0))

    def at_rest(self):
        if self.orders or self.wire:
            return False
        if self.fleet.stopping:
            return plan.gone(self.fleet)
        slots = {s.pid for cls in self.fleet.classes.values() for s in cls.slots}
        well = all(p.hung_since is None and p.done < OLD for p in self.living.values())
        return well and all(cls.settled for cls in self.fleet.classes.values()) and slots == self.living.keys()


TestFleet = FleetMachine.TestCase
TestFleet.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
