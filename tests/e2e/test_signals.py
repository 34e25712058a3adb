"""Signals at awkward moments, several masters at once, and a master that is process 1 of a container."""

import os
import signal
import subprocess

import psutil
import pytest
from installation import until
from phones import Phones
from terminal import Terminal

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

# Begins, and handles, only when the files `begin` and `go` are there; notes what it has taken.
HELD = """
import pathlib, time
from richmond.workers.ussd import USSDWorker, SessionType

VERSION = 1

class Held(USSDWorker):
    def setup_worker(self):
        self.here = pathlib.Path(self.options["here"])
        self.wait("begin")

    def wait(self, name):
        while not (self.here / name).exists():
            time.sleep(0.01)

    def new_ussd_session(self, msisdn, message):
        (self.here / "taken").touch()
        self.wait("go")
        self.reply(msisdn, "here you are", SessionType.end)
"""
INI = "[worker:Held]\nclass = held.Held\nworkers = 1\n[[options]]\nhere = {here}\n"


@pytest.fixture
def held(install):
    richmond = install()
    richmond.workers = INI.format(here=richmond.directory)
    richmond.write()
    (richmond.site / "held.py").write_text(HELD)
    touch(richmond, "begin")
    return richmond


def touch(richmond, name):
    (richmond.directory / name).touch()


def is_there(richmond, name):
    return (richmond.directory / name).exists()


def change(richmond):
    """New code, which does not come up yet."""
    (richmond.directory / "begin").unlink()
    (richmond.site / "held.py").write_text(HELD.replace("VERSION = 1", "VERSION = 2"))


def rolling(snapshot):
    return any(slot.state in ("STARTING", "BACKOFF") for slot in snapshot.classes[0].slots)


@pytest.mark.parametrize("new_worker", ["hangs in its start", "crashes at its start"])
def test_sigterm_in_the_middle_of_a_reload_ends_both_generations(held, new_worker):
    held.start()
    call = held.launch("dial", "*120*1#")
    until("a message in hand", lambda: is_there(held, "taken"))
    change(held)
    if new_worker == "crashes at its start":
        (held.site / "held.py").write_text(HELD.replace('self.wait("begin")', "raise OSError('no')"))
    waiting = held.launch("reload", "--wait")
    held.wait("the new worker's start", rolling)
    held.signal(signal.SIGTERM)
    held.wait("the stop", lambda s: s.phase == "stopping")
    touch(held, "go")
    assert held.wait_end() == 0
    assert call.wait(30) == 0
    assert "here you are" in (held.directory / "dial.out").read_text()
    assert waiting.wait(30) == 1
    assert "richmond is stopping" in (held.directory / "reload.out").read_text()
    until("all to be gone", lambda: not held.processes())


def test_a_hangup_or_another_request_during_a_stop_changes_nothing_and_says_so(held):
    held.start()
    call = held.launch("dial", "*120*1#")
    until("a message in hand", lambda: is_there(held, "taken"))
    held.signal(signal.SIGTERM)
    held.wait("the stop", lambda s: s.phase == "stopping")
    change(held)
    held.signal(signal.SIGHUP)
    for asked in (("reload",), ("reload", "--dry-run"), ("scale", "Held", "2"), ("restart", "Held")):
        refused = held.run(*asked)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "richmond is stopping" in refused.stderr
    assert [slot.generation for slot in held.status().classes[0].slots] == [1]
    touch(held, "go")
    assert held.wait_end() == 0
    assert call.wait(30) == 0
    assert "here you are" in (held.directory / "dial.out").read_text()


def test_a_request_that_comes_when_only_the_links_are_left_to_end_is_refused(held, node):
    held.start()
    os.kill(node.pid, signal.SIGSTOP)
    try:
        held.signal(signal.SIGTERM)
        until("the workers to be gone", lambda: "Held:0 (pid" in held.log_text() and "-> STOPPED" in held.log_text())
        asked = held.launch("reload")
        stopping = held.launch("stop")
        until("both to be asked", lambda: connections(held) >= 2)
    finally:
        os.kill(node.pid, signal.SIGCONT)
    assert held.wait_end() == 0
    assert stopping.wait(30) == 0
    assert asked.wait(30) != 0


