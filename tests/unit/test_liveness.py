"""Who hangs, who only works or sleeps, and what the master makes of it."""

import math
import signal
from dataclasses import replace

import pytest
from fleet_play import INI, Play, load_in

from richmond.scoreboard import Row
from richmond.supervisor import fleet as f
from richmond.supervisor import jobs
from richmond.supervisor.lifecycle import ABORT_S, State
from richmond.supervisor.liveness import STARVED_S, Idle, Look, hung_at, idle, judge, starved
from richmond.supervisor.looking import LOOK_AGAIN_S, LOOK_S
from richmond.supervisor.policy import Sample

NEVER = "\ntask-timeout = 0\nliveness-interval = 0\n"


@pytest.fixture
def load(tmp_path):
    return load_in(tmp_path)


@pytest.fixture
def play(load):
    play = Play(
        load(INI.replace("[worker:FooBarWorker]", "task-timeout = 10\nliveness-interval = 4\n[worker:FooBarWorker]"))
    )
    play.up()
    return play


def look(pid=1, turn=0.0, began=None, stopped=False):
    return Look(pid, turn, began, 0, stopped, 0)


@pytest.mark.parametrize(
    ("given", "since", "at"),
    [
        (look(turn=100.0), 0.0, 112.0),  # three turns missed
        (look(turn=100.0, began=105.0), 0.0, 115.0),  # in hand: only that counts
        (look(turn=100.0, began=0.5), 0.0, 10.5),
        (look(turn=100.0), 108.0, 120.0),
        (look(turn=100.0), 90.0, 112.0),
        (look(turn=100.0, began=105.0), 111.0, 121.0),
    ],
)
def test_when_a_worker_is_taken_for_hung(play, given, since, at):
    spec = play.fleet.classes["EchoWorker"].spec
    assert hung_at(given, spec, since) == at
    assert judge(given, at - 0.01, spec, since) == ""
    assert judge(given, at, spec, since) != ""


def test_without_limits_nobody_hangs(load):
    (spec, _) = load(INI.replace("max = 8", "max = 8" + NEVER)).workers
    assert hung_at(look(turn=1.0), spec, 0.0) == hung_at(look(began=1.0), spec, 0.0) == math.inf


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (look(turn=100.0, began=105.0), "hung, with a message in hand for 20.0 s (task-timeout = 10)"),
        (look(turn=100.0, stopped=True), "stopped by a signal, with no turn of its loop for 25.0 s"),
    ],
)
def test_the_reason_says_what_was_seen(play, given, text):
    assert judge(given, 125.0, play.fleet.classes["EchoWorker"].spec, 0.0) == text


def test_at_every_moment_a_row_shows_a_message_in_hand_or_a_fresh_turn():
    """Else a handler that took long, and has just returned, would be seen as a loop that is late."""
    seen = []

    class Cells(list):
        def __setitem__(self, at, value):
            super().__setitem__(at, value)
            seen.append(row.read())

    row = Row([0] * 200, [0.0] * 200, 0)
    row.turn(1.0)
    row = Row([0] * 200, Cells(row._times), 0)
    row.began(2.0)
    row.ended(60.0, ok=True)
    first = next(i for i, reading in enumerate(seen) if reading.began_at)
    assert len(seen) > 3
    assert all(reading.began_at or reading.last_turn == 60.0 for reading in seen[first:])


# The master.


def looks(play, **found):
    """Every worker has just taken a turn, but for those that are given by their index in the class EchoWorker."""
    given = {s.name: look(s.pid, turn=play.now) for s in play.slots()}
    for name, seen in found.items():
        slot = play.slots("EchoWorker")[int(name[1:])]
        given[slot.name] = replace(seen, pid=slot.pid)
    return f.Looked(given)


