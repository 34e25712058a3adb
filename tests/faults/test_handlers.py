"""Handlers and messages that behave badly under load."""

import os
import signal
import time

import pytest
from installation import settled
from load import SITE

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

WISHES = {3: "raise", 10: "never", 17: "twice", 24: "gone"}


def test_handlers_that_raise_hang_answer_twice_or_never_and_subscribers_who_are_gone(loaded, load, audit):
    load.wish = lambda number: "hang" if number % 500 == 1 else WISHES.get(number % 40, "")
    richmond = loaded()
    since = time.monotonic()
    load.go_on(1500)
    wished = {wish: {n for n, line in load.ledger.items() if line.wish == wish} for wish in [*WISHES.values(), "hang"]}
    twice = len(wished["twice"])
    ledger = audit("handlers raise, hang, answer twice or never", richmond, since, 0, asked_for=twice)
    lines = ledger.lines
    assert all(lines[n].apologies == 1 and ledger.dead[n] == ["handler-failed"] for n in wished["raise"])
    assert not any(lines[n].answers or lines[n].apologies or n in ledger.dead for n in wished["never"])
    assert all(lines[n].answers == 0 and ledger.dead[n] == ["session-over"] for n in wished["gone"])
    assert all(lines[n].answers == 1 for n in wished["hang"])
    assert all(wished.values())


def test_a_poison_message(loaded, load, audit):
    richmond = loaded()
    since = time.monotonic()
    poison = len(load.ledger) + 100
    load.wish = lambda number: "kill" if number == poison else ""
    load.go_on(1500)
    prefetch = richmond.settings.workers[0].prefetch
    ledger = audit("a poison message", richmond, since, 2 * prefetch)  # it kills two workers
    assert (ledger.lines[poison].apologies, ledger.dead[poison]) == (1, ["poison"])
    richmond.wait_up()


def test_a_storm_of_reloads_with_changing_code(loaded, load, audit):
    richmond = loaded()
    before = {slot.pid for slot in richmond.status().classes[0].slots}
    since = time.monotonic()
    for n in range(100):
        (richmond.site / "answerer.py").write_text(f"{SITE}\nVERSION = {n}\n")
        richmond.signal(signal.SIGHUP)
        time.sleep(0.01)  # it is a storm because of its pace
    load.go_on(1500)
    after = richmond.wait("new workers", lambda s: settled(s) and not before & {x.pid for x in s.classes[0].slots})
    generations = {slot.generation for slot in after.classes[0].slots}
    assert len(generations) == 1
    audit("100 SIGHUPs in a second, each with new code", richmond, since, 0)
    assert all(not os.path.exists(f"/proc/{pid}") for pid in before)  # noqa: PTH110
