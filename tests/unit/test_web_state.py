"""What of a Snapshot the dashboard is sent, and when."""

import msgspec
from test_snapshot import slot, snapshot, worker_class

from richmond import log
from richmond.web.state import parts, steady


def with_slot(**changed):
    return worker_class("Echo", msgspec.structs.replace(slot("Echo:0"), **changed))


def later(first, first_now, second, second_now):
    before, after = parts(first, first_now, log.mask), parts(second, second_now, log.mask)
    steady({}, before)
    steady(before, after)
    return {name for name in after if before.get(name) != after[name]} | (before.keys() - after.keys())


def test_time_that_passes_changes_nothing():
    one, two = snapshot(with_slot(uptime_s=10.0)), snapshot(with_slot(uptime_s=15.4))
    assert later(one, 1000.0, two, 1005.0) == set()


def test_only_the_part_that_has_changed_is_another_one():
    other = worker_class("Other")
    one, two = snapshot(with_slot(pid=1), other), snapshot(with_slot(pid=2), other)
    assert later(one, 1000.0, two, 1000.0) == {"class Echo"}
    assert later(one, 1000.0, snapshot(with_slot(pid=1)), 1000.0) == {"overview", "queues", "class Other"}


def test_a_new_process_in_a_slot_is_seen_by_its_since():
    one, two = snapshot(with_slot(uptime_s=60.0)), snapshot(with_slot(uptime_s=0.1))
    assert later(one, 1000.0, two, 1005.0) == {"class Echo"}


def test_a_number_in_an_exception_is_masked():
    found = parts(snapshot(with_slot(last_error="no menu for 27831112222")), 1000.0, log.mask)
    assert found["class Echo"]["slots"][0]["error"] == "no menu for 2783•••2222"
    assert "27831112222" not in msgspec.json.encode(found).decode()
