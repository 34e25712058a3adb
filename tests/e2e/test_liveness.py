"""Workers that live and make no progress: stopped, spinning, dead-locked. And those that only look like it."""

import os
import signal
import time

import psutil
import pytest
from installation import until
from phones import Phones
from rabbit import Rabbit

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

# Hangs as the caller says, once for each number, or always.
HANGING = """
import os, pathlib, re, signal, threading
from richmond.workers.ussd import USSDWorker, SessionType

class Hanging(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        how = message.strip("*#").split("*")[1]
        seen = pathlib.Path(self.options["here"]) / f"{msisdn}.seen"
        first = not seen.exists()
        with seen.open("a") as out:
            out.write(f"{os.getpid()}\\n")
        if how != "0" and (first or how == "9"):
            {"1": self.stop, "2": self.spin, "3": self.backtrack, "4": self.lock, "9": self.lock}[how]()
        self.reply(msisdn, f"from {os.getpid()}", SessionType.existing)

    def existing_ussd_session(self, msisdn, message):
        self.reply(msisdn, message, SessionType.existing)

    def stop(self):
        os.kill(os.getpid(), signal.SIGSTOP)

    def spin(self):
        while True:
            pass

    def backtrack(self):
        re.match(r"(a+)+$", "a" * 60 + "b")

    def lock(self):
        both_sides = threading.Lock()
        both_sides.acquire()
        both_sides.acquire()
"""
INI = """
[worker:Hanging]
class = hanging.Hanging
workers = 2
prefetch = 1
task-timeout = 1
liveness-interval = 0.3
apology = sorry
[[options]]
here = {here}
"""


@pytest.fixture
def hanging(install):
    richmond = install()
    richmond.workers = INI.format(here=richmond.directory)
    richmond.write()
    (richmond.site / "hanging.py").write_text(HANGING)
    return richmond.start()


def slots(richmond):
    return {s.name: s for c in richmond.status().classes for s in c.slots}


def seen(richmond, number):
    return [int(pid) for pid in (richmond.directory / f"{number}.seen").read_text().split()]


@pytest.mark.parametrize(
    ("code", "said", "stack"),
    [
        ("1", "stopped by a signal, with a message in hand", ""),
        ("2", "hung, with a message in hand", "in spin"),
        ("3", "hung, with a message in hand", "in backtrack"),  # holds the GIL: no signal handler of Python's runs
        ("4", "hung, with a message in hand", "in lock"),
    ],
    ids=["stopped", "spinning", "spinning in C", "dead-locked"],
)
def test_a_handler_that_makes_no_progress_costs_its_worker_and_its_subscriber_gets_the_reply(
    hanging, code, said, stack
):
    done = hanging.run("dial", f"*120*{code}#", "--msisdn", "27830000001", "--timeout", "50")
    first, second = seen(hanging, "27830000001")
    assert f"from {second}" in done.stdout
    hanging.wait_up()
    (slot,) = [s for s in slots(hanging).values() if s.crashes]
    assert (slot.crashes, slot.last_error.startswith(said)) == (1, True)
    assert f"{slot.name} (pid {first}) RUNNING: {said}" in hanging.log_text()
    printed = [line for line in hanging.log_text().splitlines() if f" {slot.name}  " in line and "hanging.py" in line]
    assert any(stack in line for line in printed) if stack else not printed
    assert not psutil.pid_exists(first)


def test_an_idle_worker_that_is_stopped_is_replaced_and_the_others_stay(hanging):
    before = {name: slot.pid for name, slot in slots(hanging).items()}
    os.kill(before["Hanging:0"], signal.SIGSTOP)
    hanging.wait("another one", lambda s: s.classes[0].slots[0].pid not in (None, before["Hanging:0"]))
    snapshot = hanging.wait_up()
    assert snapshot.classes[0].slots[1].pid == before["Hanging:1"]
    assert snapshot.classes[0].slots[0].last_error.startswith("stopped by a signal, with no turn of its loop for")


def test_a_message_whose_handler_always_hangs_is_dead_lettered(hanging):
    done = hanging.run("dial", "*120*9#", "--msisdn", "27830000009", "--timeout", "50")
    assert "sorry" in done.stdout
    assert len(seen(hanging, "27830000009")) == 2
    with Rabbit(hanging) as rabbit:
        headers, _ = rabbit.dead()
    assert headers["x-richmond-reason"] == "poison"


def test_nobody_is_killed_while_idle_or_because_the_master_was_stopped_with_all_the_others(hanging):
    before = {name: slot.pid for name, slot in slots(hanging).items()}
    processes = [psutil.Process(pid) for pid in before.values()]
    with Phones(hanging, code="*120*0#") as phones:
        phones.wait("a conversation", bool)
        for pid in (hanging.process.pid, *before.values()):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(4)  # time is the fault: longer than anybody may be silent
        for pid in (hanging.process.pid, *before.values()):
            os.kill(pid, signal.SIGCONT)
        until("the master to notice", lambda: "the master did not run for" in hanging.log_text())
        phones.wait("a conversation again", bool)
    turns = [process.num_ctx_switches().voluntary for process in processes]
    until(
        "each to have slept for longer than it may be silent",
        lambda: all(p.num_ctx_switches().voluntary > n + 15 for p, n in zip(processes, turns, strict=True)),
    )
    assert {name: slot.pid for name, slot in slots(hanging).items()} == before
    assert "no turn of its loop" not in hanging.log_text()
