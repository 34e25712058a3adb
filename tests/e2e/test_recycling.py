"""Workers are replaced after so many messages, at an age, and when they have grown too big; nobody notices."""

import pytest
from installation import settled, until
from phones import Phones
from rabbit import Rabbit

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

# Grows by so many MB as the caller says.
LEAKING = """
import os
from richmond.workers.ussd import USSDWorker, SessionType

class Leaking(USSDWorker):
    kept = []

    def new_ussd_session(self, msisdn, message):
        self.kept.append(b"x" * (int(message.strip("*#").split("*")[1]) << 20))
        self.reply(msisdn, f"from {os.getpid()}", SessionType.existing)

    def existing_ussd_session(self, msisdn, message):
        self.reply(msisdn, message, SessionType.existing)
"""
INI = "[worker:Leaking]\nclass = leaking.Leaking\nworkers = 2\napology = sorry\nliveness-interval = 0.5\n"


@pytest.fixture
def leaking(install):
    def start(limits, **sections):
        richmond = install(workers=INI + limits, **sections)
        (richmond.site / "leaking.py").write_text(LEAKING)
        return richmond.start()

    return start


def pids(richmond):
    return {s.pid for c in richmond.status().classes for s in c.slots}


@pytest.mark.parametrize(
    ("limits", "why"), [("max-messages = 40", "messages handled (max-messages = 40)"), ("max-age = 3", "(max-age = 3)")]
)
@pytest.mark.parametrize("room", [64, 2], ids=["with room", "without room"])
def test_all_are_replaced_one_at_a_time_and_every_reply_comes(leaking, limits, why, room):
    richmond = leaking(limits, richmond=f"max-workers = {room}\n")
    before, serving = pids(richmond), []
    with Phones(richmond, code="*120*0#") as phones:

        def replaced(snapshot):
            serving.append(snapshot.classes[0].running)
            return settled(snapshot) and not before & {s.pid for s in snapshot.classes[0].slots}

        richmond.wait("other workers", replaced)
        phones.wait("conversations with them", bool)
    assert min(serving) >= (2 if room > 2 else 1)
    cls = richmond.status().classes[0]
    assert cls.recycled >= 2
    assert cls.last_recycled.endswith(why)
    assert [slot.crashes for slot in cls.slots] == [0, 0]
    assert "recycled, the last Leaking:" in richmond.run("status").stdout
    assert f"{why}\n" in richmond.log_text()


def test_one_that_leaks_to_the_soft_limit_is_replaced(leaking):
    richmond = leaking("max-memory = 100M\n")
    with Phones(richmond, code="*120*0#") as phones:
        before = pids(richmond)
        assert "from" in richmond.run("dial", "*120*100#").stdout
        soft = richmond.wait("a successor", lambda s: s.classes[0].recycled == 1 and settled(s)).classes[0]
        assert "MB of memory (max-memory = 100M)" in soft.last_recycled
        assert [slot.crashes for slot in soft.slots] == [0, 0]
        assert len(pids(richmond) & before) == 1
        phones.wait("a conversation", bool)


# Has 150 MB in hand until it is told to go on, then 450 MB.
GROWING = """
import time
from pathlib import Path
from richmond.workers.ussd import USSDWorker

class Growing(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        go_on = Path(__file__).with_name("go-on")
        if go_on.exists():
            self.reply(msisdn, "small today")
            return
        kept = [b"x" * (150 << 20)]
        while not go_on.exists():
            time.sleep(0.01)
        kept.append(b"x" * (300 << 20))
        time.sleep(60)
"""
BOTH = "max-memory = 100M\nmax-memory-hard = 300M\nliveness-interval = 0.5\nstop-timeout = 60\n"


def test_one_that_grows_to_the_hard_limit_while_it_drains_is_killed_and_its_message_is_answered(install):
    richmond = install(workers=f"[worker:Growing]\nclass = growing.Growing\napology = sorry\n{BOTH}")
    (richmond.site / "growing.py").write_text(GROWING)
    richmond.start()
    (old,) = pids(richmond)
    telephone = richmond.launch("dial", "*120*1#", "--timeout", "50")
    until("it to drain", lambda: f"(pid {old}) RUNNING -> STOPPING:" in richmond.log_text())
    (richmond.site / "go-on").touch()
    until("the kill to be told", lambda: "(max-memory-hard = 300M); it is killed" in richmond.log_text())
    assert telephone.wait(60) == 0
    assert "small today" in (richmond.directory / "dial.out").read_text()
    cls = richmond.wait("the successor", settled).classes[0]
    assert ([slot.crashes for slot in cls.slots], cls.recycled) == ([0], 1)


BOMB = """
import time
from richmond.workers.ussd import USSDWorker

class Bomb(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        kept = b"x" * (200 << 20)
        time.sleep(60)
"""


def test_a_message_that_fills_the_memory_every_time_is_dead_lettered(install):
    richmond = install(workers="[worker:Bomb]\nclass = bomb.Bomb\napology = sorry\nmax-memory-hard = 150M\n")
    (richmond.site / "bomb.py").write_text(BOMB)
    richmond.start()
    assert "sorry" in richmond.run("dial", "*120*1#", "--timeout", "50").stdout
    with Rabbit(richmond) as rabbit:
        headers, _ = rabbit.dead()
    assert headers["x-richmond-reason"] == "poison"
