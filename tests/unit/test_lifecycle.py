"""The life of a slot: recorded histories and their ends, and what no history may do."""

import signal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from richmond.supervisor import lifecycle as lc
from richmond.supervisor.lifecycle import State

RULES = lc.Rules(start_timeout_s=30, start_retries=5, stable_s=60, stop_timeout_s=10)


def live(events, slot=None, now=0.0, each_s=1.0):
    """The slot after `events`, `each_s` apart, and all actions on the way."""
    slot = slot or lc.Slot("Echo:0", 0, 0, 1, since=0.0)
    actions = []
    for event in events:
        now += each_s
        slot, more = lc.step(slot, event, now, RULES, 0.0)
        actions += more
    return slot, actions


UP = [lc.Start(), lc.Forked(7), lc.Ready()]
CRASH = lc.Exited(None, signal.SIGKILL)


@pytest.mark.parametrize(
    ("events", "state", "last_action"),
    [
        ([lc.Start()], State.STARTING, lc.Spawn("Echo:0")),
        (UP, State.RUNNING, lc.Spawn("Echo:0")),
        ([*UP, CRASH], State.STARTING, lc.Spawn("Echo:0")),
        ([*UP, lc.Stop()], State.STOPPING, lc.Kill("Echo:0", 7, signal.SIGTERM)),
        ([*UP, lc.Stop(), lc.Due()], State.STOPPING, lc.Kill("Echo:0", 7, signal.SIGKILL)),
        ([*UP, lc.Stop(), lc.KillNow()], State.STOPPING, lc.Kill("Echo:0", 7, signal.SIGKILL)),
        ([*UP, lc.Stop(), lc.Exited(0, None)], State.STOPPED, lc.Kill("Echo:0", 7, signal.SIGTERM)),
        ([lc.Start(), lc.Forked(7), lc.Exited(3, None)], State.FATAL, lc.Spawn("Echo:0")),
        ([lc.Start(), lc.SpawnFailed("no memory")], State.STARTING, lc.Spawn("Echo:0")),
        ([lc.Start(), lc.Forked(7), lc.Due()], State.STARTING, lc.Kill("Echo:0", 7, signal.SIGKILL)),
        ([*UP, lc.Orphaned()], State.STARTING, lc.Spawn("Echo:0")),
    ],
)
def test_a_history_ends_in_its_state_with_its_last_action(events, state, last_action):
    slot, actions = live(events)
    assert slot.state is state
    assert actions[-1] == last_action


def test_a_stop_before_the_pid_is_known_terms_it_once_it_is():
    _, actions = live([lc.Start(), lc.Stop(), lc.Forked(7)])
    assert actions == [lc.Spawn("Echo:0"), lc.Kill("Echo:0", 7, signal.SIGTERM)]


def test_a_worker_that_is_not_ready_in_time_and_not_forked_yet_is_killed_when_it_is():
    slot, actions = live([lc.Start(), lc.Due(), lc.Forked(7)])
    assert actions[-1] == lc.Kill("Echo:0", 7, signal.SIGKILL)
    slot, _ = live([lc.Exited(None, 9)], slot)
    assert "not ready within 30 s" in slot.last_error


def test_five_crashes_in_a_row_are_fatal_and_the_pauses_between_them_grow():
    slot, _ = live([lc.Start()])
    pauses = []
    while slot.state is not State.FATAL:
        slot, _ = live([lc.Forked(7), lc.Exited(1, None)], slot)
        if slot.state is State.BACKOFF:
            pauses.append(slot.due - slot.since)
            slot, _ = live([lc.Due()], slot)
    assert slot.crashes == 5
    assert pauses == pytest.approx([0.05, 0.1, 0.2])
    assert slot.last_error == "exited with code 1"


def test_crashes_count_at_any_uptime_until_the_worker_was_stable():
    slot, _ = live([*UP, CRASH, lc.Forked(8), lc.Ready(), CRASH])
    assert slot.crashes == 2
    slot, _ = live([lc.Due(), lc.Forked(9), lc.Ready(), lc.Due()], slot)
    assert slot.stable
    assert slot.crashes == 0


def test_a_pause_never_grows_beyond_a_minute():
    assert lc.backoff_s(1000, 0.99) <= 60
    assert lc.backoff_s(1, 0.5) == 0


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", [lc.Ready(), lc.Exited(1, None), lc.Forked(3), lc.Due(), lc.Start(), lc.Stop()])
def test_no_event_in_no_state_raises(state, event):
    lc.step(lc.Slot("Echo:0", 0, 0, 1, since=0.0, state=state, pid=5), event, 1.0, RULES, 0.5)


class OperatingSystem(RuleBasedStateMachine):
    """Plays the processes: forks late, ignores SIGTERM, dies whenever it wants."""

    @initialize()
    def begin(self):
        self.now = 0.0
        self.slot = lc.Slot("Echo:0", 0, 0, 1, since=0.0)
        self.ordered = 0  # spawns not yet answered
        self.alive = set()
        self.termed = set()
        self.pids = 100
        self.send(lc.Start())

    def send(self, event):
        self.now += 0.5
        self.slot, actions = lc.step(self.slot, event, self.now, RULES, 0.5)
        for action in actions:
            if isinstance(action, lc.Spawn):
                self.ordered += 1
            elif action.signal == signal.SIGKILL:
                assert action.pid in self.alive, "SIGKILL for a process that is not ours"
                self.die(action.pid, lc.Exited(None, 9))
            else:
                assert action.pid in self.alive
                self.termed.add(action.pid)

    def die(self, pid, exited):
        self.alive.discard(pid)
        self.send(exited)

    @precondition(lambda self: self.ordered)
    @rule()
    def fork(self):
        self.ordered -= 1
        self.pids += 1
        self.alive.add(self.pids)
        self.send(lc.Forked(self.pids))

    @precondition(lambda self: self.ordered)
    @rule()
    def refuse_to_fork(self):
        self.ordered -= 1
        self.send(lc.SpawnFailed("no memory"))

    @precondition(lambda self: self.alive)
    @rule()
    def report_ready(self):
        self.send(lc.Ready())

    @precondition(lambda self: self.alive)
    @rule(code=st.sampled_from([0, 1, 3]))
    def exit(self, code):
        self.die(next(iter(self.alive)), lc.Exited(code, None))

    @precondition(lambda self: self.slot.due is not None)
    @rule()
    def let_the_timer_end(self):
        self.now = max(self.now, self.slot.due)
        self.send(lc.Due())

    @rule()
    def stop(self):
        self.send(lc.Stop())

    @precondition(lambda self: self.slot.state in (State.STOPPED, State.FATAL))
    @rule()
    def start(self):
        self.send(lc.Start())

    @invariant()
    def there_is_never_more_than_one_process(self):
        assert len(self.alive) + self.ordered <= 1

    @invariant()
    def a_state_has_a_process_or_it_has_none(self):
        has = bool(self.alive or self.ordered)
        assert has == (self.slot.state in (State.STARTING, State.RUNNING, State.STOPPING))

    @invariant()
    def what_is_to_end_has_a_timer(self):
        if self.slot.state in (State.STOPPING, State.STARTING, State.BACKOFF):
            assert self.slot.due is not None


TestOperatingSystem = OperatingSystem.TestCase
