"""RabbitMQ is restarted, killed, frozen and cut off under load; nothing is lost, and both sides come back."""

import contextlib
import os
import signal
import time

import pytest
from amqp_proxy import Proxy
from nodes import Through

FREEZE_S = float(os.environ.get("RICHMOND_TEST_FREEZE_S", "10"))

pytestmark = [pytest.mark.services, pytest.mark.timeout(300 + 5 * FREEZE_S)]


@pytest.mark.parametrize("end", ["stopped cleanly", "killed with -9"])
def test_restarted(loaded, load, audit, own_node, end):
    richmond = loaded(node=own_node)
    since = time.monotonic()
    if end == "killed with -9":
        own_node.kill()
    else:
        own_node.stop()
    richmond.wait("status to say so", lambda s: any("rabbitmq" in p for p in s.problems))
    down = load.in_flight
    own_node.start()
    back = time.monotonic()
    load.go_on(1000)
    audit(f"RabbitMQ {end}, started again", richmond, since, in_flight(richmond, down), back=back)
    richmond.wait("all to be well", lambda s: not s.problems)


@pytest.mark.parametrize("heartbeat_s", [2, 60])
def test_frozen(loaded, load, audit, own_node, heartbeat_s):
    richmond = loaded(node=own_node, amqp=f"heartbeat = {heartbeat_s}\n")
    pids = {slot.pid for slot in richmond.status().classes[0].slots}
    since = time.monotonic()
    own_node.signal(signal.SIGSTOP)
    try:
        until_thawed(since + FREEZE_S)
        frozen = load.in_flight
    finally:
        own_node.signal(signal.SIGCONT)
    back = time.monotonic()
    load.go_on(1000, 60 + 3 * FREEZE_S)  # they come after the backlog
    ledger = audit(
        f"RabbitMQ frozen, heartbeat {heartbeat_s} s", richmond, since, in_flight(richmond, frozen), back=back
    )
    richmond.wait("all to be well", lambda s: not s.problems)
    assert {slot.pid for slot in richmond.status().classes[0].slots} == pids
    if heartbeat_s * 2 > FREEZE_S:
        assert "rabbitmq-away" not in ledger.reasons
        assert not ledger.duplicates, "the connection survives: nobody had a reason to do anything again"


@pytest.fixture
def proxied(node):
    """The suite's node, behind a proxy."""
    with contextlib.closing(Proxy(node.port)) as proxy:
        yield Through(node, proxy)


def test_connections_are_reset_in_the_middle_of_a_frame(proxied, loaded, load, audit):
    """Again and again, after odd numbers of bytes, in both directions, for the broker and for the workers."""
    richmond = loaded(node=proxied)
    since, twice = time.monotonic(), 0
    for way, after in (("up", 30_001), ("down", 20_011), ("up", 1_009), ("down", 3)):
        twice += in_flight(richmond, load.in_flight)
        proxied.proxy.cut(way, after)
        load.go_on(500)
    audit("connections reset in mid-frame", richmond, since, twice)
    richmond.wait_up()


def in_flight(richmond, unanswered):
    """What may be answered twice: what the gateway waits for, and replies that RabbitMQ does not know to be sent."""
    workers = richmond.settings.workers
    return unanswered + richmond.settings.amqp.prefetch + sum(w.prefetch * w.max for w in workers)


def until_thawed(end):
    """The one thing here that is waited for is the time."""
    time.sleep(max(0.0, end - time.monotonic()))
