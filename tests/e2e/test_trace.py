"""`richmond trace`: where a subscriber's messages were, and when."""

from __future__ import annotations

import json

import pytest
from installation import until

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

ANN = "27831112222"
HOPS = ("received", "published", "delivered", "replied", "sent")


def traced(richmond, number):
    """So many messages, all of which have been answered."""

    def look():
        run = richmond.run("trace", ANN, "--json")
        assert run.returncode == 0, run.stderr
        found = json.loads(run.stdout)
        return found if sum(message.get("outcome") == "sent" for message in found) == number else None

    return until(f"{number} traced messages", look)


def test_every_hop_of_a_call_is_seen_in_order(install):
    richmond = install(richmond="trace = yes\n").start()
    assert richmond.run("dial", "*120*663#", "hello", "0", "--msisdn", ANN).returncode == 0
    found = traced(richmond, 3)
    for message in found:
        times = [message[hop] for hop in HOPS]
        # Published is when the master hears of it, which a quick worker may be ahead of.
        assert times[0] <= min(times)
        assert message["delivered"] <= message["replied"] <= message["sent"]
        assert message["kind"] == "ussd"
    assert found == sorted(found, key=lambda message: message["received"])
    table = richmond.run("trace", ANN).stdout.splitlines()
    assert table[0].split() == ["time", "kind", *HOPS, "outcome"]
    assert len(table) == 4
    assert all(line.endswith(" sent") for line in table[1:])
    assert "hello" not in json.dumps(found)
    assert richmond.run("trace", "2783x").returncode == 2
    assert richmond.run("trace", "27830000000").stdout.startswith("no message of this subscriber")


def test_it_is_switched_on_and_off_by_a_reload(install):
    richmond = install().start()
    off = richmond.run("trace", ANN)
    assert off.returncode == 2
    assert "set trace = yes in [richmond]" in off.stderr
    pids = {slot.pid for cls in richmond.status().classes for slot in cls.slots}
    richmond.sections["richmond"] = "trace = yes\n"
    richmond.write()
    assert richmond.run("reload").returncode == 0
    assert richmond.run("dial", "*120*663#", "0", "--msisdn", ANN).returncode == 0
    assert len(traced(richmond, 2)) == 2
    assert {slot.pid for cls in richmond.status().classes for slot in cls.slots} == pids
