"""When a message would be answered, and when not: /readyz."""

import msgspec
import pytest
from test_snapshot import slot, snapshot, worker_class

from richmond.supervisor.status import Queue
from richmond.web.health import report, unready

ECHO = worker_class("Echo", slot("Echo:0"))
DEAD = worker_class("Echo", slot("Echo:0", "BACKOFF", "killed by SIGKILL"))


def without_consumers(found, consumers):
    queues = tuple(msgspec.structs.replace(queue, consumers=consumers) for queue in found.queues)
    return msgspec.structs.replace(found, queues=queues)


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        (snapshot(ECHO), []),
        (snapshot(ECHO, dead=7, log_lines_dropped=3, last_reload_error="line 3"), []),  # to be seen to, and it serves
        (snapshot(ECHO, phase="starting"), ["richmond is starting"]),
        (snapshot(ECHO, phase="stopping"), ["richmond is stopping"]),
        (snapshot(ECHO, links=("backoff", "up")), ["gateway 127.0.0.1:1 is backoff: nobody listens"]),
        (snapshot(ECHO, links=("off", "up")), []),
        (snapshot(DEAD), ["Echo: no worker is RUNNING: killed by SIGKILL"]),
        (snapshot(worker_class("Echo", slot("Echo:0", "STARTING"))), ["Echo: no worker is RUNNING"]),
        (snapshot(worker_class("Echo", target=0, least=0)), []),
        (snapshot(worker_class("Echo", target=0, least=1, pinned=True)), []),
        (snapshot(worker_class("Echo", target=0, least=1)), ["Echo: no worker is RUNNING"]),
        (snapshot(worker_class("Echo", target=1, least=0)), ["Echo: no worker is RUNNING"]),
        (without_consumers(snapshot(ECHO), 0), ["Echo: nobody consumes richmond.receive.Echo"]),
        (
            without_consumers(snapshot(ECHO), None),
            ["Echo: RabbitMQ does not say whether anybody consumes richmond.receive.Echo"],
        ),
    ],
)
def test_ready_means_that_a_message_would_be_answered_now(found, reasons):
    assert unready(found) == reasons
    assert report(reasons) == (503 if reasons else 200, {"status": "failing" if reasons else "ok", "reasons": reasons})


def test_every_class_is_judged_by_itself():
    fine, none = worker_class("Fine", slot("Fine:0")), worker_class("None", target=2)
    assert unready(snapshot(fine, none)) == ["None: no worker is RUNNING"]


def test_queues_of_a_class_are_found_by_name():
    found = snapshot(ECHO)
    other = Queue("richmond.other", "Echo", 0, 0, 0.0, 0.0, 0)
    assert unready(msgspec.structs.replace(found, queues=(other, *found.queues))) == []
