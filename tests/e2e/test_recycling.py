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


def test_one_that_leaks_to_the_soft_limit_is_replaced_and_to_the_hard_limit_killed(leaking):
    richmond = leaking("max-memory = 100M\nmax-memory-hard = 300M\n")
    with Phones(richmond, code="*120*0#") as phones:
        before = pids(richmond)
        assert "from" in richmond.run("dial", "*120*100#").stdout
        soft = richmond.wait("a successor", lambda s: s.classes[0].recycled == 1 and settled(s)).classes[0]
        assert "MB of memory (max-memory = 100M)" in soft.last_recycled
        assert len(pids(richmond) & before) == 1

        # It is looked at in less than its task-timeout, while the message is in hand or not.
        richmond.run("dial", "*120*400#", "--timeout", "5")
        hard = richmond.wait("another successor", lambda s: s.classes[0].recycled >= 2 and settled(s)).classes[0]
        assert [slot.crashes for slot in hard.slots] == [0, 0]
        until("the kill to be told", lambda: "RUNNING -> STOPPING: 4" in richmond.log_text())
        assert "(max-memory-hard = 300M)" in richmond.log_text()
        phones.wait("a conversation", bool)


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
