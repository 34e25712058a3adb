"""Who makes room for a fresh worker, when, and how the master goes about it."""

import signal
from dataclasses import replace

import pytest
from fleet_play import INI, Play, load_in

from richmond.supervisor import fleet as f
from richmond.supervisor import jobs, plan
from richmond.supervisor.lifecycle import State
from richmond.supervisor.liveness import Look
from richmond.supervisor.recycling import too_big, worn_out

MB = 1 << 20
LIMITS = "max-messages = 1000\nmax-age = 600\nmax-memory = 100M\nmax-memory-hard = 200M\nstart-retries = 1\n"


@pytest.fixture
def load(tmp_path):
    return load_in(tmp_path)


def playing(load, room=20, text=LIMITS):
    ini = INI.replace("max-workers = 20", f"max-workers = {room}").replace("[worker:FooBar", f"{text}[worker:FooBar")
    play = Play(load(ini.replace("max = 8", "max = 2")))
    play.up()
    return play


@pytest.fixture
def play(load):
    return playing(load)


def look(pid=1, done=0, memory=10 * MB, began=None):
    return Look(pid, 0.0, began, done, False, memory)


def looked(play, **found):
    """Nobody hangs; `_0` is what is seen of the first worker of EchoWorker."""
    seen = {s.name: replace(look(), pid=s.pid, last_turn=play.now) for s in play.slots()}
    for name, given in found.items():
        slot = play.slots("EchoWorker")[int(name[1:])]
        seen[slot.name] = replace(given, pid=slot.pid, last_turn=play.now)
    play.fleet = replace(play.fleet, look_due=play.now)
    return play.send(f.Looked(seen))


def terms(play):
    return [(k.slot, k.pid, k.signal) for k in play.take(f.Kill)]


@pytest.mark.parametrize(
    ("given", "age", "draw", "text"),
    [
        (look(done=999), 1.0, 0.0, ""),
        (look(done=1000), 1.0, 0.0, "1000 messages handled (max-messages = 1000)"),
        (look(done=900), 1.0, 1.0, "900 messages handled (max-messages = 1000)"),
        (look(done=899), 1.0, 1.0, ""),
        (look(), 600.0, 0.0, "600 s old (max-age = 600)"),
        (look(), 571.0, 0.5, "571 s old (max-age = 600)"),
        (look(), 569.0, 0.5, ""),
        (look(memory=100 * MB), 1.0, 0.0, "100 MB of memory (max-memory = 100M)"),
        (look(memory=90 * MB), 1.0, 1.0, "90 MB of memory (max-memory = 100M)"),
        (look(memory=99 * MB), 1.0, 0.0, ""),
    ],
)
def test_when_a_worker_is_worn_out(play, given, age, draw, text):
    spec = play.fleet.classes["EchoWorker"].spec
    assert worn_out(given, 50.0, 50.0 + age, spec, draw) == text


def test_the_hard_limit_knows_no_jitter(play):
    spec = play.fleet.classes["EchoWorker"].spec
    assert too_big(look(memory=200 * MB - 1), spec) == ""
    assert too_big(look(memory=200 * MB), spec) == "200 MB of memory (max-memory-hard = 200M)"


def test_without_limits_nobody_is(load):
    play = playing(load, text="")
    spec = play.fleet.classes["EchoWorker"].spec
    huge = look(done=1 << 40, memory=1 << 50)
    assert (worn_out(huge, 0.0, 1e9, spec, 1.0), too_big(huge, spec)) == ("", "")


def test_every_worker_draws_once_and_for_itself(load):
    play = Play(load())
    play.fork_all()
    draws = [0.1, 0.2, 0.3]
    for slot, draw in zip(play.slots(), draws, strict=True):
        play.fleet, _ = plan.step(play.fleet, jobs.Ready(slot.name, slot.pid), play.now, draw)
    looked(play)
    assert [slot.draw for slot in play.slots()] == draws


def test_the_successor_runs_before_the_old_one_drains(play):
    old = play.slots("EchoWorker")[0]
    (line,) = [a for a in looked(play, _0=look(done=1000)) if isinstance(a, f.Log) and "is replaced" in a.text]
    assert line.text == f"EchoWorker:0 (pid {old.pid}) is replaced: 1000 messages handled (max-messages = 1000)"
    assert not play.take(f.Kill)
    assert [s.slot for s in play.actions if isinstance(s, f.Spawn)] == ["EchoWorker:2"]
    assert play.slots("EchoWorker")[0].leaving == "1000 messages handled (max-messages = 1000)"
    assert not looked(play, _0=look(done=1001), _1=look(done=1000))  # one at a time
    play.fork_all()
    new = play.slots("EchoWorker")[2]
    play.send(jobs.Ready(new.name, new.pid))
    assert terms(play) == [(old.name, old.pid, signal.SIGTERM)]
    assert not looked(play, _1=look(done=1000))  # the old one still drains
    play.send(jobs.Exited(old.name, old.pid, code=0))
    looked(play, _0=look(done=1000))  # the other one's turn
    play.up()
    cls = play.fleet.classes["EchoWorker"]
    assert cls.settled
    assert [s.crashes for s in cls.slots] == [0, 0]
    assert (cls.recycled, cls.last_recycled) == (2, "EchoWorker:1: 1000 messages handled (max-messages = 1000)")
    assert cls.generation == 1


