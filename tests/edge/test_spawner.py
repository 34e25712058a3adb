"""The spawner and the master's side of it, with real processes; no RabbitMQ: its port is closed."""

import json
import os
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from fleet import DEADLINE_S, Fleet, gone, is_running, make_amqp, make_job, wait_until

from richmond.settings import EnvironmentFile
from richmond.supervisor import jobs

SITE = Path(__file__).parent / "site_classes"

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def amqp():
    with socket.socket() as closed:  # bound and not listening: nobody answers there, and nobody else gets it
        closed.bind(("127.0.0.1", 0))
        yield make_amqp(closed.getsockname()[1], password="s3cret-pass")


@pytest.fixture(params=["plain", "gevent"])
def fleet(request):
    with Fleet(gevent=request.param == "gevent") as fleet:
        yield fleet


def facts_of(fleet, job):
    """What site code sees around it; see spy.py."""
    fleet.spawn(job)
    failed = fleet.expect(jobs.Failed)
    fleet.expect(jobs.Exited, slot=job.slot)
    return json.loads(failed.error.strip().splitlines()[-1].removeprefix("RuntimeError: "))


def test_a_worker_has_nothing_of_gevent_and_no_thread_or_descriptor_of_others(fleet, amqp):
    job = make_job("Spy:0", class_path="spy.Spy", amqp=amqp, path=SITE, environment={"MARKER": "here"})
    facts = facts_of(fleet, job)
    assert facts["gevent"] == []
    assert facts["threads"] == 1
    kinds = [fd.split(" ")[1].split(":")[0] for fd in facts["fds"] if int(fd.split(" ")[0]) > 2]
    # The reports, the lifeline, the scoreboard and the log; nothing to control the spawner with.
    assert kinds.count("socket") == 1
    assert kinds.count("pipe") == 1
    assert facts["stdin"] == "/dev/null"


def test_a_worker_has_a_group_its_title_default_signals_and_the_sites_path(fleet, amqp):
    job = make_job("Spy:0", class_path="spy.Spy", amqp=amqp, path=SITE, environment={"MARKER": "here"})
    facts = facts_of(fleet, job)
    assert facts["group"]
    assert facts["session"] == fleet.spawner_pid
    assert facts["cmdline"] == "richmond: Spy:0"
    assert facts["masked"] == []
    # SIGPIPE and SIGXFSZ: as in every Python.
    assert set(facts["ignored"]) - {"SIGPIPE", "SIGXFSZ"} == {"SIGINT", "SIGHUP"}
    assert facts["path"] == str(SITE)
    assert facts["marker"] == "here"


def test_the_password_is_neither_in_argv_nor_in_the_environment(fleet, amqp):
    facts = facts_of(fleet, make_job("Spy:0", class_path="spy.Spy", amqp=amqp, path=SITE))
    assert not facts["secret"]
    for path in (f"/proc/{fleet.spawner_pid}/environ", f"/proc/{fleet.spawner_pid}/cmdline"):
        assert b"s3cret-pass" not in Path(path).read_bytes()


def test_limits_umask_and_niceness_are_those_of_the_section_and_else_those_of_the_master(fleet, amqp):
    bare = facts_of(fleet, make_job("Spy:0", class_path="spy.Spy", amqp=amqp, path=SITE))
    assert bare["limits"] == [list(resource.getrlimit(k)) for k in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS)]
    nice, masters_umask = os.getpriority(os.PRIO_PROCESS, 0), os.umask(0)
    os.umask(masters_umask)
    assert (bare["nice"], bare["umask"]) == (nice, f"{masters_umask:03o}")
    given = {"rlimit_nofile": 99, "rlimit_as": 1 << 40, "umask": "037", "nice": nice + 3}
    facts = facts_of(fleet, make_job("Spy:0", class_path="spy.Spy", amqp=amqp, path=SITE, **given))
    assert (facts["limits"], facts["umask"], facts["nice"]) == ([[99, 99], [1 << 40] * 2], "037", nice + 3)


