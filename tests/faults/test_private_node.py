"""The private node dies under a running Richmond, which starts it again."""

import json
import os
import signal
import time

import pytest
from installation import until

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]


def record(richmond):
    return json.loads((richmond.settings.richmond.directory / "rabbitmq" / "node.json").read_text())


def kill(richmond):
    pid = record(richmond)["pid"]
    os.kill(pid, signal.SIGKILL)
    until("its end", lambda: pid not in richmond.processes())
    return pid


def test_a_private_node_that_is_killed_is_started_again_and_nothing_is_lost(loaded, load, audit):
    richmond = loaded(node=None)
    before, pids = record(richmond), {slot.pid for slot in richmond.status().classes[0].slots}
    since = time.monotonic()
    killed = kill(richmond)
    richmond.wait("status to say so", lambda s: "the private RabbitMQ node died; restarting it" in s.problems)
    down = load.in_flight
    richmond.wait("the node", lambda s: not s.problems)
    back = time.monotonic()
    load.go_on(1000)
    after = record(richmond)
    assert after["pid"] != killed
    assert [after[key] for key in ("port", "password")] == [before[key] for key in ("port", "password")]
    assert {slot.pid for slot in richmond.status().classes[0].slots} == pids
    amqp, workers = richmond.settings.amqp, richmond.settings.workers
    twice = down + amqp.prefetch + sum(w.prefetch * w.max for w in workers)
    audit("the private node killed with -9", richmond, since, twice, back=back)

    # One that cannot be started is tried again, and a stop does not wait for it.
    data = richmond.settings.richmond.directory / "rabbitmq" / "data"
    away = data.rename(data.with_name("away"))
    data.write_text("not a directory")
    kill(richmond)
    richmond.wait("the failure", lambda s: any("cannot be restarted" in p for p in s.problems))
    data.unlink()
    away.rename(data)
    richmond.wait("the node", lambda s: not s.problems)
    kill(richmond)
    assert richmond.run("stop").returncode == 0
    assert richmond.wait_end() == 0
    assert not richmond.processes()
