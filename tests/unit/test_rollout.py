"""Reloads: what they say they will do, what they do, and how they go back."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest
from fleet_play import INI, Play, load_in

from richmond.supervisor import fleet as f
from richmond.supervisor import jobs, plan, reloading
from richmond.supervisor.lifecycle import State

PREFETCH = INI.replace("\nworkers = 2\n", "\nworkers = 2\nprefetch = 3\n")
OLD, NEW = {"/site/echo.py": "old"}, {"/site/echo.py": "new"}


@pytest.fixture
def load(tmp_path):
    return load_in(tmp_path)


@pytest.fixture
def play(load):
    play = Play(load())
    play.up(files=OLD)
    return play


def echo(play):
    return play.fleet.classes["EchoWorker"]


def pids(play):
    return {slot.pid for slot in echo(play).slots if slot.state is State.RUNNING}


def fail(play, code=3):
    """The new worker that starts cannot be imported."""
    play.fork_all()
    (new,) = [slot for slot in echo(play).slots if slot.state is State.STARTING]
    play.send(jobs.Failed(new.name, new.pid, "Traceback\nSyntaxError: oops", handler=False))
    play.crash(new, code)


def settle_one(play):
    """One new worker comes up, and an old one leaves."""
    play.fork_all()
    for slot in play.slots():
        if slot.state is State.STARTING:
            play.send(jobs.Ready(slot.name, slot.pid, NEW))
    play.obey()


def errors(play):
    return [log.text for log in play.take(f.Log) if log.level == "error"]


def test_a_new_generation_that_does_not_come_up_is_rolled_back(play, load):
    before, old_spec = pids(play), echo(play).spec
    play.send(f.Reloaded(load(PREFETCH.replace("max = 8", "max = 5")), OLD))
    fail(play)
    cls = echo(play)
    assert pids(play) == before
    assert cls.settled
    assert (cls.back, cls.probe_due) == (None, None)
    assert cls.spec == replace(old_spec, max=5)  # what the ini says of the master's part holds
    assert cls.rolled_back == (
        "its settings have changed (prefetch), and the new worker EchoWorker:2 did not come up: "
        "SyntaxError: oops (exited with code 3)"
    )
    assert "SyntaxError" in cls.rolled_back_traceback
    assert errors(play)[-1] == f"EchoWorker: {cls.rolled_back}; rolled back, the old workers serve on"
    assert not play.take(f.Kill) + play.take(f.Spawn)
    play.crash(cls.slots[0])  # a new one gets the old settings
    assert [s.spec.prefetch for s in play.take(f.Spawn)] == [0]


def test_one_that_never_reports_is_tried_five_times_and_rolled_back(play, load):
    before = pids(play)
    play.send(f.Reloaded(load(PREFETCH), OLD))
    for _ in range(40):
        play.fork_all()
        if not echo(play).back:
            break
        play.wait()
        play.obey()
    assert echo(play).settled
    assert pids(play) == before
    assert "not ready within 30 s" in echo(play).rolled_back


def test_code_and_settings_that_are_mended_or_taken_back_end_it(play, load):
    play.send(f.Reloaded(load(), NEW))
    fail(play)
    assert echo(play).rolled_back.startswith("its code has changed (/site/echo.py), and")
    play.send(f.Reloaded(load(), OLD))
    assert echo(play).rolled_back == ""
    assert not play.take(f.Spawn)
    play.send(f.Reloaded(load(), NEW))
    fail(play)
    assert echo(play).rolled_back
    play.send(f.Reloaded(load(), {"/site/echo.py": "mended"}))
    assert (echo(play).rolled_back, echo(play).back is None) == ("", False)
    play.up(files={"/site/echo.py": "mended"})
    assert echo(play).settled
    assert echo(play).back is None


def test_one_that_breaks_halfway_goes_back_too_and_at_no_time_do_less_serve(play, load):
    play.send(f.Scale(1, "EchoWorker", 4, False))
    play.up(files=OLD)
    first = pids(play)
    play.send(f.Reloaded(load(PREFETCH), OLD))
    settle_one(play)
    assert len(first & pids(play)) == 3
    (halfway,) = pids(play) - first
    fail(play)
    assert (len(first & pids(play)), len(pids(play))) == (3, 4)
    assert echo(play).back is None
    serving = []
    for _ in range(10):
        settle_one(play)
        serving.append(len(pids(play)))
    assert min(serving) == 4
    assert echo(play).settled  # the one that had come up has made room for one with the old settings
    assert len(first & pids(play)) == 3
    assert halfway not in pids(play)
    assert echo(play).rolled_back


def test_a_second_reload_while_the_first_has_not_come_up_goes_back_to_those_that_serve(play, load):
    before, spec = pids(play), echo(play).spec
    play.send(f.Reloaded(load(PREFETCH), OLD))
    play.send(f.Reloaded(load(PREFETCH.replace("prefetch = 3", "prefetch = 4")), OLD))
    play.obey()
    fail(play)
    assert (pids(play), echo(play).spec) == (before, spec)


def test_one_that_began_before_the_last_reload_and_cannot_be_imported_gets_another_chance(play, load):
    """It has seen the files as they were before, or half written."""
    before = pids(play)
    play.send(f.Reloaded(load(), NEW))
    play.fork_all()
    play.send(f.Reloaded(load(), {"/site/echo.py": "newer"}))
    (starting,) = [slot for slot in echo(play).slots if slot.state is State.STARTING]
    play.crash(starting, code=3)
    assert not echo(play).rolled_back
    assert [spawn.slot for spawn in play.take(f.Spawn)] == [starting.name]
    again = next(slot for slot in echo(play).slots if slot.name == starting.name)
    play.send(jobs.Forked(again.name, 4711))
    play.send(jobs.Exited(again.name, 4711, code=3))  # this one has no excuse
    assert echo(play).rolled_back
    assert pids(play) == before


def test_with_no_old_worker_left_there_is_nothing_to_go_back_to(play, load):
    play.send(f.Reloaded(load(PREFETCH), OLD))
    for slot in echo(play).slots:
        if slot.state is State.RUNNING:
            play.crash(slot)
    play.fork_all()
    for slot in play.slots("EchoWorker"):
        if slot.pid is not None:
            play.crash(slot, code=3)
    play.fork_all()
    assert echo(play).count(State.FATAL)
    assert not echo(play).rolled_back


def test_nor_is_there_when_the_last_old_worker_drains_already(play):
    play.send(f.Restart(1, "FooBarWorker", False))
    play.fork_all()
    (new,) = [slot for slot in play.slots("FooBarWorker") if slot.state is State.STARTING]
    play.send(jobs.Ready(new.name, new.pid))
    play.crash(new, code=3)
    cls = play.fleet.classes["FooBarWorker"]
    assert (cls.count(State.FATAL), cls.rolled_back) == (1, "")


def test_a_restart_is_rolled_back_as_well(play):
    before = pids(play)
    play.send(f.Restart(1, "EchoWorker", False))
    fail(play)
    assert pids(play) == before
    assert echo(play).rolled_back.startswith("restarted, and the new worker EchoWorker:2 did not come up")


@pytest.mark.parametrize("how", ["reload", "restart"])
def test_who_waits_for_the_rollout_hears_that_it_was_rolled_back(play, load, how):
    asked = f.Restart(7, "EchoWorker", True) if how == "restart" else f.Reloaded(load(PREFETCH), OLD, 7, True)
    assert not [a for a in play.send(asked) if isinstance(a, f.Reply)]
    play.send(f.Scale(8, "EchoWorker", 1, True))
    fail(play)
    play.obey()
    replies = {reply.request: reply for reply in play.take(f.Reply)}
    assert (replies[7].ok, replies[7].text.startswith("EchoWorker was rolled back: ")) == (False, True)
    assert replies[8].ok  # one that waits for a count gets it


def test_a_reload_that_waits_is_answered_when_all_runs(play, load):
    play.send(f.Reloaded(load(PREFETCH), OLD, 7, True))
    while not echo(play).settled:
        assert not play.take(f.Reply)
        settle_one(play)
    (reply,) = play.take(f.Reply)
    text = "EchoWorker: its workers are replaced one by one: its settings have changed (prefetch)"
    assert (reply.request, reply.ok, reply.text) == (7, True, text)


def test_a_reload_that_changes_nothing_is_answered_at_once(play, load):
    replies = [
        a for wait in (False, True) for a in play.send(f.Reloaded(load(), OLD, 7, wait)) if isinstance(a, f.Reply)
    ]
    assert replies == [f.Reply(7, True, "nothing has changed")] * 2


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("max = 8", "max = 9", ["EchoWorker: changed (max), its workers stay"]),
        (
            "workers = 2\nmin = 1",
            "workers = 4\nmin = 3",
            ["EchoWorker: changed (workers, min), its workers stay", "EchoWorker: 2 -> 4 workers"],
        ),
        (
            "max = 8",
            "max = 8\nclass = other.Other",
            ["EchoWorker: its workers are replaced one by one: its settings have changed (class)"],
        ),
        ("[worker:Foo", "[worker:A]\nclass = EchoWorker\ncodes = *1#\n[worker:Foo", ["A: new, 1 worker"]),
        ("[worker:FooBarWorker]", "[worker:A]\nclass = FooBarWorker", ["A: new, 1 worker", "FooBarWorker: removed"]),
        ("max-workers = 20", "max-workers = 21", ["[richmond]: changed (max-workers)"]),
        (
            "max-workers = 20",
            "max-workers = 20\nlog-level = debug",
            [
                "EchoWorker: its workers are replaced one by one: [richmond] has changed (log-level)",
                "FooBarWorker: its workers are replaced one by one: [richmond] has changed (log-level)",
                "[richmond]: changed (log-level)",
            ],
        ),
        ("max-workers = 20", "max-workers = 20\nlog-format = json", ["[richmond]: changed (log-format)"]),
        ("max-workers = 20", "max-workers = 20\nlog = other.log", ["[richmond]: changed (log)"]),
        ("[richmond]", "[ssmi]\nlogin-timeout = 3\n[richmond]", ["[ssmi]: changed (login-timeout)"]),
        (
            "[richmond]",
            "[ssmi]\n[ssmi:two]\nhost = h\nusername = u\n[richmond]",
            [
                "EchoWorker: its workers are replaced one by one: there are other accounts",
                "FooBarWorker: its workers are replaced one by one: there are other accounts",
                "[ssmi:two]: new",
            ],
        ),
        ("[richmond]", "[simulator]\nextended = yes\n[richmond]", ["[simulator]: changed (extended)"]),
    ],
)  # fmt: skip
def test_a_rehearsal_says_what_the_reload_does(play, load, old, new, lines):
    settings = load(INI.replace(old, new))
    before = play.fleet
    rehearsed, _ = plan.step(play.fleet, f.Reloaded(settings, OLD), play.now, 0.0)
    assert reloading.changes(before, rehearsed).splitlines() == lines
    play.send(f.Reloaded(settings, OLD, 7))
    assert [reply.text.splitlines() for reply in play.take(f.Reply)] == [lines]


def test_secrets_are_not_in_what_is_said(play, load):
    settings = load(INI + "[[environment]]\nTOKEN = hush\n[amqp]\nhost = h\npassword = hush-hush\n")
    play.send(f.Reloaded(settings, OLD, 7))
    (reply,) = replies = play.take(f.Reply)
    assert "hush" not in str([*play.take(f.Log), *replies])
    assert "[amqp]: changed (host, password)" in reply.text


def test_what_needs_a_restart_of_the_master_stays_as_it_was_and_is_said(load, tmp_path):
    running = load(INI)
    given = load(
        INI.replace(
            "[richmond]", "[rabbitmq]\nport = 1234\n[richmond]\ndirectory = elsewhere\nmax-workers = 9\n"
        ).replace("max-workers = 20\n", "")
    )
    kept, notes = reloading.fixed(given, running)
    assert kept.richmond == replace(running.richmond, max_workers=9, log=given.richmond.log)
    assert kept.rabbitmq == running.rabbitmq
    assert notes == (
        "[richmond]: to change directory, pid-file, socket needs richmond stop and richmond start",
        "[rabbitmq]: to change port needs richmond stop and richmond start",
    )
    assert reloading.fixed(running, running) == (running, ())
    assert Path(tmp_path / "elsewhere") != kept.richmond.directory


def test_a_rollback_while_stopping_starts_nothing(play, load):
    play.send(f.Reloaded(load(PREFETCH), OLD))
    play.fork_all()
    play.send(f.Shutdown(False))
    (new,) = [s for s in echo(play).slots if s.index == 2]
    play.send(jobs.Exited(new.name, new.pid, signal=signal.SIGTERM))
    assert not play.take(f.Spawn)