def test_variables_of_the_environment_file_come_after_those_of_the_section(fleet, amqp):
    for own, marker in (({}, "from the file"), ({"MARKER": "own"}, "own")):
        file = EnvironmentFile(Path("/no/where"), {"MARKER": "from the file"})
        job = make_job("Spy:0", class_path="spy.Spy", amqp=amqp, path=SITE, environment=own, environment_file=file)
        assert facts_of(fleet, job)["marker"] == marker


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_worker_runs_as_its_user_and_still_dies_with_its_spawner(fleet, amqp):
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as directory:  # the tests' own may be nobody's to read
        readable = Path(directory)
        readable.chmod(0o755)
        shutil.copy(SITE / "spy.py", readable)
        job = make_job("Spy:0", class_path="spy.Spy", amqp=amqp, path=readable, user="nobody", rlimit_nofile=99)
        facts = facts_of(fleet, job)
    uid, gid = nobody.pw_uid, nobody.pw_gid
    assert facts["user"] == [uid, uid, gid, sorted(os.getgrouplist("nobody", gid)), nobody.pw_dir]
    assert facts["death_signal"] == signal.SIGTERM
    assert facts["limits"][0] == [99, 99]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"user": "nobody-at-all"}, "user = nobody-at-all: there is no such user on this host"),
        ({"rlimit_nofile": 1 << 40}, "rlimit-nofile = 1099511627776: "),
    ],
)
def test_what_cannot_be_applied_is_said_and_makes_the_class_fatal(fleet, amqp, given, text):
    fleet.spawn(make_job(amqp=amqp, **given))
    assert f"EchoWorker cannot be run: {text}" in fleet.expect(jobs.Failed).error
    assert fleet.expect(jobs.Exited).code == 3


def test_two_workers_draw_different_random_numbers(fleet, amqp):
    first, second = (facts_of(fleet, make_job("Spy:0", class_path="spy.Spy", amqp=amqp, path=SITE)) for _ in range(2))
    assert first["random"] != second["random"]


def test_the_spawner_has_no_hub_no_thread_and_no_network(fleet):
    spawner = psutil.Process(fleet.spawner_pid)
    assert "gevent" not in Path(f"/proc/{spawner.pid}/maps").read_text()
    assert spawner.num_threads() == 1
    assert spawner.net_connections() == []
    assert os.getsid(spawner.pid) == spawner.pid


def test_a_class_that_cannot_be_imported_is_reported_with_its_traceback_and_exits_with_3(fleet, amqp):
    job = make_job("Nobody:0", class_path="no_such_module.Nobody", amqp=amqp)
    fleet.spawn(job)
    pid = fleet.expect(jobs.Forked, slot="Nobody:0").pid
    failed = fleet.expect(jobs.Failed)
    assert (failed.slot, failed.pid, failed.handler) == ("Nobody:0", pid, False)
    assert "Traceback" in failed.error
    assert "No module named 'no_such_module'" in failed.error
    assert fleet.expect(jobs.Exited) == jobs.Exited("Nobody:0", pid, code=3)


def test_events_of_each_worker_come_in_order_also_when_many_die_at_once(fleet, amqp):
    fleet.spawn(*(make_job(f"Nobody:{i}", class_path="no_such_module.Nobody", amqp=amqp, row=i) for i in range(30)))
    for i in range(30):
        fleet.expect(jobs.Exited, slot=f"Nobody:{i}", code=3)
        mine = [type(event) for event in fleet.seen if event.slot == f"Nobody:{i}"]
        assert mine == [jobs.Forked, jobs.Failed, jobs.Exited]


@pytest.mark.parametrize(
    ("class_path", "text"),
    [
        ("richmond.workers.ussd.Echo", "richmond.workers.ussd has no class Echo; its worker classes: RichmondWorker"),
        ("richmond.workers.ussd.SessionType", "richmond.workers.ussd.SessionType is no subclass of"),
        ("EchoWorker", "'EchoWorker' names no module; write module.EchoWorker"),
    ],
)
def test_a_class_path_that_leads_to_no_worker_class_says_so(amqp, class_path, text):
    with Fleet() as fleet:
        fleet.spawn(make_job(class_path=class_path, amqp=amqp))
        assert text in fleet.expect(jobs.Failed).error
        assert fleet.expect(jobs.Exited).code == 3


def test_a_killed_worker_is_reported_with_its_signal(fleet, amqp):
    fleet.spawn(make_job(amqp=amqp))
    pid = fleet.expect(jobs.Forked).pid
    fleet.kill("EchoWorker:0", pid, signal.SIGKILL)
    assert fleet.expect(jobs.Exited) == jobs.Exited("EchoWorker:0", pid, signal=9)
    assert gone(pid)


