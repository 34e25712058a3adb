"""The master ends under load, by its will or not, and is started again."""

import signal
import time

import pytest
from installation import until

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

LAST_INSTANT_S = 1.0


def test_a_master_that_is_stopped_and_started_again_loses_nothing_and_repeats_nothing(loaded, load, audit):
    richmond = loaded()
    since = time.monotonic()
    richmond.signal(signal.SIGTERM)
    assert richmond.wait_end() == 0
    richmond.start()
    back = time.monotonic()
    load.go_on(1000)
    audit("the master stopped by SIGTERM, started again", richmond, since, 0, back=back)


def test_a_master_that_is_killed_loses_no_more_than_its_last_instant(loaded, load, audit):
    """What it had read and RabbitMQ had not confirmed, and what the socket held: nothing can bring that back."""
    richmond = loaded()
    since, in_flight = time.monotonic(), load.in_flight
    richmond.signal(signal.SIGKILL)
    richmond.wait_end()
    until("the workers to end", lambda: not richmond.processes())
    richmond.start()
    back = time.monotonic()
    load.go_on(1000)
    twice = in_flight + richmond.settings.amqp.prefetch
    ledger = audit("the master killed with -9, started again", richmond, since, twice, back=back, lost=load.rate)
    assert all(since - line.sent < LAST_INSTANT_S for line in ledger.lost)
