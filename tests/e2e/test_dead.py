"""`richmond dead`, from the letter that a broken class leaves to the day when it is gone."""

from __future__ import annotations

import json
import re
import signal
from datetime import UTC, datetime, timedelta

import pika
import pytest
from installation import until
from rabbit import Rabbit
from terminal import Terminal

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]

WAITER = """
[worker:Waiter]
class = waiter.Waiter
workers = 1
max = 1
"""
BROKEN = """
from richmond.workers.ussd import USSDWorker

class Waiter(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        raise KeyError(f"no table for {msisdn}, who said {message}")
"""
MENDED = """
import pathlib
from richmond.workers.ussd import USSDWorker

class Waiter(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        with (pathlib.Path(__file__).parent / "served").open("a") as file:
            file.write(f"{msisdn} {message}\\n")
"""


@pytest.fixture
def idle(install):
    """An installation that does not run; its RabbitMQ does, with a dead-letter queue and a receive queue."""
    installation = install()
    with Rabbit(installation) as rabbit:
        installation.rabbit = rabbit
        for queue in (rabbit.amqp.dead_queue, rabbit.amqp.receive_queue):
            rabbit.channel.queue_declare(queue, durable=True)
        yield installation


def bury(installation, count=1, age=timedelta(0), body=None, **headers):
    """Dead letters, numbered; `headers` without their x-richmond-, _ for -."""
    rabbit = installation.rabbit
    values = {
        "reason": "handler-failed",
        "worker": "EchoWorker",
        "queue": rabbit.amqp.receive_queue,
        "time": (datetime.now(UTC) - age).isoformat(timespec="milliseconds"),
        **headers,
    }
    for n in range(count):
        message = body or {"msisdn": "27831112222", "message": f"text {n}", "ussd_type": "1", "kind": "ussd"}
        properties = pika.BasicProperties(headers={f"x-richmond-{k}": v for k, v in values.items()})
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        rabbit.channel.basic_publish("", rabbit.amqp.dead_queue, data, properties)


def depth(installation, queue):
    return installation.rabbit.channel.queue_declare(queue, passive=True).method.message_count