def test_a_pid_that_is_not_the_spawners_child_is_never_signalled(fleet, amqp):
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            fleet.kill("EchoWorker:0", stranger.pid, signal.SIGKILL)
            # Orders are obeyed in turn: after this one the other has had its effect.
            fleet.spawn(make_job(amqp=amqp))
            fleet.expect(jobs.Forked)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_term_that_comes_at_once_after_the_fork_is_not_lost(amqp):
    with Fleet() as fleet:
        for i in range(30):
            job = make_job(f"EchoWorker:{i}", amqp=amqp, row=i)
            fleet.spawn(job)
            fleet.kill(job.slot, fleet.expect(jobs.Forked).pid, signal.SIGTERM)
        for _ in range(30):
            exited = fleet.expect(jobs.Exited)
            assert exited.code == 0 or exited.signal == signal.SIGTERM


@pytest.mark.parametrize("stopped", [False, True])
def test_sigterm_ends_a_worker_that_waits_for_rabbitmq_even_where_it_is_stopped(fleet, amqp, stopped):
    fleet.spawn(make_job(amqp=amqp))
    pid = fleet.expect(jobs.Forked).pid
    wait_until(lambda: psutil.Process(pid).num_threads() > 1, "threads of the worker")
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    fleet.kill("EchoWorker:0", pid, signal.SIGTERM)
    assert fleet.expect(jobs.Exited) == jobs.Exited("EchoWorker:0", pid, code=0)
    assert not [event for event in fleet.seen if isinstance(event, jobs.Ready)]


def test_eight_workers_that_are_asked_for_together_are_forked(fleet, amqp):
    fleet.spawn(*(make_job(f"EchoWorker:{i}", amqp=amqp, row=i) for i in range(8)))
    pids = {fleet.expect(jobs.Forked).pid for _ in range(8)}
    wait_until(lambda: {r.pid for r in fleet.board.read()[:8]} == pids, "each worker in its own row")


def test_ctrl_c_and_a_term_for_everybody_end_neither_spawner_nor_workers_service(fleet, amqp):
    fleet.spawn(make_job(amqp=amqp))
    pid = fleet.expect(jobs.Forked).pid
    wait_until(lambda: psutil.Process(pid).num_threads() > 1, "threads of the worker")
    os.kill(fleet.spawner_pid, signal.SIGINT)
    os.kill(fleet.spawner_pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGHUP)
    fleet.kill("EchoWorker:0", pid, signal.SIGTERM)
    assert fleet.expect(jobs.Exited).code == 0
    assert len({os.getsid(p) for p in (fleet.process.pid, fleet.spawner_pid, os.getpid())}) == 3


def test_when_the_spawner_is_killed_its_workers_end_are_adopted_and_reported_and_another_takes_over(fleet, amqp):
    fleet.spawn(*(make_job(f"EchoWorker:{i}", amqp=amqp, row=i) for i in range(3)))
    pids = {fleet.expect(jobs.Forked).pid for _ in range(3)}
    os.kill(fleet.spawner_pid, signal.SIGKILL)
    assert fleet.expect(jobs.SpawnerDied).status == -9
    assert {fleet.expect(jobs.Exited) for _ in range(3)} == {
        jobs.Exited(slot, pid) for slot, pid in ((e.slot, e.pid) for e in fleet.seen if isinstance(e, jobs.Forked))
    }
    assert all(map(gone, pids))
    fleet.spawn(make_job("EchoWorker:3", amqp=amqp))
    assert fleet.expect(jobs.SpawnFailed).slot == "EchoWorker:3"
    fleet.start_spawner()
    fleet.spawn(make_job("EchoWorker:3", amqp=amqp))
    fleet.expect(jobs.Forked, slot="EchoWorker:3")


def test_a_stopped_worker_of_a_dead_spawner_can_still_be_killed(fleet, amqp):
    fleet.spawn(make_job(amqp=amqp))
    pid = fleet.expect(jobs.Forked).pid
    os.kill(pid, signal.SIGSTOP)
    os.kill(fleet.spawner_pid, signal.SIGKILL)
    fleet.expect(jobs.SpawnerDied)
    fleet.kill("EchoWorker:0", pid, signal.SIGKILL)
    assert fleet.expect(jobs.Exited) == jobs.Exited("EchoWorker:0", pid)


