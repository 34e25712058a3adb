"""What `richmond top` shows, computed; its screen and keys are tested through a terminal."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from richmond.supervisor.status import Link, Queue, Slot, Snapshot, WorkerClass
from richmond.top_frame import KEPT, KEYS, SORTS, History, View, frame, sparkline


def slot(name, handled=0, pid=1, **facts):
    facts = {
        "state": "RUNNING",
        "uptime_s": 5.0,
        "cpu_percent": 1.0,
        "memory_bytes": 20 << 20,
        "last_error": "",
    } | facts
    return Slot(name=name, pid=pid, handled=handled, failed=0, generation=1, crashes=0, traceback="", **facts)


def worker_class(name="EchoWorker", slots=(), handled=0, **facts):
    running = sum(s.state == "RUNNING" for s in slots)
    facts = {"target": len(slots), "running": running, "min": 1, "max": 8, "pinned": False, "failed": 0} | facts
    return WorkerClass(
        name=name, class_path="", queue=f"q.{name}", codes=(), reason="", handled=handled, slots=tuple(slots), **facts
    )


def snapshot(*classes, depth=0, pid=7, out_rate=None, problems=()):
    return Snapshot(
        version="1", pid=pid, ini="r.ini", phase="running", started=time.time() - 60,
        links=(Link("gateway", "gw:1", "up", 0.0, ""),), classes=tuple(classes),
        queues=tuple(Queue(c.queue, c.name, depth, 0, None, out_rate, 1) for c in classes), counters={}, simulator="",
        private_node="", log_lines_dropped=0, last_reload_error="", problems=problems,
    )  # fmt: skip


def lines(view, history, width=120, height=40):
    console = Console(width=width, height=height, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(frame(view, history, width, height))
    return capture.get().splitlines()


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([], 3, "   "),
        ([0, 0], 3, " ▁▁"),
        ([1], 1, "█"),
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),
        ([0, None, 100], 3, "▁ █"),
        ([9, 9, 1, 2], 2, "▅█"),  # the last two only
        ([0, 1, 1000], 3, "▁▂█"),  # little is more than nothing
        ([1, 2], 0, ""),
    ],
)
def test_a_sparkline_goes_from_nothing_to_the_most(values, width, line):
    assert sparkline(values, width) == line


@given(st.lists(st.none() | st.floats(0, 1e9) | st.integers(0, 10**9)), st.integers(0, 50))
def test_any_sparkline_has_its_width(values, width):
    assert len(sparkline(values, width)) == width


def test_rates_come_from_two_looks_and_before_that_from_the_master():
    history = History()
    history.add(snapshot(worker_class(slots=[slot("EchoWorker:0", 10)], handled=100), out_rate=3.5), 50.0)
    assert history.rates == {"EchoWorker": 3.5}
    history.add(snapshot(worker_class(slots=[slot("EchoWorker:0", 14)], handled=108), depth=9), 52.0)
    assert history.rates == {"EchoWorker": 4.0, "EchoWorker:0": 2.0}
    assert [tuple(point) for point in history.points("EchoWorker")] == [(0, 3.5, 1), (9, 4.0, 1)]


def test_another_process_in_a_slot_counts_anew_and_another_master_forgets_all():
    history = History()
    history.add(snapshot(worker_class(slots=[slot("EchoWorker:0", 10)], handled=100)), 50.0)
    history.add(snapshot(worker_class(slots=[slot("EchoWorker:0", 1, pid=2)], handled=101)), 51.0)
    assert "EchoWorker:0" not in history.rates
    history.add(snapshot(worker_class(slots=[slot("EchoWorker:0", 1, pid=3)], handled=2), pid=8), 52.0)
    assert len(history.points("EchoWorker")) == 1
    assert "EchoWorker" not in history.rates


def test_only_the_last_minutes_are_kept():
    history = History()
    for second in range(KEPT + 50):
        history.add(snapshot(worker_class(), depth=second), float(second))
    assert [point.depth for point in history.points("EchoWorker")] == list(range(50, KEPT + 50))


def test_the_screen_has_classes_workers_and_what_is_wrong():
    history = History()
    shown = snapshot(
        worker_class(slots=[slot("EchoWorker:0"), slot("EchoWorker:1", state="BACKOFF", pid=None, last_error="boom")]),
        worker_class("Other", [slot("Other:0", cpu_percent=None, memory_bytes=None)], pinned=True, failed=3),
        depth=12, problems=("EchoWorker: 1 of 2 workers is BACKOFF: boom",),
    )  # fmt: skip
    history.add(shown, 1.0)
    text = lines(View(shown, selected="Other"), history)
    assert "pid 7, running, up 1 min  something is wrong" in text[0]
    assert text[1].startswith("gateway gw:1 up")
    assert "! EchoWorker: 1 of 2 workers is BACKOFF: boom" in text[2]
    assert [row.split()[:4] for row in text if " pin" in row] == [[">", "Other", "1/1", "pin"]]
    assert any(row.split()[:3] == ["EchoWorker", "1/2", "12"] for row in text)
    broken = next(row for row in text if row.startswith("EchoWorker:1"))
    assert broken.split() == ["EchoWorker:1", "BACKOFF", "-", "5", "s", "1.0", "%", "20", "MB", "-", "0", "boom"]
    assert next(row for row in text if row.startswith("Other:0")).split()[5:7] == ["-", "-"]
    assert text[-1] == KEYS


def test_silence_of_the_master_is_said_over_what_was_last_known():
    history = History()
    shown = snapshot(worker_class(slots=[slot("EchoWorker:0")]))
    text = lines(View(shown, trouble="no richmond answers"), history)
    assert "no news" in text[0]
    assert "! no richmond answers" in text[2]
    assert any("EchoWorker:0" in row for row in text)
    assert "no richmond answers" in lines(View(trouble="no richmond answers"), history)[0]


@pytest.mark.parametrize("sort", SORTS)
def test_workers_are_sorted(sort):
    slots = [
        slot("A:0", cpu_percent=1.0, memory_bytes=1 << 20, uptime_s=9.0),
        slot("A:1", cpu_percent=9.0, memory_bytes=2 << 20, uptime_s=1.0),
        slot("A:2", cpu_percent=None, memory_bytes=3 << 20, uptime_s=5.0),
    ]
    shown = snapshot(worker_class("A", slots))
    view = View(shown, sort=sort, rates={"A:0": 1.0, "A:2": 7.0})
    order = [row.split()[0] for row in lines(view, History()) if row.startswith("A:")]
    wanted = {"name": "012", "CPU": "102", "memory": "210", "rate": "201", "uptime": "120"}[sort]
    assert order == [f"A:{digit}" for digit in wanted]


def test_the_selection_moves_and_stays_within_the_classes():
    shown = snapshot(*(worker_class(name) for name in "ABC"))
    view = View(shown)
    assert view.chosen().name == "A"
    assert view.moved(-1).chosen().name == "A"
    assert view.moved(1).chosen().name == "B"
    assert view.moved(1).moved(1).moved(1).chosen().name == "C"
    assert View(snapshot(worker_class("A")), selected="gone").chosen().name == "A"
    assert View().moved(1).chosen() is None


@given(
    st.integers(20, 200), st.integers(12, 60), st.integers(0, 30), st.integers(0, 40), st.integers(0, 29),
    st.integers(0, 20),
)  # fmt: skip
@example(20, 12, 28, 36, 0, 0)
def test_it_fits_any_terminal_and_shows_the_selected_class(width, height, classes, workers, selected, problems):
    names = [f"Class{number}" for number in range(classes)]
    shown = snapshot(
        *(worker_class(name, [slot(f"{name}:{n}") for n in range(workers)]) for name in names),
        problems=("something is wrong " * 20,) * problems,
    )
    history = History()
    history.add(shown, 1.0)
    view = View(shown, selected=f"Class{selected}")
    text = lines(view, history, width, height)
    assert len(text) <= height
    assert all(len(row) <= width for row in text)
    if view.chosen() is not None and width > 40:
        assert any(row.startswith(f">  {view.chosen().name} ") for row in text)
