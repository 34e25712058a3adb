"""What the master decides: recorded events in, actions out. No process is started here."""

import signal
from dataclasses import replace

import pytest
from fleet_play import INI, Play, load_in

from richmond.supervisor import fleet as f
from richmond.supervisor import jobs, plan, policy
from richmond.supervisor.lifecycle import State


@pytest.fixture
def load(tmp_path):
    return load_in(tmp_path)


@pytest.fixture
def play(load):
    play = Play(load())
    play.up()
    return play


def test_nothing_is_forked_before_the_services_are_there(load):
    fleet = plan.begin(load())
    fleet, actions = plan.step(fleet, f.Tick(), 0.0, 0.5)
    assert actions == []
    _, actions = plan.step(fleet, f.Started(load()), 0.0, 0.5)
    assert [a.slot for a in actions if isinstance(a, f.Spawn)] == ["EchoWorker:0", "EchoWorker:1", "FooBarWorker:0"]


def test_each_slot_has_a_row_of_its_own(play):
    play.send(f.Scale(1, "EchoWorker", 8, False))
    rows = [s.row for s in play.slots()]
    assert len(set(rows)) == len(rows)


def test_scale_starts_what_is_missing_and_leaves_the_others_alone(play):
    before = {s.name: s.pid for s in play.slots()}
    play.send(f.Scale(1, "EchoWorker", 4, False))
    assert [a.slot for a in play.actions if isinstance(a, f.Spawn)] == ["EchoWorker:2", "EchoWorker:3"]
    play.up()
    assert before.items() <= {s.name: s.pid for s in play.slots()}.items()


def test_scale_down_drains_the_highest_numbers(play):
    play.send(f.Scale(1, "EchoWorker", 1, False))
    (kill,) = play.take(f.Kill)
    assert (kill.slot, kill.signal) == ("EchoWorker:1", signal.SIGTERM)


def test_scale_that_waits_is_answered_when_all_run(play):
    assert not [a for a in play.send(f.Scale(9, "EchoWorker", 3, True)) if isinstance(a, f.Reply)]
    play.up()
    (reply,) = play.take(f.Reply)
    assert (reply.request, reply.ok) == (9, True)


@pytest.mark.parametrize(
    ("name", "count", "word"),
    [("Nobody", 1, "EchoWorker, FooBarWorker"), ("EchoWorker", -1, "below 0"), ("EchoWorker", 21, "max-workers = 20"),
     ("EchoWorker", 20, "above 19")],
)  # fmt: skip
def test_scale_to_what_cannot_be_says_why_and_changes_nothing(play, name, count, word):
    before = play.fleet
    (reply,) = play.send(f.Scale(1, name, count, False))
    assert not reply.ok
    assert reply.usage
    assert word in reply.text
    assert play.fleet == before


def test_a_pin_survives_a_reload_and_auto_hands_it_back(play, load):
    play.send(f.Scale(1, "EchoWorker", 12, False))
    play.send(f.Reloaded(load(), {}))
    assert play.fleet.classes["EchoWorker"].target == 12
    play.send(f.Scale(2, "EchoWorker", None, False))
    assert play.fleet.classes["EchoWorker"].target == 8


def test_one_worker_is_no_workers(play, load):
    play.send(f.Scale(1, "EchoWorker", 1, False))
    play.send(f.Reloaded(load(INI + "[worker:Other]\nclass = FooBarWorker\ncodes = *1#\nworkers = 1\n"), {}))
    said = [a.text for a in play.take(f.Log)]
    assert {
        "EchoWorker: 1 worker, until richmond scale EchoWorker auto",
        "EchoWorker: 2 -> 1 worker: pinned by the operator",
        "Other: a new class, 1 worker",
    } <= set(said)


def test_a_killed_worker_is_replaced_at_once_and_its_death_explained(play):
    slot = play.slots("EchoWorker")[0]
    play.send(jobs.Exited(slot.name, slot.pid, signal=9))
    assert [a.slot for a in play.take(f.Spawn)] == [slot.name]
    assert play.slots("EchoWorker")[0].last_error == "killed by SIGKILL"


def test_a_class_that_cannot_be_imported_is_fatal_and_the_others_go_on(load):
    play = Play(load())
    play.fork_all()
    slot = play.slots("FooBarWorker")[0]
    play.send(jobs.Failed(slot.name, slot.pid, "Traceback ...\nImportError: no foo", handler=False))
    play.crash(slot, code=3)
    (slot,) = play.slots("FooBarWorker")
    assert slot.state is State.FATAL
    assert "ImportError: no foo" in slot.traceback
    assert not play.take(f.Spawn)
    assert all(s.state is State.STARTING for s in play.slots("EchoWorker"))