def test_a_hung_worker_is_told_to_abort_then_killed_and_counts_as_a_crash(play):
    victim, other = play.slots("EchoWorker")
    play.now += 1
    began = play.now - 11
    actions = play.send(looks(play, _0=look(began=began)))
    assert [a for a in actions if isinstance(a, f.Kill)] == [f.Kill(victim.name, victim.pid, signal.SIGABRT)]
    (line,) = [a for a in actions if isinstance(a, f.Log)]
    assert (line.level, "message in hand for 11.0 s" in line.text, victim.name in line.text) == ("warning", True, True)
    play.take(f.Kill)
    assert not play.send(looks(play, _0=look(began=began)))  # once
    play.now += ABORT_S
    play.send(f.Tick())
    assert play.take(f.Kill) == [f.Kill(victim.name, victim.pid, signal.SIGKILL)]
    play.send(jobs.Exited(victim.name, victim.pid, signal=signal.SIGKILL))
    again = play.slots("EchoWorker")[0]
    assert (again.state, again.crashes) == (State.STARTING, 1)
    assert again.last_error == "hung, with a message in hand for 11.0 s (task-timeout = 10), killed by SIGKILL"
    assert play.slots("EchoWorker")[1] == other


def test_a_stopped_one_is_killed_at_once(play):
    victim = play.slots("EchoWorker")[1]
    actions = play.send(looks(play, _1=look(turn=play.now - 13, stopped=True)))
    assert f.Kill(victim.name, victim.pid, signal.SIGKILL) in actions


def test_one_that_hangs_and_is_to_stop_gets_no_time_to_drain(play):
    play.send(looks(play, _1=look(began=play.now - 11)))
    play.send(f.Scale(1, "EchoWorker", 1, False))
    victim = play.slots("EchoWorker")[1]
    assert (victim.state, victim.due - play.now < ABORT_S) == (State.STOPPING, True)


def test_a_look_at_a_process_that_is_no_longer_in_the_slot_means_nothing(play):
    slot = play.slots("EchoWorker")[0]
    assert not play.send(f.Looked({slot.name: look(slot.pid + 1, began=play.now - 60)}))


def test_after_the_master_itself_was_stopped_silence_is_no_evidence(play):
    play.send(looks(play))
    back = play.now = play.fleet.look_due + 30
    turn = play.now - 31
    (line,) = play.send(looks(play, _0=look(turn=turn), _1=look(began=turn)))
    assert (line.level, "the master did not run for 30.0 s" in line.text) == ("warning", True)
    play.now = back + 9.9
    play.fleet = replace(play.fleet, look_due=play.now)
    assert not play.send(looks(play, _0=look(turn=turn), _1=look(began=turn)))
    play.now = play.fleet.look_due  # 10 s after it came back
    play.send(looks(play, _0=look(turn=turn), _1=look(began=turn)))
    assert [k.slot for k in play.take(f.Kill)] == ["EchoWorker:1"]


@pytest.mark.parametrize("limits", [(1, 4), (2, 4), (3, 4), (60, 0.3), (60, 0.5), (60, 1)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])  # of the time to the next look that has passed by then
def test_nobody_hangs_who_was_stopped_together_with_the_master_for_a_little_longer_than_its_limit(load, limits, share):
    text = "task-timeout = {}\nliveness-interval = {}\n[worker:FooBarWorker]".format(*limits)
    play = Play(load(INI.replace("[worker:FooBarWorker]", text)))
    play.up()
    play.send(looks(play))
    began = play.now = play.now + share * (play.fleet.look_due - play.now)
    limit = min(limits[0], 3 * limits[1])
    play.now += limit + 0.05
    seen = look(began=began) if limits[0] == limit else look(turn=began)
    play.send(looks(play, _0=seen))
    assert not play.take(f.Kill)
    play.now = play.fleet.look_due + limit
    play.fleet = replace(play.fleet, look_due=play.now)
    play.send(looks(play, _0=seen))
    assert play.take(f.Kill), "it hangs by itself"


def test_while_rabbitmq_is_away_nobody_hangs(play):
    play.send(f.AmqpChanged(False))
    turn = play.now
    for _ in range(20):
        play.now = play.fleet.look_due
        assert not play.send(looks(play, _0=look(turn=turn), _1=look(began=turn)))