def connections(richmond):
    """Of clients to the control socket that the master has taken."""
    path = str(richmond.settings.richmond.socket)
    return (
        sum(
            c.laddr == path and c.status == "NONE" for c in psutil.Process(richmond.process.pid).net_connections("unix")
        )
        - 1
    )


def test_ctrl_c_is_for_the_master_only_and_a_second_one_ends_it_at_once(held):
    with Terminal(held.command("start"), held.directory, held.environ) as terminal:
        terminal.expect("richmond is up")
        call = held.launch("dial", "*120*1#")
        until("a message in hand", lambda: is_there(held, "taken"))
        (worker,) = [slot.pid for slot in held.status().classes[0].slots]
        terminal.type("\x03")
        terminal.expect("SIGINT: richmond stops")
        held.wait("the stop", lambda s: s.phase == "stopping")
        assert psutil.pid_exists(worker)  # it was not for the worker
        terminal.type("\x03")
        assert terminal.end() == 0
    assert "SIGINT: ending at once" in held.log_text()
    assert call.wait(60) != 0
    until("all to be gone", lambda: not held.processes())


def test_of_several_that_are_started_at_once_one_runs(install):
    richmond = install(workers="[worker:EchoWorker]\n")
    started = [richmond.launch("start") for _ in range(4)]
    ended = until("three of them to give up", lambda: len(e := [p for p in started if p.poll() is not None]) == 3 and e)
    assert {process.returncode for process in ended} == {1}
    (richmond.process,) = set(started) - set(ended)
    richmond.wait_up()
    assert (richmond.directory / "start.out").read_text().count(f"already runs with pid {richmond.process.pid}") == 3
    with Phones(richmond) as phones:
        phones.wait("a conversation", bool)


def can_be_process_one():
    return not subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode


UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
LITTER = """
import subprocess
from richmond.workers.ussd import EchoWorker

class Litter(EchoWorker):
    def new_ussd_session(self, msisdn, message):
        subprocess.run(["sh", "-c", "(sleep 0.1; exit 3) & (sleep 0.2) &"], check=True)
        super().new_ussd_session(msisdn, message)
"""


@pytest.mark.skipif(not can_be_process_one(), reason="unshare --pid is not allowed here: that takes root")
def test_as_process_1_it_ends_at_sigterm_and_reaps_whatever_becomes_its_child(install):
    richmond = install(workers="[worker:Litter]\nclass = litter.Litter\nworkers = 2\n")
    (richmond.site / "litter.py").write_text(LITTER)
    out = richmond.directory / "start.out"
    with out.open("w") as file:
        richmond.process = subprocess.Popen(
            [*UNSHARE, *richmond.command("start")], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            env=richmond.environ, cwd=richmond.directory, start_new_session=True,
        )  # fmt: skip
    assert richmond.wait_up().pid == 1
    (master,) = psutil.Process(richmond.process.pid).children()
    with Phones(richmond) as phones:
        phones.wait("conversations", bool, 100)
    # The master, its spawner and two workers; the shells' children came to it and have gone.
    until("no stranger to be left", lambda: len(master.children(recursive=True)) == 3)
    master.send_signal(signal.SIGHUP)
    until("the reload", lambda: "reloaded: nothing has changed" in richmond.log_text())
    (worker, *_) = [p for p in master.children(recursive=True) if "Litter:0" in p.cmdline()[0]]
    worker.kill()
    richmond.wait("another worker", lambda s: s.classes[0].slots[0].crashes == 1 and s.classes[0].running == 2)
    master.send_signal(signal.SIGTERM)
    assert richmond.wait_end() == 0
    until("all to be gone", lambda: not richmond.processes())
