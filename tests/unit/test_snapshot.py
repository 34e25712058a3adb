"""What a Snapshot makes of facts, and how it looks on terminals of several widths."""

import io

import msgspec
import pytest
from rich.console import Console

from richmond import view
from richmond.supervisor import status
from richmond.supervisor.status import Link, Queue, Slot, Snapshot, WorkerClass

WHY = "ModuleNotFoundError: No module named 'pizza_that_nobody_has' (exited with code 3)"


def slot(name, state="RUNNING", last_error="", traceback=""):
    return Slot(name, state, 4711, 7200.0, 1.5, 20 << 20, 12, 3, 1, 0, last_error, traceback)


def worker_class(name="EchoWorker", *slots, target=None, least=1, codes=()):
    facts = {
        "name": name, "class_path": f"richmond.workers.ussd.{name}", "queue": f"richmond.receive.{name}",
        "codes": codes, "target": len(slots) if target is None else target, "min": least, "max": 8, "pinned": False,
        "running": sum(s.state == "RUNNING" for s in slots), "reason": "enough", "slots": slots,
        "last_recycled": "", "rolled_back": "", "rolled_back_traceback": "",
    }  # fmt: skip
    counters = {field.name: 0 for field in msgspec.structs.fields(WorkerClass)}
    return WorkerClass(**{**counters, **facts})


def snapshot(*classes, links=("up", "up"), ready=0, dead=0, **changes):
    facts = {
        "version": "1.0", "pid": 42, "ini": "/etc/richmond.ini", "phase": "running", "started": 1.0, "counters": {},
        "simulator": "", "private_node": "", "log_lines_dropped": 0, "last_reload_error": "", "classes": classes,
        "links": tuple(
            Link(name, "127.0.0.1:1", state, 1.0, "" if state == "up" else "nobody listens")
            for name, state in zip(("gateway", "rabbitmq"), links, strict=True)
        ),
        "queues": (
            *(Queue(c.queue, c.name, ready, 0, 0.5, 0.5, 1) for c in classes),
            Queue("richmond.dead", status.DEAD_LETTERS, dead, None, 0.0, None, 0),
        ),
    }  # fmt: skip
    return status.judged(Snapshot(**{**facts, **changes}))


GOOD = worker_class("EchoWorker", slot("EchoWorker:0"))
ILL = {
    "a link is down": (snapshot(GOOD, links=("backoff", "up")), "gateway 127.0.0.1:1 is backoff: nobody listens"),
    "rabbitmq is away": (snapshot(GOOD, links=("up", "down")), "rabbitmq 127.0.0.1:1 is down: nobody listens"),
    "rabbitmq hangs": (snapshot(GOOD, ready=None, dead=None), "does it hang?"),
    "a class is fatal": (
        snapshot(worker_class("Pizza", *(slot(f"Pizza:{n}", "FATAL", WHY) for n in range(2)), codes=("*120*1#",))),
        f"Pizza: 2 of 2 workers are FATAL: {WHY}",
    ),
    "nobody answers": (
        snapshot(worker_class("Pizza", slot("Pizza:0", "BACKOFF", "killed by SIGKILL"), codes=("*120*1#",))),
        "Pizza: no worker runs: who dials *120*1# gets no answer",
    ),
    "too few run": (
        snapshot(worker_class("Pizza", slot("Pizza:0"), slot("Pizza:1", "STARTING"), least=2)),
        "Pizza: only 1 of 2 workers run",
    ),
    "it starts": (
        snapshot(GOOD, links=("starting", "starting"), phase="starting the private RabbitMQ node"),
        "richmond is starting the private RabbitMQ node",
    ),
    "it stops": (snapshot(GOOD, phase="stopping"), "richmond is stopping"),
    "the ini is broken": (snapshot(GOOD, last_reload_error="line 3: oops"), "the ini was not taken over: line 3: oops"),
    "a reload was rolled back": (
        snapshot(
            msgspec.structs.replace(GOOD, rolled_back="its code has changed (a.py), and it does not come up: oops")
        ),
        "EchoWorker: its code has changed (a.py), and it does not come up: oops; rolled back, the old workers serve on",
    ),
    "the log is full": (snapshot(GOOD, log_lines_dropped=7), "7 log lines could not be written"),
}


@pytest.mark.parametrize("case", ILL)
def test_what_is_wrong_is_said_in_plain_words(case):
    found, words = ILL[case]
    assert any(words in problem for problem in found.problems), found.problems
    assert not status.healthy(found)


def test_while_it_starts_nothing_else_is_wrong_yet():
    found, _ = ILL["it starts"]
    assert len(found.problems) == 1


@pytest.mark.parametrize("found", [snapshot(GOOD), snapshot(GOOD, dead=3), snapshot(worker_class("Pinned", target=0))])
def test_dead_letters_and_a_class_pinned_to_none_do_not_make_it_ill(found):
    assert status.healthy(found)


def test_dead_letters_are_warned_of():
    assert "dead letters in richmond.dead: 3" in snapshot(GOOD, dead=3).warnings[0]


def test_a_snapshot_goes_through_json_unchanged():
    found = ILL["a class is fatal"][0]
    assert status.from_dict(status.to_dict(found)) == found


def shown(found, width):
    out = io.StringIO()
    view.show(found, Console(file=out, width=width))
    return out.getvalue()


BROKEN = worker_class(
    "Pizza", *(slot(f"Pizza:{n}", "FATAL", WHY, "\n".join(["Traceback", *"123456789", WHY])) for n in range(2))
)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_on_every_terminal_the_problems_are_whole_and_last(width):
    found = snapshot(GOOD, BROKEN, dead=1)
    lines = shown(found, width).rstrip().splitlines()
    assert "something is wrong, see below" in lines[0]
    assert lines[-3:] == [f"! {line}" for line in (*found.warnings, *found.problems)][-3:]
    assert "all is well" in shown(snapshot(GOOD), width)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_row_of_a_healthy_installation_is_wider_than_the_terminal(width):
    many = [worker_class(f"Worker{n}", slot(f"FooBarWorker:{n}"), codes=("*120*666#",)) for n in range(12)]
    assert max(map(len, shown(snapshot(*many), width).splitlines())) <= width


def test_a_note_is_a_column_where_there_is_room_and_a_line_of_its_own_where_there_is_not():
    found = snapshot(BROKEN)
    assert f"  last error: {WHY}\n" in shown(found, 80)
    row = next(line for line in shown(found, 200).splitlines() if line.startswith("Pizza:0 "))
    assert row.endswith(WHY)


def test_the_traceback_of_a_reload_that_was_rolled_back_is_shown():
    text = shown(snapshot(msgspec.structs.replace(GOOD, rolled_back_traceback=f"Traceback\n{WHY}")), 80)
    assert f"EchoWorker, rolled back, its last traceback:\nTraceback\n{WHY}\n" in text


def test_the_same_traceback_is_shown_once_and_only_its_end():
    text = shown(snapshot(BROKEN), 80)
    assert text.count("its last traceback") == 1
    assert "\nTraceback\n" not in text
    assert f"\n9\n{WHY}\n" in text
