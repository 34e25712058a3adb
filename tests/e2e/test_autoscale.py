"""The count of workers follows the queue, up and down to nothing and up again, and says why."""

import json
import re
import time
from functools import partial

import pytest
from installation import until
from phones import Phones
from rabbit import Rabbit

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
workers = 0
min = 0
max = 8
prefetch = 1
scale-down = 2
"""


def redelivered(richmond):
    """Messages that RabbitMQ gave to a worker for the second time, or more."""
    return richmond.status().messages.repeated


def test_a_class_grows_with_its_backlog_sleeps_when_it_is_idle_and_is_woken_by_a_message(install):
    richmond = install(workers=f"{INI}[worker:SMSEchoWorker]\nsms = yes\nworkers = 0\nmin = 0\nmax = 1\n")
    (richmond.site / "slow.py").write_text(SLOW)
    richmond.start()
    assert not richmond.status().classes[0].slots
    with Phones(richmond, count=30) as phones:
        richmond.wait("more workers", lambda s: s.classes[0].running >= 4)
        why = json.loads(richmond.run("scale", "--why", "--json", "SlowWorker").stdout)
        assert why["target"] >= 4
        assert (why["min"], why["max"], why["pin"]) == (0, 8, None)
        assert why["consumers"] >= 1
        said = richmond.run("scale", "SlowWorker", "--why").stdout
        assert re.match(r"SlowWorker: \d workers, because: \d+ waiting, .*/s, .* each: ", said), said
        assert "max-workers = 64" in said
        phones.wait("conversations with all of them", bool, 60)
    asleep = lambda s: s.classes[0].target == 0 and not s.classes[0].slots  # noqa: E731
    assert re.search(r"0 waiting, .*/s, .* each", richmond.wait("all to leave", asleep).classes[0].reason)
    assert not [s for s in richmond.status().queues if s.name == richmond.settings.amqp.dead_queue and s.ready]
    told = re.findall(r"SlowWorker: (\d+) -> (\d+) workers?: (.*)", richmond.log_text())
    assert told[0] == ("0", "1", "a message came")
    assert told[-1][1] == "0"
    assert max(int(to) for _, to, _ in told) >= 4
    assert redelivered(richmond) == 0
    assert richmond.run("dial", "*120*663#", "0").returncode == 0
    assert richmond.run("gateway", "sms", "27831112222", "hello").returncode == 0
    richmond.wait("the SMS", lambda s: next(c for c in s.classes if c.name == "SMSEchoWorker").handled)
    assert len(re.findall(r"SlowWorker: .*a message came", richmond.log_text())) == 2


def test_who_leaves_under_load_leaves_nothing_to_be_delivered_again(install):
    richmond = install().start()
    with Phones(richmond, count=30) as phones:
        for count in ("8", "2") * 4:
            phones.wait("replies", bool, 100)
            assert richmond.run("scale", "--wait", "EchoWorker", count).returncode == 0
        phones.wait("replies", bool, 100)
    until("all is acknowledged", lambda: richmond.status().messages.waiting == 0)
    messages = richmond.status().messages
    assert messages.repeated == 0
    assert messages.received == messages.answered + messages.unanswered


def test_two_hosts_share_a_load_without_more_workers_than_one_would_take(install):
    workers = INI.replace("workers = 0\nmin = 0", "workers = 1\nmin = 1")
    first = install(workers=workers)
    second = install(node=None, amqp=first.amqp, richmond="broker = no\n", workers=workers)
    for richmond in (first, second):
        (richmond.site / "slow.py").write_text(SLOW)

    def most(*hosts):
        """Targets together, while somebody publishes: the highest sum."""
        sums = []
        key = first.settings.workers[0].routing_key
        with Rabbit(first) as rabbit:
            for n in range(160):
                began = time.monotonic()
                rabbit.publish(key, {"msisdn": f"27831{n:06}", "ussd_type": "4", "ussd_phase": "2", "message": "x"})
                if n % 8 == 0:
                    sums.append(sum(host.status().classes[0].target for host in hosts))
                time.sleep(max(0.0, began + 0.05 - time.monotonic()))  # 20 a second: it is the load, nobody waits
            depth = partial(rabbit.channel.queue_declare, rabbit.amqp.receive_queue, passive=True)
            until("all are taken", lambda: depth().method.message_count == 0)
        return max(sums)

    first.start()
    alone = most(first)
    assert alone > 3
    first.wait("the others to leave", lambda s: len(s.classes[0].slots) == 1)
    second.start()
    together = most(first, second)
    assert 3 < together <= alone + 2
    assert all(host.status().classes[0].handled > 20 for host in (first, second))
    assert redelivered(first) == redelivered(second) == 0
