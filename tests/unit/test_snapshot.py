"""What a Snapshot makes of facts, and how it looks on terminals of several widths."""

import io
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from rich.console import Console

from richmond import cli_trace, view
from richmond.banner import banner
from richmond.supervisor import status
from richmond.supervisor.status import Journal, Link, Queue, Slot, Snapshot, Throttled, WorkerClass

WHY = "ModuleNotFoundError: No module named 'pizza_that_nobody_has' (exited with code 3)"


def slot(name, state="RUNNING", last_error="", traceback=""):
    return Slot(name, state, 4711, 7200.0, 1.5, 20 << 20, 12, 3, 1, 0, last_error, traceback)


def worker_class(name="EchoWorker", *slots, target=None, least=1, codes=(), **more):
    facts = {
        "name": name, "class_path": f"richmond.workers.ussd.{name}", "queue": f"richmond.receive.{name}",
        "codes": codes, "target": len(slots) if target is None else target, "min": least, "max": 8, "pinned": False,
        "running": sum(s.state == "RUNNING" for s in slots), "reason": "enough", "slots": slots,
        "last_recycled": "", "rolled_back": "", "rolled_back_traceback": "",
    }  # fmt: skip
    counters = {field.name: 0 for field in msgspec.structs.fields(WorkerClass) if field.type is int}
    return WorkerClass(**{**counters, **facts, **more})


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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dead": 3}, "dead letters in richmond.dead: 3; see richmond dead list"),
        ({"log_lines_dropped": 7}, "7 log lines could not be written"),
        ({"hook_events_dropped": 8}, "8 events have not reached their hooks"),
    ],
)
def test_what_is_over_is_warned_of_and_makes_nobody_ill(changes, words):
    found = snapshot(GOOD, **changes)
    assert words in found.warnings[0]
    assert status.healthy(found)


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


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"is_default": True}, "the rest"),
        ({"codes": ("*120*1#", "*120*2*")}, "*120*1#, *120*2*"),
        ({"keywords": ("WIN", "JOIN")}, "SMS WIN, JOIN"),
        ({"short_codes": ("31022",)}, "SMS to 31022"),
        ({"short_codes": ("31022",), "keywords": ("WIN",)}, "SMS WIN to 31022"),
        ({"sms": True}, "SMS"),
        ({"codes": ("*1#",), "keywords": ("WIN",), "sms": True}, "*1#; SMS WIN; other SMS"),
        ({"is_default": True, "accounts": ("second",)}, "the rest (account second)"),
    ],
)
def test_what_a_class_takes_is_said_in_a_few_words(keys, text):
    cls = worker_class("Pizza", slot("Pizza:0"), **keys)
    assert status.takes(cls) == text
    assert text in shown(snapshot(cls), 200)


def test_a_class_for_sms_that_does_not_run_keeps_them_waiting():
    (problem,) = snapshot(worker_class("Pizza", sms=True, target=1)).problems
    assert problem == "Pizza: no worker runs: its SMS wait in richmond.receive.Pizza"


def slow_link(**changes):
    gateway = Link("gateway second", "127.0.0.1:1", "up", 1.0, "", **changes)
    return (gateway, *snapshot(GOOD).links[1:])


def test_a_throttle_that_bites_is_shown_and_no_problem():
    found = msgspec.structs.replace(snapshot(GOOD), links=slow_link(throttled=(Throttled("sms", 12, 1.0, 0.5),)))
    found = status.judged(found)
    assert found.problems == ()
    assert "12 SMS wait: no more than 0.5 a second, since 1970" in shown(found, 200)
    assert status.from_dict(status.to_dict(found)) == found


def test_a_gateway_that_is_not_read_is_a_problem():
    links = slow_link(unread="20 messages wait in memory, and the journal takes nothing")
    found = status.judged(msgspec.structs.replace(snapshot(GOOD), links=links))
    (problem,) = found.problems
    assert problem.startswith("gateway second 127.0.0.1:1 is not read: 20 messages wait in memory, and the journal")


def test_sms_and_the_journal_are_shown_where_there_are_any():
    assert "SMS in" not in shown(snapshot(GOOD), 80)
    counters = {
        "sms": 12, "published:sms": 6, "published:premium-sms": 1, "dead-lettered": 2, "sms-waiting": 3, "sms-taken": 9,
        "sms-returned": 1, "sms-sent": 5, "sms-refused": 2, "sms-held": 1,
    }  # fmt: skip
    journal = Journal(1200, time.time() - 190, 7)
    found = status.counted(snapshot(GOOD, counters=counters, journal=journal, opt_outs=3), {})
    sms = found.sms
    assert sms.received == sms.published + sms.dead_lettered + sms.lost + sms.waiting == 12
    assert sms.taken == sms.sent + sms.refused + sms.to_send == 8
    text = shown(found, 80)
    assert "journal: 1200 messages wait for RabbitMQ, the oldest for 3 min; 7 in memory" in text
    assert "opt-outs: 3" in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_workers_get_adds_up_with_sms_among_it():
    counters = {"ussd": 10, "paged": 2, "ussd-refused": 1, "routed": 5}
    done = {"EchoWorker": {"answered": 6, "unanswered": 4, "dead_lettered": 2, "redelivered": 0}}
    m = status.counted(snapshot(GOOD, counters=counters), done).messages
    assert m.received == m.answered + m.unanswered + m.dead_lettered + m.refused + m.waiting == 15


@pytest.mark.parametrize(
    ("keys", "example"),
    [
        ({"is_default": True}, "dial -c x.ini '*120*663#'"),
        ({"codes": ("*120*663*",)}, "dial -c x.ini '*120*663*1#'"),
        ({"short_codes": ("31022",), "keywords": ("WIN",)}, "gateway sms -c x.ini 27831112222 'WIN' --to 31022"),
        ({"sms": True}, "gateway sms -c x.ini 27831112222 'Hello'"),
    ],
)
def test_the_banner_has_an_example_for_each_way_in(keys, example):
    found = snapshot(worker_class("Pizza", slot("Pizza:0"), **keys), simulator="127.0.0.1:1")
    settings = SimpleNamespace(richmond=SimpleNamespace(log=None), path=Path("x.ini"))
    text = banner(found, settings, "y.ini")
    assert example in text
    assert "the built-in simulator" in text


def test_a_trace_is_a_table_of_what_followed_the_first_hop():
    messages = [
        {"id": "a", "kind": "ussd", "received": 1000.0, "published": 1000.0015, "sent": 1000.25, "outcome": "sent"},
        {"id": "b", "kind": "sms", "replied": 2000.0},
    ]
    header, first, second = cli_trace.table(messages)
    assert header.split() == ["time", "kind", "received", "published", "delivered", "replied", "sent", "outcome"]
    assert first.endswith("+250.0 ms  sent")
    assert first.split()[2:] == ["ussd", "+0.0", "ms", "+1.5", "ms", "-", "-", "+250.0", "ms", "sent"]
    assert second.split()[2:] == ["sms", "-", "-", "-", "+0.0", "ms", "-"]


def test_a_management_api_that_does_not_answer_is_a_warning_and_no_illness():
    seen = snapshot(GOOD, management_problem="the management API at http://rabbit:15672 does not answer: refused")
    assert status.healthy(seen)
    assert "Richmond goes on without it" in " ".join(seen.warnings)