def test_without_room_it_drains_first_and_its_place_is_filled_when_it_has_gone(load):
    play = playing(load, room=3)
    old = play.slots("EchoWorker")[1]
    actions = looked(play, _1=look(memory=100 * MB))
    assert terms(play) == [(old.name, old.pid, signal.SIGTERM)]
    assert not play.take(f.Spawn)
    assert "RUNNING -> STOPPING: 100 MB of memory" in next(a.text for a in actions if isinstance(a, f.Log))
    play.send(f.Sampled({}))
    assert not play.take(f.Spawn)
    play.now += 1
    play.send(jobs.Exited(old.name, old.pid, code=0))
    assert [s.slot for s in play.actions if isinstance(s, f.Spawn)] == ["EchoWorker:1"]
    play.up()
    new = play.slots("EchoWorker")[1]
    assert (new.state, new.crashes, new.leaving, new.pid == old.pid) == (State.RUNNING, 0, "", False)


def test_one_that_drains_for_a_fresh_one_and_is_not_wanted_any_more_leaves_no_successor(load):
    play = playing(load, room=3)
    looked(play, _1=look(done=1000))
    play.send(f.Scale(1, "EchoWorker", 1, False))
    play.obey()
    assert [s.name for s in play.slots("EchoWorker")] == ["EchoWorker:0"]
    assert not play.take(f.Spawn)


def test_at_the_hard_limit_it_is_killed_and_started_anew_and_that_is_no_crash(play):
    old = play.slots("EchoWorker")[0]
    actions = looked(play, _0=look(memory=200 * MB, began=play.now, done=5))
    assert terms(play) == [(old.name, old.pid, signal.SIGKILL)]
    (line,) = [a for a in actions if isinstance(a, f.Log)]
    assert (line.level, "max-memory-hard" in line.text) == ("warning", True)
    slot = play.slots("EchoWorker")[0]
    assert slot.doomed  # so that its message counts as one that has killed a worker
    play.now += 6
    play.send(f.Tick())
    assert terms(play) == [(old.name, old.pid, signal.SIGKILL)]
    play.send(jobs.Exited(old.name, old.pid, signal=signal.SIGKILL))
    play.up()
    new = play.slots("EchoWorker")[0]
    assert (new.state, new.crashes, new.doomed) == (State.RUNNING, 0, "")
    assert play.fleet.classes["EchoWorker"].recycled == 1


@pytest.mark.parametrize("end", ["a fresh one takes its place", "it is not wanted any more"])
def test_at_the_hard_limit_it_is_killed_while_it_drains_too(play, end):
    old = play.slots("EchoWorker")[1]
    if end == "it is not wanted any more":
        play.send(f.Scale(1, "EchoWorker", 1, False))
    else:
        looked(play, _1=look(memory=150 * MB))
        play.fork_all()
        new = play.slots("EchoWorker")[2]
        play.send(jobs.Ready(new.name, new.pid))
    assert terms(play) == [(old.name, old.pid, signal.SIGTERM)]
    recycled = play.fleet.classes["EchoWorker"].recycled
    assert not looked(play, _1=look(memory=199 * MB, began=play.now - 60))
    (line,) = [a for a in looked(play, _1=look(memory=200 * MB)) if isinstance(a, f.Log)]
    assert line.level == "warning"
    assert line.text.endswith("STOPPING: 200 MB of memory (max-memory-hard = 200M); it is killed")
    assert terms(play) == [(old.name, old.pid, signal.SIGKILL)]
    assert next(s for s in play.slots("EchoWorker") if s.pid == old.pid).doomed  # its message has killed a worker
    assert not looked(play, _1=look(memory=300 * MB))
    play.send(jobs.Exited(old.name, old.pid, signal=signal.SIGKILL))
    play.up()
    assert old.pid not in {s.pid for s in play.slots("EchoWorker")}
    assert [s.crashes for s in play.slots("EchoWorker")] == [0] * len(play.slots("EchoWorker"))
    assert play.fleet.classes["EchoWorker"].recycled == recycled


def test_a_successor_that_does_not_come_up_leaves_the_old_one_serving(play):
    old = play.slots("EchoWorker")[0]
    looked(play, _0=look(done=1000))
    play.fork_all()
    play.crash(play.slots("EchoWorker")[2], code=3)
    assert not play.take(f.Kill)
    assert play.slots("EchoWorker")[0].pid == old.pid
    assert play.slots("EchoWorker")[2].state is State.FATAL


def test_nobody_is_recycled_where_not_all_is_well(play):
    hung = looked(play, _0=look(done=1000), _1=look(began=play.now - 60))
    assert [a.slot for a in hung if isinstance(a, f.Spawn | f.Kill)] == ["EchoWorker:1"]
    play.crash(play.slots("EchoWorker")[1], code=-6)
    assert not [a for a in looked(play, _0=look(done=1000)) if isinstance(a, f.Spawn | f.Kill)]


def test_other_limits_replace_no_worker(load):
    play = playing(load, text="")
    before = play.slots()
    play.send(f.Reloaded(load(INI.replace("max = 8", "max = 2\n" + LIMITS.replace("start-retries = 1\n", ""))), {}))
    assert play.slots() == before