def test_a_traceback_that_comes_after_the_exit_is_kept_too(load):
    play = Play(load())
    play.fork_all()
    slot = play.slots("FooBarWorker")[0]
    play.crash(slot, code=3)
    play.send(jobs.Failed(slot.name, slot.pid, "ImportError: no foo", handler=False))
    assert play.slots("FooBarWorker")[0].traceback == "ImportError: no foo"


def test_a_class_that_dies_at_once_again_and_again_is_fatal_after_five_starts_each_and_is_probed(load):
    play = Play(load())
    play.fork_all()
    starts = 2
    for _ in range(50):
        for slot in play.slots("EchoWorker"):
            if slot.state is State.STARTING and slot.pid:
                play.crash(slot)
        for slot in play.slots("FooBarWorker"):
            if slot.state is State.STARTING:
                play.send(jobs.Ready(slot.name, slot.pid, {}))
        starts += len([a for a in play.actions if isinstance(a, f.Spawn)])
        play.fork_all()
        if all(s.state is State.FATAL for s in play.slots("EchoWorker")):
            break
        play.wait()
    assert starts <= 10
    before = play.now
    while not any(isinstance(a, f.Spawn) for a in play.wait()):
        pass
    assert play.now - before == pytest.approx(60, abs=1)
    assert play.fleet.classes["EchoWorker"].count(State.STARTING) == 1


def test_a_probe_that_becomes_stable_brings_the_class_back(load):
    play = Play(load())
    play.fork_all()
    for slot in play.slots("EchoWorker"):
        play.crash(slot, code=3)
    while play.fleet.classes["EchoWorker"].count(State.STARTING) == 0:
        play.wait()
    play.up()
    while play.fleet.classes["EchoWorker"].count(State.FATAL):
        play.wait()
    play.up()
    assert play.fleet.classes["EchoWorker"].count(State.RUNNING) == 2


def test_changed_code_replaces_the_workers_one_by_one(load):
    play = Play(load())
    play.up(files={"/site/echo.py": "old"})
    old = {s.pid for s in play.slots("EchoWorker")}
    play.send(f.Reloaded(load(), {"/site/echo.py": "new"}))
    serving = []
    for _ in range(20):
        play.fork_all()
        for slot in play.slots("EchoWorker"):
            if slot.state is State.STARTING:
                play.send(jobs.Ready(slot.name, slot.pid, {}))
        serving.append(sum(s.state is State.RUNNING for s in play.slots("EchoWorker")))
        play.obey()
    assert min(serving) >= 2
    assert max(serving) <= 3
    assert not old & {s.pid for s in play.slots("EchoWorker")}


def test_a_new_generation_that_does_not_come_up_leaves_the_old_one_serving(play, load):
    before = {s.pid for s in play.slots("EchoWorker")}
    play.send(f.Reloaded(load(INI.replace("\nworkers = 2\n", "\nworkers = 2\nprefetch = 3\n")), {}))
    play.fork_all()
    starting = [s for s in play.slots("EchoWorker") if s.state is State.STARTING]
    assert len(starting) == 1
    play.crash(starting[0], code=3)
    assert before <= {s.pid for s in play.slots("EchoWorker") if s.state is State.RUNNING}
    assert not play.take(f.Spawn)
    assert not play.take(f.Kill)


def test_new_bounds_keep_the_workers_that_run(play, load):
    before = {s.name: s.pid for s in play.slots()}
    play.send(f.Reloaded(load(INI.replace("max = 8", "max = 9")), {}))
    assert {s.name: s.pid for s in play.slots()} == before
    assert not play.take(f.Kill)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("codes = *120*666#", "codes = *120*666#, *120*667#"),
        ("codes = *120*666#", "codes = *120*666#\nkeywords = WIN\nshort-codes = 31022"),
        ("codes = *120*666#", "codes = *120*666#\nsms = yes\nmore-option = M"),
        ("codes = *120*666#", "codes = *120*666#\naccounts = default"),
    ],
)
def test_other_routes_keep_the_workers_that_run(play, load, old, new):
    before = {s.name: s.pid for s in play.slots()}
    play.send(f.Reloaded(load(INI.replace(old, new)), {}))
    assert {s.name: s.pid for s in play.slots()} == before
    assert not play.take(f.Kill)
    assert not play.take(f.Spawn)


def test_another_account_replaces_the_workers_for_they_have_to_know_its_queues(play, load):
    play.send(f.Reloaded(load(f"[ssmi]\nhost = a\nusername = a\n[ssmi:second]\nhost = b\nusername = b\n{INI}"), {}))
    assert any("there are other accounts" in a.text for a in play.take(f.Log))


