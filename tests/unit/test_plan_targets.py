"""What the master decides when requests, reloads and crashes meet: targets, room and code."""

import pytest
from fleet_play import INI, Play, load_in

from richmond.supervisor import fleet as f
from richmond.supervisor import jobs, policy, scaling
from richmond.supervisor.lifecycle import State


@pytest.fixture
def load(tmp_path):
    return load_in(tmp_path)


@pytest.fixture
def play(load):
    play = Play(load())
    play.up()
    return play


def test_a_refused_fork_of_a_slot_that_is_no_longer_wanted_is_its_end(play):
    play.send(f.Scale(1, "EchoWorker", 3, False))
    play.send(f.Scale(2, "EchoWorker", 2, False))
    play.send(jobs.SpawnFailed("EchoWorker:2", "fork: no memory"))
    assert [s.name for s in play.slots("EchoWorker")] == ["EchoWorker:0", "EchoWorker:1"]


def test_a_fatal_class_scaled_to_nothing_is_not_probed(load):
    play = Play(load())
    play.fork_all()
    for slot in play.slots("EchoWorker"):
        play.crash(slot, code=3)
    play.send(f.Scale(1, "EchoWorker", 0, False))
    assert play.fleet.classes["EchoWorker"].probe_due is None
    play.now += 600
    play.send(f.Tick())


def test_a_pin_takes_its_room_from_what_the_policy_wants_above_the_minimum(load):
    play = Play(load(INI.replace("\nworkers = 2", "\nworkers = 8")))
    play.send(f.Scale(1, "FooBarWorker", 19, False))
    assert {n: c.target for n, c in play.fleet.classes.items()} == {"EchoWorker": 1, "FooBarWorker": 19}
    assert "max-workers" in play.fleet.classes["EchoWorker"].reason
    (reply,) = [a for a in play.send(f.Scale(2, "EchoWorker", 2, False)) if isinstance(a, f.Reply)]
    assert "above 1" in reply.text


def test_less_room_after_a_reload_cuts_a_pin_which_comes_back_with_the_room(play, load):
    play.send(f.Scale(1, "EchoWorker", 19, False))
    play.send(f.Reloaded(load(INI.replace("max-workers = 20", "max-workers = 10")), {}))
    assert play.fleet.classes["EchoWorker"].target == 9
    play.send(f.Reloaded(load(), {}))
    assert play.fleet.classes["EchoWorker"].target == 19


def test_a_class_that_comes_back_into_the_ini_while_its_workers_drain_starts_with_its_workers(play, load):
    play.send(f.Scale(1, "EchoWorker", 5, False))
    play.up()
    play.send(f.Reloaded(load(INI.replace("EchoWorker", "Other").replace("max = 8", "class = EchoWorker")), {}))
    play.send(f.Reloaded(load(), {}))
    cls = play.fleet.classes["EchoWorker"]
    assert (cls.target, cls.pin) == (2, None)


def test_who_waits_for_a_class_that_leaves_the_ini_is_told_so(play, load):
    play.send(f.Scale(1, "EchoWorker", 5, True))
    play.send(f.Reloaded(load(INI.replace("EchoWorker", "Other").replace("max = 8", "class = EchoWorker")), {}))
    (reply,) = play.take(f.Reply)
    assert not reply.ok
    assert "no longer in the ini" in reply.text


def test_a_worker_that_crashed_between_an_edit_and_the_reload_does_not_hide_that_the_others_are_old(load):
    play = Play(load())
    play.up(files={"/site/echo.py": "old"})
    slot = play.slots("EchoWorker")[0]
    play.crash(slot)
    play.up(files={"/site/echo.py": "new"})
    old = play.slots("EchoWorker")[1]
    play.send(f.Reloaded(load(), {"/site/echo.py": "new"}))
    for _ in range(3):
        play.up(files={"/site/echo.py": "new"})
    assert old.pid not in {s.pid for s in play.slots("EchoWorker")}


def test_a_worker_that_was_starting_at_a_reload_is_replaced_since_its_code_may_be_older(load):
    play = Play(load())
    play.fork_all()
    first = {s.pid for s in play.slots("EchoWorker")}
    play.send(f.Reloaded(load(), {}))
    for slot in play.slots("EchoWorker"):
        play.send(jobs.Ready(slot.name, slot.pid, {"/site/echo.py": "old"}))
    for _ in range(3):
        play.up(files={"/site/echo.py": "new"})
    assert not first & {s.pid for s in play.slots("EchoWorker")}
    assert play.fleet.classes["EchoWorker"].settled


def test_workers_get_their_whole_start_timeout_once_rabbitmq_is_back(load):
    play = Play(load())
    play.send(f.AmqpChanged(False))
    play.fork_all()
    play.now += 29.9
    play.send(f.AmqpChanged(True))
    play.now += 10
    play.send(f.Tick())
    assert not play.take(f.Kill)


def test_a_target_that_falls_in_the_middle_of_a_rollout_leaves_one_that_takes_over(load):
    play = Play(load())
    play.send(f.Scale(1, "EchoWorker", 2, False))
    play.up()
    play.send(f.Restart(2, "EchoWorker", False))
    play.send(f.Scale(3, "EchoWorker", 6, False))
    assert len(play.slots("EchoWorker")) == 6
    play.send(f.Scale(4, "EchoWorker", 3, False))
    stays = [slot for slot in play.slots("EchoWorker") if slot.state is not State.STOPPING]
    assert [slot.generation for slot in stays] == [1, 1, 2, 2]


