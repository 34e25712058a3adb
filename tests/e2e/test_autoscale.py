"""The count of workers follows the queue, up and down, and says why."""

import re

import pytest
from phones import Phones

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

SLOW = """
import time
from richmond.workers.ussd import EchoWorker

class SlowWorker(EchoWorker):
    def consume(self, data):
        time.sleep(0.2)
        super().consume(data)
"""
INI = """
[worker:SlowWorker]
class = slow.SlowWorker
min = 1
max = 8
prefetch = 1
scale-down = 2
"""


def test_a_class_grows_with_its_backlog_and_shrinks_when_it_is_idle(install):
    richmond = install(workers=INI)
    (richmond.site / "slow.py").write_text(SLOW)
    richmond.start()
    first = richmond.status().classes[0].slots[0].pid
    with Phones(richmond, count=30) as phones:
        grown = richmond.wait("more workers", lambda s: s.classes[0].running >= 4).classes[0]
        assert re.search(r"\d+ waiting, .*/s, .* each: \d+ needed", grown.reason) or "enough" in grown.reason
        assert first in {s.pid for s in grown.slots}
        phones.wait("conversations with all of them", bool, 60)
    shrunk = richmond.wait("the workers to leave", lambda s: s.classes[0].running == len(s.classes[0].slots) == 1)
    assert re.search(r"0 waiting, .*: (1 were enough for 2 s|enough)", shrunk.classes[0].reason)
    assert shrunk.classes[0].slots[0].pid == first
    assert not [s for s in richmond.status().queues if s.name == richmond.settings.amqp.dead_queue and s.ready]
    told = re.findall(r"SlowWorker: (\d+) -> (\d+) workers: (.*)", richmond.log_text())
    assert int(told[0][1]) > 1 == int(told[-1][1])
    assert all(("needed" if int(to) > int(was) else "were enough for 2 s") in why for was, to, why in told)
