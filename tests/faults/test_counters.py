"""The counters that status shows add up, whoever dies."""

import os
import signal
import time

import pytest
from installation import until

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

WISHES = {3: "raise", 10: "never", 17: "twice"}
SAMPLE_S = 0.5  # of an Installation


def at_rest(richmond, load):
    """(messages, what the right side of the identity is larger by), when nothing is on its way."""
    load.rest(richmond)
    messages = richmond.wait("the last acknowledgements", lambda s: s.messages.waiting == 0).messages
    told = messages.answered + messages.unanswered + messages.dead_lettered + messages.refused
    return messages, told - messages.received


def test_every_message_is_counted_once_over_the_death_of_workers_and_of_the_master(loaded, load):
    load.wish = lambda number: WISHES.get(number % 40, "")
    richmond = loaded()
    messages, surplus = at_rest(richmond, load)
    lines = load.ledger.values()
    assert surplus == 0
    assert messages.received == len(lines)
    assert messages.unanswered == sum(line.wish == "never" for line in lines)
    assert messages.dead_lettered == sum(line.wish == "raise" for line in lines)
    assert messages.repeated == 0

    load.begin()
    for slot in richmond.status().classes[0].slots:
        os.kill(slot.pid, signal.SIGKILL)
    load.go_on(1000)
    messages, surplus = at_rest(richmond, load)
    assert messages.received == len(lines)
    assert 0 <= surplus <= messages.repeated <= sum(w.prefetch * w.max for w in richmond.settings.workers)

    load.begin()
    richmond.signal(signal.SIGTERM)
    assert richmond.wait_end() == 0
    richmond.start()
    load.go_on(1000)
    again, surplus_again = at_rest(richmond, load)
    assert again.received == len(lines)
    assert (surplus_again, again.repeated) == (surplus, messages.repeated)
    of_class = richmond.status().classes[0]
    assert (of_class.answered, of_class.dead_lettered) == (again.answered, again.dead_lettered)


def test_a_master_that_is_killed_forgets_no_more_than_its_last_sample(loaded, load):
    richmond = loaded()
    load.go_on(1000)
    since = time.monotonic()
    richmond.signal(signal.SIGKILL)
    richmond.wait_end()
    until("the workers to end", lambda: not richmond.processes())
    richmond.start()
    load.go_on(500)
    messages, surplus = at_rest(richmond, load)
    lines = load.ledger.values()
    recent = sum(-1 - SAMPLE_S < line.sent - since <= 0 for line in lines)  # a second for a machine that is busy
    assert len(lines) - recent <= messages.received <= len(lines)
    assert abs(surplus) <= recent
