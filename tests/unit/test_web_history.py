"""The last hour, row by row."""

from richmond.durations import Histogram
from richmond.supervisor.events import happened
from richmond.web.history import KEPT, History, Reading, Row


def test_a_row_has_the_rates_between_two_readings_and_what_there_is_now():
    history, waited = History(), Histogram()
    assert history.add(Reading(100.0, 10, 5, waited.read().counts, {"Echo": 3}, {"Echo": 1})) is None
    for _ in range(100):
        waited.add(0.004)
    row = history.add(Reading(105.0, 60, 30, waited.read().counts, {"Echo": None}, {"Echo": 2}))
    assert (row.at, row.into, row.out, row.ready, row.workers) == (105, 10.0, 5.0, {"Echo": None}, {"Echo": 2})
    assert 0.003 < row.p50 < row.p99 <= 0.005
    assert list(history.rows) == [row]


def test_without_messages_there_is_no_waiting_time():
    history = History()
    history.add(Reading(100.0, 10, 5))
    assert history.add(Reading(105.0, 10, 5)) == Row(105, 0.0, 0.0, None, None, {}, {})


def test_counters_that_begin_anew_and_a_clock_that_goes_back_leave_a_gap():
    history = History()
    history.add(Reading(100.0, 10, 5))
    assert history.add(Reading(105.0, 0, 5)) == Row(105, None, 0.0, None, None, {}, {})
    assert history.add(Reading(90.0, 5, 5)) is None
    assert history.add(Reading(95.0, 10, 5)).into == 1.0


def test_it_is_an_hour_long():
    history = History()
    for n in range(KEPT + 10):
        history.add(Reading(5.0 * n, n, n))
    assert len(history.rows) == KEPT
    assert history.rows[-1].at - history.rows[0].at == 5 * (KEPT - 1)


def test_scaling_and_crashes_are_marked_and_plain_changes_of_a_slot_are_not():
    history = History(str.upper)
    history.on_event(happened("crash", "Echo:0 died", "warning", **{"class": "Echo"}))
    history.on_event(happened("slot", "Echo:0 runs"))
    assert [(m.kind, m.level, m.worker, m.text) for m in history.marks] == [("crash", "warning", "Echo", "ECHO:0 DIED")]