def test_new_and_removed_classes_come_and_go(play, load):
    text = INI.replace("FooBarWorker", "Other").replace("workers = 1", "workers = 1\nclass = FooBarWorker")
    play.send(f.Reloaded(load(text), {}))
    assert [a.slot for a in play.actions if isinstance(a, f.Spawn)] == ["Other:0"]
    assert any("richmond.receive.FooBarWorker stays" in a.text for a in play.take(f.Log))
    play.up()
    play.obey()
    assert sorted(play.fleet.classes) == ["EchoWorker", "Other"]


def test_backlog_grows_a_class_and_the_reason_is_told(play):
    ready = 0
    for _ in range(5):
        play.now += 2
        ready += 50
        play.send(f.Sampled({"EchoWorker": policy.Sample(play.now, ready, 20, 10, play.now * 2)}))
    cls = play.fleet.classes["EchoWorker"]
    assert cls.target == 8
    assert "waiting" in cls.reason
    assert any("2 ->" in a.text for a in play.take(f.Log))


def test_all_classes_together_stay_within_max_workers(load):
    play = Play(load(INI.replace("max-workers = 20", "max-workers = 5")))
    play.up()
    for i in range(1, 6):
        play.now += 2
        play.send(f.Sampled({"EchoWorker": policy.Sample(play.now, 100 * i, 20, 10, play.now * 2)}))
        assert sum(c.target for c in play.fleet.classes.values()) <= 5
    assert play.fleet.classes["EchoWorker"].target == 4
    assert "max-workers" in play.fleet.classes["EchoWorker"].reason


def test_shutdown_terms_everybody_and_the_second_one_kills(play):
    play.send(f.Shutdown(now=False))
    assert {k.signal for k in play.take(f.Kill)} == {signal.SIGTERM}
    play.send(f.Shutdown(now=True))
    assert {k.signal for k in play.take(f.Kill)} == {signal.SIGKILL}
    for slot in play.slots():
        play.send(jobs.Exited(slot.name, slot.pid, signal=9))
    assert plan.gone(play.fleet)
    assert not play.take(f.Spawn)


def test_a_crash_while_stopping_starts_nothing(play):
    play.send(f.Shutdown(now=False))
    for slot in play.slots():
        play.crash(slot)
    assert not play.take(f.Spawn)
    assert plan.gone(play.fleet)


def test_the_death_of_the_spawner_starts_another_and_fills_the_slots_on_other_rows(play):
    rows = {s.row for s in play.slots()}
    play.send(f.Scale(1, "EchoWorker", 3, False))  # one is ordered, and not forked yet
    play.take(f.Spawn)
    actions = play.send(jobs.SpawnerDied(-9))
    assert actions.index(f.RestartSpawner()) < min(i for i, a in enumerate(actions) if isinstance(a, f.Spawn))
    assert len(play.take(f.Spawn)) == 3
    assert not rows & {s.row for s in play.slots()} - {play.slots("EchoWorker")[2].row}
    play.send(jobs.SpawnFailed("EchoWorker:2", "the spawner ended before it could fork"))
    assert [a.slot for a in play.take(f.Spawn)] == ["EchoWorker:2"]


def test_no_worker_is_blamed_while_rabbitmq_is_away(load):
    play = Play(load())
    play.send(f.AmqpChanged(False))
    play.fork_all()
    for _ in range(20):
        play.wait()
    assert not play.take(f.Kill)
    assert all(s.crashes == 0 and s.state is State.STARTING for s in play.slots())
    play.send(f.AmqpChanged(True))
    play.wait()
    assert play.take(f.Kill)


def test_restart_of_one_class_touches_no_other(play):
    foobar = play.slots("FooBarWorker")
    play.send(f.Restart(5, "EchoWorker", True))
    play.up()
    play.up()
    assert play.slots("FooBarWorker") == foobar
    assert {s.generation for s in play.slots("EchoWorker")} == {2}
    assert [r.ok for r in play.take(f.Reply)] == [True]


def test_an_exit_of_a_process_that_is_not_in_the_slot_any_more_means_nothing(play):
    before = play.fleet
    play.send(jobs.Exited("EchoWorker:0", 1, code=1))
    assert play.fleet == before


def test_a_waiting_request_is_refused_when_the_class_is_fatal(play):
    play.send(f.Scale(3, "EchoWorker", 3, True))
    play.fork_all()
    play.crash(next(s for s in play.slots("EchoWorker") if s.state is State.STARTING), code=3)
    (reply,) = play.take(f.Reply)
    assert not reply.ok
    assert "FATAL" in reply.text


def test_everything_is_a_value(play):
    assert replace(play.fleet) == play.fleet