@pytest.mark.parametrize("ends", ["later", "before"])
def test_a_stuck_worker_of_a_dead_spawner_is_killed_when_its_time_is_up(fleet, amqp, tmp_path, ends):
    """Also where the master ends before that."""
    mark = tmp_path / "stuck"
    options = {"mark": str(mark)}
    fleet.spawn(make_job(class_path="stuck.Stuck", amqp=amqp, path=SITE, orphan_timeout_s=0.3, options=options))
    pid = fleet.expect(jobs.Forked).pid
    wait_until(mark.exists, "it to be stuck")
    os.kill(fleet.spawner_pid, signal.SIGKILL)
    fleet.expect(jobs.SpawnerDied)
    if ends == "before":
        fleet.channel.shutdown(socket.SHUT_WR)
        fleet.process.wait(DEADLINE_S)
        assert fleet.process.returncode == 0
    else:
        assert fleet.expect(jobs.Exited) == jobs.Exited("EchoWorker:0", pid)
    wait_until(lambda: not is_running(pid), "its end")


def test_when_the_master_is_killed_workers_and_spawner_are_gone_even_those_that_are_stopped(fleet, amqp):
    fleet.spawn(*(make_job(f"EchoWorker:{i}", amqp=amqp, row=i, orphan_timeout_s=1.0) for i in range(3)))
    pids = [fleet.expect(jobs.Forked).pid for _ in range(3)]
    wait_until(lambda: all(psutil.Process(pid).num_threads() > 1 for pid in pids), "threads of the workers")
    spawner = fleet.spawner_pid
    os.kill(pids[0], signal.SIGSTOP)
    start = time.monotonic()
    fleet.process.kill()
    fleet.process.wait()
    wait_until(lambda: not any(map(is_running, pids[1:])), "the end of the workers")
    wait_until(lambda: not is_running(pids[0]), "the end of the stopped worker")
    wait_until(lambda: not is_running(spawner), "the end of the spawner")
    assert time.monotonic() - start > 0.9  # the stopped one had its time


def states_of_threads(pid):
    return {(t / "stat").read_text().rpartition(")")[2].split()[0] for t in Path(f"/proc/{pid}/task").iterdir()}


def test_a_stopped_worker_drains_and_ends_also_where_nobody_is_left_to_kill_it(fleet, amqp):
    """The kernel wakes it: its process group has become an orphan."""
    fleet.spawn(make_job(amqp=amqp))
    pid = fleet.expect(jobs.Forked).pid
    wait_until(lambda: psutil.Process(pid).num_threads() > 1, "its threads")
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: states_of_threads(pid) == {"T"}, "all of it to be stopped")
    spawner = fleet.spawner_pid
    fleet.process.kill()
    os.kill(spawner, signal.SIGKILL)
    fleet.process.wait()
    wait_until(lambda: not is_running(pid), "its end")


def test_a_spawner_that_is_stopped_when_the_master_dies_ends_too(fleet):
    spawner = fleet.spawner_pid
    fleet.spawn(make_job(amqp=make_amqp(1), class_path="no_such_module.X"))
    fleet.expect(jobs.Exited)  # so it has long asked for the parent-death signal
    os.kill(spawner, signal.SIGSTOP)
    fleet.process.kill()
    fleet.process.wait()
    wait_until(lambda: not is_running(spawner), "the end of the spawner")


def test_what_a_worker_leaves_behind_is_reaped_by_the_master(amqp):
    with Fleet(gevent=True) as fleet:
        fleet.spawn(make_job("Parent:0", class_path="parent.Parent", amqp=amqp, path=SITE))
        fleet.expect(jobs.Exited)
        host = psutil.Process(fleet.process.pid)
        wait_until(lambda: [c.pid for c in host.children()] == [fleet.spawner_pid], "one child, and no zombie")


def test_closing_ends_the_spawner_and_lets_workers_drain(fleet, amqp):
    fleet.spawn(make_job(amqp=amqp))
    pid = fleet.expect(jobs.Forked).pid
    spawner = fleet.spawner_pid
    fleet.channel.shutdown(socket.SHUT_WR)
    assert fleet.expect(jobs.Exited).pid == pid
    fleet.process.wait(DEADLINE_S)
    assert fleet.process.returncode == 0
    assert gone(spawner)


def test_closing_ends_even_a_spawner_and_workers_that_are_stopped(fleet, amqp):
    fleet.spawn(make_job(amqp=amqp))
    pid = fleet.expect(jobs.Forked).pid
    spawner = fleet.spawner_pid
    for stopped in (spawner, pid):
        os.kill(stopped, signal.SIGSTOP)
    fleet.channel.shutdown(socket.SHUT_WR)
    fleet.process.wait(DEADLINE_S)
    wait_until(lambda: not is_running(pid), "the worker's end")
    assert not is_running(spawner)