def letters(installation, *args):
    done = installation.run("dead", "list", "--json", *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def says(installation, *args, code=0):
    """Standard output and standard error of `richmond dead ARGS`."""
    done = installation.run("dead", *args)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_a_letter_is_listed_shown_and_after_the_class_was_mended_handled_once_more(install):
    richmond = install(workers=WAITER)
    (richmond.site / "waiter.py").write_text(BROKEN)
    richmond.start()
    richmond.run("dial", "*120*77#", "--msisdn", "27830004711")
    out, _ = says(richmond, "list")
    id = re.search(r"^([0-9a-f]{10}) ", out, re.MULTILINE)[1]
    row = next(line for line in out.splitlines() if line.startswith(id))
    for word in ("handler-failed", "Waiter", "ussd", "2783•••4711", "KeyError"):
        assert word in row
    assert re.search(r"^ +1  handler-failed$", out, re.MULTILINE)
    shown, _ = says(richmond, "show", id[:6])
    assert re.search(r"worker +Waiter:0\n", shown)
    assert re.search(r"attempts +1\n", shown)
    assert "message     (8 characters)\n" in shown
    for text in (out, shown):
        assert "27830004711" not in text
        assert "*120*77#" not in text
    assert "27830004711, who said *120*77#" in says(richmond, "show", id, "--reveal")[0]

    (richmond.site / "waiter.py").write_text(MENDED)
    richmond.run("reload")
    richmond.wait("the mended class", lambda s: s.classes[0].slots[0].generation == 2 and s.classes[0].running == 1)
    assert says(richmond, "retry", id[:6]) == ("1 dead letter retried\n", "")
    served = richmond.site / "served"
    assert until("the message to be handled", lambda: served.exists() and served.read_text()) == (
        "27830004711 *120*77#\n"
    )
    assert says(richmond, "list") == ("no dead letters\n", "")
    add_up = "the message to be counted once, and as dead no more"
    richmond.wait(add_up, lambda s: s.messages.dead_lettered == 0 and s.messages.waiting == 0)
    counted = richmond.status().messages
    assert counted.received == counted.answered + counted.unanswered + counted.dead_lettered + counted.refused


def test_list_says_why_counts_reasons_and_hides_numbers_and_texts(idle):
    bury(idle, 3, exception="ValueError: what is text 2 of 27831112222?")
    bury(idle, 1, reason="session-over", worker="Other", age=timedelta(hours=3), queue="richmond.send")
    bury(idle, 1, reason="invalid-json", body=b"not json, a secret", exception="MessageError: not json")
    out, err = says(idle, "list")
    lines = out.splitlines()
    assert lines[0].split() == ["id", "age", "reason", "worker", "kind", "number", "attempts", "exception"]
    assert len(lines) == 1 + 5 + 1 + 4
    assert [line.split() for line in lines[-3:]] == [["3", "handler-failed"], ["1", "session-over"],
                                                      ["1", "invalid-json"]]  # fmt: skip
    assert "ValueError: what is ••• 2 of 2783•••2222?" in lines[1]
    assert "3 h 0 min" in lines[4]
    assert "secret" not in out
    assert "27831112222" not in out
    assert err == ""
    assert "\x1b" not in out


def test_filters_are_the_same_for_list_and_for_settling(idle):
    bury(idle, 2)
    bury(idle, 3, reason="session-over", worker="Other", age=timedelta(hours=3))
    for args, count in {
        ("--reason", "session-over"): 3,
        ("--worker", "EchoWorker"): 2,
        ("--older-than", "2h"): 3,
        ("--newer-than", "10m"): 2,
        ("--older-than", "2h", "--worker", "EchoWorker"): 0,
    }.items():
        assert len(letters(idle, *args)) == count, args
    assert says(idle, "list", "--reason", "nothing") == ("none of the 5 dead letters matches\n", "")
    assert says(idle, "drop", "--all", "--worker", "Other", "--newer-than", "1h") == ("0 dead letters dropped\n", "")
    assert says(idle, "drop", "--all", "--worker", "Other") == ("3 dead letters dropped\n", "")
    assert says(idle, "retry", "--all", "--reason", "handler-failed") == ("2 dead letters retried\n", "")
    assert (depth(idle, idle.rabbit.amqp.dead_queue), depth(idle, idle.rabbit.amqp.receive_queue)) == (0, 2)


def test_json_has_every_fact_and_hides_the_same(idle):
    bury(idle, 1, age=timedelta(hours=1), attempts=3, slot="EchoWorker:1", exception="E: text")
    (letter,) = letters(idle)
    age, id = letter.pop("age_s"), letter.pop("id")
    assert 3600 <= age < 3600 + 120
    when = datetime.fromisoformat(letter.pop("time"))
    assert when.tzinfo is not None
    assert letter == {
        "reason": "handler-failed",
        "worker": "EchoWorker",
        "slot": "EchoWorker:1",
        "queue": idle.rabbit.amqp.receive_queue,
        "attempts": 3,
        "exception": "E: •••",
        "kind": "ussd",
        "msisdn": "2783•••2222",
        "bytes": 80,
        "message": {"msisdn": "2783•••2222", "message": "(6 characters)", "ussd_type": "1", "kind": "ussd"},
    }
    shown = json.loads(says(idle, "show", id, "--json", "--reveal")[0])
    assert shown["message"]["message"] == "text 0"
    assert shown["msisdn"] == "27831112222"
    assert letters(idle, "--reason", "other") == []


def test_log_messages_reveals_too(install):
    richmond = install(richmond="log-messages = yes\n")
    with Rabbit(richmond) as richmond.rabbit:
        richmond.rabbit.channel.queue_declare(richmond.rabbit.amqp.dead_queue, durable=True)
        bury(richmond)
        assert letters(richmond)[0]["message"]["message"] == "text 0"


def test_a_long_list_is_cut_and_says_so(idle):
    bury(idle, 105)
    out, err = says(idle, "list")
    assert len(re.findall("^[0-9a-f]{10} ", out, re.MULTILINE)) == 100
    assert re.search(r"^ +105  handler-failed$", out, re.MULTILINE)
    assert err == "5 more match; see them with --limit 105\n"
    assert len(letters(idle, "--limit", "105")) == 105


def test_what_was_asked_for_wrongly_changes_nothing(idle):
    bury(idle, 20)
    ids = [letter["id"] for letter in letters(idle)]
    digit, several = next((d, n) for d in "0123456789abcdef" if (n := sum(i[0] == d for i in ids)) > 1)
    unknown = next(f"{n:010x}" for n in range(100) if not any(i.startswith(f"{n:010x}") for i in ids))
    for args, text in [
        (("retry", unknown), f"no dead letter {unknown} in "),
        (("show", unknown), f"no dead letter {unknown} in "),
        (("drop", ids[0], unknown), f"no dead letter {unknown} in "),
        (("drop", digit), f"{digit} is the beginning of {several} dead letters' IDs"),
        (("drop", "../x"), "is no dead letter's ID"),
        (("drop",), "give the IDs that richmond dead list shows, or --all"),
        (("retry", ids[0], "--all"), "give the IDs"),
        (("drop", ids[0], "--reason", "x"), "filters go with --all"),
        (("purge",), "say how old"),
        (("purge", "--older-than", "7d"), "add --yes"),
        (("purge", "--older-than", "a week"), "'a week' is no age"),
    ]:
        assert text in says(idle, *args, code=2)[1], args
    candidates = says(idle, "drop", digit, code=2)[1]
    assert all(id in candidates for id in ids if id[0] == digit)
    assert [letter["id"] for letter in letters(idle)] == ids


def test_some_are_dropped_by_their_ids_and_the_others_keep_their_places(idle):
    bury(idle, 5)
    ids = [letter["id"] for letter in letters(idle)]
    assert says(idle, "drop", ids[3], ids[1]) == ("2 dead letters dropped\n", "")
    assert [letter["id"] for letter in letters(idle)] == [ids[0], ids[2], ids[4]]


def test_a_letter_that_has_nowhere_to_go_stays_until_somebody_says_where(idle):
    bury(idle, 1, queue="richmond.receive.Gone")
    bury(idle, 1, reason="no-route", queue="")
    gone, none = (letter["id"] for letter in letters(idle))
    out, err = says(idle, "retry", "--all", code=1)
    assert out == "0 dead letters retried\n"
    assert err.splitlines() == [
        f"{gone} stays: queue richmond.receive.Gone does not exist any more",
        f"{none} stays: it does not say which queue it came from; give one with --to QUEUE",
    ]
    there = idle.rabbit.amqp.receive_queue
    assert says(idle, "retry", gone, none, "--to", there) == ("2 dead letters retried\n", "")
    assert (depth(idle, there), len(letters(idle))) == (2, 0)


def test_purge_drops_the_old_ones_after_asking(idle):
    bury(idle, 2, age=timedelta(days=8))
    bury(idle, 1)
    command = idle.command("dead", "purge", "--older-than", "7d")
    with Terminal(command, idle.directory, idle.environ) as terminal:
        terminal.expect("Delete 2 dead letters? [y/N]")
        assert len(letters(idle)) == 3, "nothing is held while it asks"
        terminal.type("n\n")
        assert terminal.end() == 1
    with Terminal(command, idle.directory, idle.environ) as terminal:
        terminal.expect("[y/N]")
        terminal.type("y\n")
        terminal.expect("2 dead letters dropped")
        assert terminal.end() == 0
    assert len(letters(idle)) == 1
    assert says(idle, "purge", "--older-than", "7d", "--yes") == ("0 dead letters dropped\n", "")


def test_on_a_terminal_an_exception_has_a_line_of_its_own_and_nothing_drives_it(idle):
    bury(idle, 1, reason="od\x1b[31md", exception="RuntimeError: " + "a long story " * 5)
    with Terminal(idle.command("dead", "list"), idle.directory, idle.environ, columns=80) as terminal:
        assert terminal.end() == 0
        assert "od\\x1b[31md" in terminal.text
        assert "\n  exception: RuntimeError: a long story" in terminal.text
        assert max(map(len, terminal.text.splitlines()[:2])) <= 80


def test_ctrl_c_finishes_the_letter_in_hand_and_leaves_the_others(idle):
    bury(idle, 3000)
    there = idle.rabbit.amqp.receive_queue
    process = idle.launch("dead", "retry", "--all")
    until("the first ones to be retried", lambda: depth(idle, there) > 20)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "interrupted: the others are still there" in idle.output()
    bodies = [idle.rabbit.take(queue)[1] for queue in (idle.rabbit.amqp.dead_queue, there)
              for _ in range(depth(idle, queue))]  # fmt: skip
    assert len(bodies) == len(set(bodies)) == 3000
    retried = int(re.search(r"(\d+) dead letters retried", idle.output())[1])
    assert bodies[3000 - retried :] == [
        json.dumps({"msisdn": "27831112222", "message": f"text {n}", "ussd_type": "1", "kind": "ussd"}).encode()
        for n in range(retried)
    ]


def test_two_at_the_same_time_lose_and_double_nothing(idle):
    bury(idle, 1200)
    there = idle.rabbit.amqp.receive_queue
    first, second = (idle.launch("dead", "retry", "--all") for _ in range(2))
    assert (first.wait(60), second.wait(60)) == (0, 0)
    assert sorted(map(int, re.findall(r"(\d+) dead letters? retried", idle.output()))) == [0, 1200]
    bodies = [idle.rabbit.take(there)[1] for _ in range(depth(idle, there))]
    assert len(bodies) == len(set(bodies)) == 1200
    assert letters(idle) == []


def test_the_ini_may_come_before_or_after_the_verb(idle):
    (idle.directory / "other.ini").write_text("[nonsense]\n")
    for args in (("-c", str(idle.ini), "list"), ("-c", "other.ini", "list", "-c", str(idle.ini))):
        command = [*idle.command("dead")[:-2], *args]
        with Terminal(command, idle.directory, idle.environ) as terminal:
            assert terminal.end() == 0
            assert terminal.text == "no dead letters\n"


def test_without_rabbitmq_it_says_so_in_one_line(install):
    away = install(node=None, amqp="host = 127.0.0.1\nport = 1\n")
    away.node = "none of ours to stop"
    _, err = says(away, "list", code=1)
    away.node = None
    assert err == "richmond: nobody listens on 127.0.0.1:1: is RabbitMQ running?\n"
    private = install(node=None)
    _, err = says(private, "retry", "--all", code=3)
    assert len(err.splitlines()) == 1
    assert "has a private node, which runs while richmond start does" in err


def test_a_private_node_is_found_with_a_master_and_without(install):
    richmond = install(node=None, workers=WAITER)
    (richmond.site / "waiter.py").write_text(BROKEN)
    richmond.start()
    richmond.run("dial", "*120*77#")
    (running,) = letters(richmond)
    assert richmond.run("stop", "--keep-node").returncode == 0
    richmond.wait_end()
    (alone,) = letters(richmond)
    assert alone["id"] == running["id"]
    assert says(richmond, "drop", alone["id"]) == ("1 dead letter dropped\n", "")
    assert says(richmond, "list") == ("no dead letters\n", "")


@pytest.mark.parametrize("verb", ["list", "show", "retry", "drop", "purge"])
def test_every_verb_has_help_with_an_example(install, verb):
    out, _ = says(install(node=None), verb, "--help")
    assert f"richmond dead {verb}" in out.split("Options:")[0].split("\n\n", 1)[1]
