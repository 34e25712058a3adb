"""The fleet starts no more than ten workers a second, after a first burst of max-workers."""

from dataclasses import replace

import pytest
from fleet_play import Play, load_in

from richmond.supervisor import fleet as f
from richmond.supervisor import jobs, plan
from richmond.supervisor.lifecycle import State

INI = """
[richmond]
max-workers = 8
[worker:EchoWorker]
workers = 3
max = 6
start-retries = 100
[worker:FooBarWorker]
codes = *120*666#
workers = 2
start-retries = 100
"""


@pytest.fixture
def load(tmp_path):
    return load_in(tmp_path)


@pytest.fixture
def play(load):
    play = Play(load(INI))
    play.up()
    return play


@pytest.fixture
def exhausted(play):
    """The burst is used up."""
    play.fleet = replace(play.fleet, starts_until=play.now + 0.8)
    return play


def test_at_first_all_may_start_at_once(load):
    play = Play(load(INI))
    assert len(play.take(f.Spawn)) == 5


def test_a_fleet_that_crashes_without_end_starts_ten_workers_a_second(play):
    starts = []
    began = play.now
    while play.now < began + 20:
        for spawn in play.take(f.Spawn):
            starts.append(play.now)
            pid = next(play.pids)
            play.send(jobs.Forked(spawn.slot, pid))
            play.send(jobs.Exited(spawn.slot, pid, code=1))
            # Each is as good as new, so that no back-off of its own holds it.
            play.fleet = replace(
                play.fleet,
                classes={
                    name: replace(
                        c, slots=tuple(replace(s, crashes=0, due=s.due if s.reserved else play.now) for s in c.slots)
                    )
                    for name, c in play.fleet.classes.items()
                },
            )
        for slot in play.slots():
            if slot.state is State.RUNNING:
                play.crash(slot)
        due = plan.deadline(play.fleet)
        if due is not None and not any(isinstance(a, f.Spawn) for a in play.actions):
            play.now = max(play.now, due)
            play.send(f.Tick())
    for start in starts:
        assert sum(start <= other < start + 1 for other in starts) <= 8 + 10
    in_the_end = [start for start in starts if start > began + 5]
    assert len(in_the_end) == pytest.approx(10 * (play.now - began - 5), rel=0.05)


def test_one_that_is_held_back_says_so_starts_in_its_turn_and_only_once(play):
    killed = 0
    while not [line for line in play.take(f.Log) if line.level == "warning" and "-> BACKOFF: held back" in line.text]:
        play.take(f.Spawn)
        slot = next(slot for slot in play.slots() if slot.pid)
        play.crash(slot)
        killed += 1
    assert 3 <= killed <= 5  # of 8, less the five at first
    assert not play.take(f.Spawn)
    held = next(s for s in play.slots() if s.name == slot.name)
    assert (held.state, held.last_error, held.crashes) == (State.BACKOFF, "exited with code 1", 1)
    assert 0 < held.due - play.now <= 0.1
    play.now = held.due
    play.send(f.Tick())
    assert [s.slot for s in play.take(f.Spawn)] == [slot.name]
    assert not any(s.reserved for s in play.slots())


def test_a_new_one_that_is_held_back_has_a_reason_to_show_and_leaves_when_it_is_not_wanted_any_more(exhausted):
    exhausted.crash(exhausted.slots("EchoWorker")[0])
    exhausted.send(f.Scale(1, "EchoWorker", 4, False))
    assert exhausted.slots("EchoWorker")[3].last_error.startswith("held back: the fleet starts 10 workers a second")
    assert exhausted.slots("EchoWorker")[3].due - exhausted.now > 0.1  # the turn of the one before comes first
    exhausted.send(f.Scale(1, "EchoWorker", 3, False))
    assert len(exhausted.slots("EchoWorker")) == 3


def test_after_a_quiet_time_all_may_start_at_once_again(play):
    play.now += 1
    play.take(f.Spawn)
    for slot in play.slots():
        play.crash(slot)
    assert len(play.take(f.Spawn)) == 5


def test_turns_that_have_passed_while_the_master_was_stopped_are_not_made_up_for(exhausted):
    exhausted.send(f.Scale(1, "FooBarWorker", 0, False))
    exhausted.send(f.Scale(1, "EchoWorker", 8, False))
    assert not exhausted.take(f.Spawn)
    exhausted.now += 60
    exhausted.send(f.Tick())
    for slot in exhausted.slots("EchoWorker")[:6]:  # those that run, and some of those that start now
        exhausted.crash(slot) if slot.pid else exhausted.send(jobs.SpawnFailed(slot.name, "no memory"))
    assert 8 <= len(exhausted.take(f.Spawn)) <= 9  # it has taken a tenth of a second


def test_one_that_is_asked_to_start_before_its_turn_waits_for_it_all_the_same(exhausted):
    exhausted.send(f.Scale(1, "EchoWorker", 4, False))
    held = exhausted.slots("EchoWorker")[3]
    given_up = replace(held, state=State.FATAL, due=None)
    cls = exhausted.fleet.classes["EchoWorker"]
    exhausted.fleet = exhausted.fleet.put(replace(cls, slots=(*cls.slots[:3], given_up)))
    exhausted.send(f.Scale(1, "EchoWorker", None, False))  # a clean slate
    assert not exhausted.take(f.Spawn)
    assert exhausted.slots("EchoWorker")[3].due == held.due


def test_a_start_that_is_taken_back_in_the_same_step_is_none(play):
    play.send(f.Restart(1, "EchoWorker", False))
    play.take(f.Spawn)
    old = [slot for slot in play.slots("EchoWorker") if slot.generation == 1]
    play.crash(old[0])  # one of the old generation is not started again
    assert old[0].name not in [slot.name for slot in play.slots()]
    assert old[0].name not in [spawn.slot for spawn in play.take(f.Spawn)]
