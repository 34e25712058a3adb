"""A message that kills its workers does not take the class with it."""

import pytest
from rabbit import Rabbit

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

SITE = """
import os, signal
from richmond.workers.ussd import USSDWorker

class Fragile(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        if msisdn.endswith("666"):
            os.kill(os.getpid(), signal.SIGKILL)
        self.reply(msisdn, "fine")
"""
INI = """
[worker:Fragile]
class = fragile.Fragile
workers = 2
apology = sorry, not this one
"""


def test_a_message_that_kills_its_workers_is_dead_lettered_and_the_class_lives(install):
    richmond = install(workers=INI)
    (richmond.site / "fragile.py").write_text(SITE)
    richmond.start()
    poisoned = richmond.run("dial", "*120*1#", "--msisdn", "27830000666", "--timeout", "50", timeout_s=90)
    assert "sorry, not this one" in poisoned.stdout
    with Rabbit(richmond) as rabbit:
        headers, _ = rabbit.dead()
    assert (headers["x-richmond-reason"], headers["x-richmond-worker"]) == ("poison", "Fragile")
    richmond.wait("both workers to run", lambda s: s.classes[0].running == 2)
    assert "fine" in richmond.run("dial", "*120*1#").stdout