def test_the_next_look_comes_when_somebody_may_hang_and_else_every_two_seconds(play):
    play.send(looks(play))
    assert play.fleet.look_due == play.now + LOOK_S
    play.send(looks(play, _0=look(began=play.now - 9)))
    assert play.fleet.look_due == pytest.approx(play.now + 1, abs=0.02)
    play.send(looks(play, _0=look(began=play.now - 9.95)))
    assert play.fleet.look_due == pytest.approx(play.now + LOOK_AGAIN_S)


def test_a_message_that_begins_after_a_look_is_seen_in_time(load):
    play = Play(load(INI.replace("[worker:FooBarWorker]", "task-timeout = 0.5\n[worker:FooBarWorker]")))
    play.up()
    play.send(looks(play))
    assert play.fleet.look_due == pytest.approx(play.now + 0.25)


def test_other_limits_replace_no_worker(play, load):
    before = play.slots()
    play.send(
        f.Reloaded(
            load(
                INI.replace("[worker:FooBarWorker]", "task-timeout = 20\nliveness-interval = 4\n[worker:FooBarWorker]")
            ),
            {},
        )
    )
    assert play.slots() == before


# Who gets nothing although messages wait.


@pytest.mark.parametrize(
    ("given", "before", "expected"),
    [
        (look(), None, Idle(1, 0, 50.0)),
        (look(), Idle(1, 0, 20.0), Idle(1, 0, 20.0)),
        (replace(look(), done=1), Idle(1, 0, 20.0), Idle(1, 1, 50.0)),  # it has worked since
        (look(), Idle(2, 0, 20.0), Idle(1, 0, 50.0)),
        (look(began=49.0), Idle(1, 0, 20.0), None),
        (replace(look(), held=1), Idle(1, 0, 20.0), None),  # RabbitMQ may be waiting for that one
    ],
)
def test_since_when_a_worker_is_idle(given, before, expected):
    assert idle(given, before, 50.0) == expected


@pytest.mark.parametrize(
    ("since", "ready", "why"),
    [
        (0.0, [(n, 4) for n in range(0, 31, 2)], "idle for 30 s while messages wait in its queue (4 now)"),
        (0.1, [(n, 4) for n in range(0, 31, 2)], ""),  # not long enough
        (0.0, [(n, n % 10) for n in range(0, 31, 2)], ""),  # there was nothing to give
        (0.0, [(10, 4), (20, 4)], ""),  # too seldom looked at
        (0.0, [], ""),
    ],
)
def test_who_is_starved(since, ready, why):
    assert starved(since, ready, 30.0) == why


def waiting(play, ready, seconds=STARVED_S + 3):
    """So many messages wait in the queue of EchoWorker, for so long; the second worker works, the first is idle."""
    ends, done, told = play.now + seconds, 0, []
    while play.now < ends:
        play.now = play.fleet.look_due or play.now + LOOK_S
        cls, done = play.fleet.classes["EchoWorker"], done + 1
        play.fleet = play.fleet.put(replace(cls, samples=(*cls.samples, Sample(play.now, ready, 1, done, 0.0))))
        told += [a for a in play.send(looks(play, _1=replace(look(turn=play.now), done=done))) if isinstance(a, f.Log)]
    return told


def test_one_that_gets_nothing_while_messages_wait_makes_room_for_a_fresh_one(play):
    victim, other = play.slots("EchoWorker")
    (line,) = [log for log in waiting(play, 3) if "is replaced" in log.text]
    assert victim.name in line.text
    assert "messages wait in its queue (3 now)" in line.text
    play.up()
    play.obey()
    after = play.slots("EchoWorker")
    assert other.pid in [slot.pid for slot in after]
    assert victim.pid not in [slot.pid for slot in after]
    assert not any(slot.crashes for slot in after)


def test_nobody_is_replaced_for_being_idle_without_work_nor_while_rabbitmq_is_away(play):
    assert not waiting(play, 0)
    play.send(f.AmqpChanged(False))
    assert not waiting(play, 3)