IDLE = INI.replace("\nworkers = 2\nmin = 1", "\nworkers = 0\nmin = 0")


def test_a_message_for_a_class_of_which_no_worker_runs_has_one_started(load):
    play = Play(load(IDLE))
    (key,) = [key for key, name in scaling.asleep(play.fleet).items() if name == "EchoWorker"]
    assert key == "ssmi.receive"
    play.up()
    play.send(f.Woken("EchoWorker"))
    assert [a.slot for a in play.take(f.Spawn)] == ["EchoWorker:0"]
    cls = play.fleet.classes["EchoWorker"]
    assert (cls.target, cls.reason) == (1, "a message came")
    assert not scaling.asleep(play.fleet)
    assert not play.send(f.Woken("EchoWorker"))


def test_a_sample_that_was_taken_before_the_message_came_does_not_send_its_worker_away(load):
    play = Play(load(IDLE))
    idle = lambda: f.Sampled({"EchoWorker": policy.Sample(play.now, 0, 0, 0, 0.0, 0)})  # noqa: E731
    for _ in range(60):
        play.now += 2
        play.send(idle())
    play.send(f.Woken("EchoWorker"))
    play.send(idle())
    assert play.fleet.classes["EchoWorker"].target == 1
    play.now += 2
    play.send(idle())
    assert play.fleet.classes["EchoWorker"].target == 0  # somebody else has taken it


def test_what_the_operator_has_pinned_to_nothing_no_message_wakes(load):
    play = Play(load(IDLE))
    play.send(f.Scale(1, "EchoWorker", 0, False))
    assert not scaling.asleep(play.fleet)
    play.send(f.Woken("EchoWorker"))
    assert not play.slots("EchoWorker")
    play.send(f.Scale(2, "EchoWorker", None, False))
    assert scaling.asleep(play.fleet)


def test_a_class_without_room_is_told_of_its_messages_once_until_the_next_sample(load):
    play = Play(load(IDLE.replace("max-workers = 20", "max-workers = 1")))
    play.send(f.Woken("EchoWorker"))
    assert play.fleet.classes["EchoWorker"].target == 0  # the other one's min is all that there is
    assert not scaling.asleep(play.fleet)
    play.send(f.Sampled({"EchoWorker": policy.Sample(play.now, 0, 0, 0, 0.0)}))
    assert scaling.asleep(play.fleet)


def test_who_has_nothing_in_hand_leaves_first_and_then_who_has_least(play):
    play.send(f.Scale(1, "EchoWorker", 4, False))
    play.up()
    held = {"EchoWorker:0": 0, "EchoWorker:1": 2, "EchoWorker:2": 3, "EchoWorker:3": 1}
    play.send(f.Scale(2, "EchoWorker", 3, False, held))
    assert [kill.slot for kill in play.take(f.Kill)] == ["EchoWorker:0"]
    play.send(f.Scale(3, "EchoWorker", 1, False, held))
    assert [kill.slot for kill in play.take(f.Kill)] == ["EchoWorker:3", "EchoWorker:1"]


def test_a_class_that_cannot_run_leaves_its_room_to_the_others_but_for_a_probe(load):
    text = INI.replace("\nworkers = 2", "\nworkers = 8").replace("\nworkers = 1", "\nworkers = 1\nmin = 1\nmax = 20")
    play = Play(load(text))
    play.fork_all()
    for slot in play.slots("EchoWorker"):
        play.crash(slot, code=3)
    assert play.fleet.classes["EchoWorker"].count(State.FATAL) == 8
    play.send(f.Scale(1, "FooBarWorker", 12, False))
    assert play.fleet.classes["EchoWorker"].target == 8  # nobody wants it
    (reply,) = [a for a in play.send(f.Scale(2, "FooBarWorker", 19, False)) if isinstance(a, f.Reply)]
    assert reply.ok
    echo, foobar = (play.fleet.classes[name] for name in ("EchoWorker", "FooBarWorker"))
    assert (echo.target, foobar.target) == (1, 19)
    assert [slot.state for slot in play.slots("EchoWorker")] == [State.FATAL]
    assert echo.probe_due is not None


def test_the_room_is_shared_by_weight(load):
    text = INI.replace("\nworkers = 2\nmin = 1\nmax = 8", "\nworkers = 20\nmin = 1\nmax = 20\nweight = 3")
    play = Play(load(text.replace("\nworkers = 1", "\nworkers = 20\nmin = 1\nmax = 20")))
    assert {n: c.target for n, c in play.fleet.classes.items()} == {"EchoWorker": 15, "FooBarWorker": 5}


def test_without_samples_the_figures_are_said_to_be_old_and_nobody_leaves(play):
    sample = policy.Sample(play.now, 0, 0, 0, 0.0)
    play.send(f.Sampled({"EchoWorker": sample}))
    play.now += 600
    play.send(f.Sampled({}))
    cls = play.fleet.classes["EchoWorker"]
    assert (cls.target, "fresh" in cls.reason) == (2, True)
