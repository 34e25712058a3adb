"""Workers that die: in mid-message, all at once, at their import, at their start, again and again."""

import os
import signal

import pytest
from installation import until
from phones import Phones

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

HOLDING = """
import os, pathlib, time
from richmond.workers.ussd import EchoWorker, SessionType

class Holding(EchoWorker):
    def existing_ussd_session(self, msisdn, message):
        here = pathlib.Path(self.options["here"])
        with (here / "held").open("a") as held:
            held.write(f"{os.getpid()}\\n")
        while not (here / "go").exists():
            time.sleep(0.01)
        self.reply(msisdn, f"from {os.getpid()}", SessionType.end)
"""

NOT_IMPORTABLE = """
open("starts-Broken", "a").write("x")
import pizza_that_nobody_has_installed
"""

DYING = """
import os, threading
from richmond.workers.ussd import EchoWorker

class AtOnce(EchoWorker):
    def setup_worker(self):
        open("starts-AtOnce", "a").write("x")
        os._exit(7)

class WhenReady(EchoWorker):
    def setup_worker(self):
        open("starts-WhenReady", "a").write("x")
        threading.Timer(0.5, os._exit, [8]).start()
"""

CLASSES = """
[worker:EchoWorker]
workers = 2
[worker:Broken]
class = broken.Broken
codes = *120*1#
workers = 2
[worker:AtOnce]
class = dying.AtOnce
codes = *120*2#
workers = 2
[worker:WhenReady]
class = dying.WhenReady
codes = *120*3#
workers = 1
"""


def test_another_worker_takes_the_message_of_a_killed_one_and_the_subscriber_gets_the_reply(install):
    richmond = install(workers="[worker:Holding]\nclass = holding.Holding\nworkers = 2\n[[options]]\nhere = .\n")
    (richmond.site / "holding.py").write_text(HOLDING)
    richmond.start()
    held = richmond.directory / "held"

    def holders():
        return [int(pid) for pid in held.read_text().split()] if held.exists() else []

    call = richmond.launch("dial", "*120*663#", "hold")
    (first,) = until("a worker to hold the message", holders)
    killed = next(s for c in richmond.status().classes for s in c.slots if s.pid == first)
    os.kill(first, signal.SIGKILL)
    until("another one to have it", lambda: len(holders()) == 2)
    (richmond.directory / "go").touch()
    assert call.wait(30) == 0
    assert f"from {holders()[1]}" in (richmond.directory / "dial.out").read_text()

    snapshot = richmond.wait_up()
    slot = richmond.slot(killed.name)
    assert slot.pid != first
    assert (slot.last_error, slot.crashes) == ("killed by SIGKILL", 1)
    assert [s.pid for c in snapshot.classes for s in c.slots if s.name != killed.name] == [holders()[1]]
    table = richmond.run("status")
    assert table.returncode == 0
    assert "killed by SIGKILL" in table.stdout
    assert f"{killed.name} (pid {first}) RUNNING -> STARTING: killed by SIGKILL" in richmond.log_text()


@pytest.mark.parametrize("victims", ["workers", "spawner"])
def test_all_workers_are_replaced_and_no_reply_is_lost(install, victims):
    richmond = install(workers="[worker:EchoWorker]\nworkers = 4\n").start()
    with Phones(richmond) as phones:
        phones.wait("a conversation", bool)
        pids = {s.pid for c in richmond.status().classes for s in c.slots}
        spawner = [pid for pid, title in richmond.processes().items() if title.startswith("richmond: spawner")]
        for pid in pids if victims == "workers" else spawner:
            os.kill(pid, signal.SIGKILL)
        richmond.wait(
            "others in their places",
            lambda s: s.classes[0].running == 4 and not pids & {slot.pid for slot in s.classes[0].slots},
        )
        phones.wait("a conversation with the new ones", bool)
    until("the old ones to be gone", lambda: not pids & richmond.processes().keys())
    assert richmond.run("status").returncode == 0  # what was answered twice may lie in the dead-letter queue


def test_classes_that_cannot_live_become_fatal_and_the_others_go_on(install):
    richmond = install(workers=CLASSES)
    (richmond.site / "broken.py").write_text(NOT_IMPORTABLE)
    (richmond.site / "dying.py").write_text(DYING)
    richmond.start(wait=False)
    names = ("Broken", "AtOnce", "WhenReady")
    snapshot = richmond.wait(
        "all three to be FATAL",
        lambda s: (
            s.phase == "running"
            and all(slot.state == "FATAL" for c in s.classes if c.name in names for slot in c.slots)
        ),
    )
    starts = {name: len((richmond.directory / f"starts-{name}").read_text()) for name in names}
    assert starts["Broken"] == 2
    assert starts["AtOnce"] <= 10
    assert 2 <= starts["WhenReady"] <= 5
    richmond.wait("EchoWorker to run", lambda s: s.classes[0].running == 2)
    assert richmond.run("dial", "*120*663#", "0").returncode == 0

    slots = {c.name: c.slots[0] for c in snapshot.classes}
    assert "No module named 'pizza_that_nobody_has_installed'" in slots["Broken"].traceback
    assert slots["AtOnce"].last_error == "exited with code 7"
    assert slots["WhenReady"].last_error == "exited with code 8"
    table = richmond.run("status")
    assert table.returncode == 150
    assert 'broken.py", line 3, in <module>' in table.stdout
    assert "Broken: 2 of 2 workers are FATAL: ModuleNotFoundError" in table.stdout
    assert "BACKOFF" in richmond.log_text()

    for module, classes in {"broken": ["Broken"], "dying": ["AtOnce", "WhenReady"]}.items():
        mended = "".join(f"class {name}(EchoWorker):\n    pass\n" for name in classes)
        (richmond.site / f"{module}.py").write_text(f"from richmond.workers.ussd import EchoWorker\n{mended}")
    assert richmond.run("reload").returncode == 0
    richmond.wait_up()
    assert richmond.run("status").returncode == 0
