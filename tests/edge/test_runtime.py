"""A worker process with real forks, signals and RabbitMQ; the queues are read and filled by pika."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import psutil
import pytest
from fleet import DEADLINE_S, Fleet, Queues, is_running, make_amqp, make_job, wait_until

from richmond.durations import NOTHING
from richmond.supervisor import jobs

HERE = Path(__file__).parent
SITE = HERE / "site_classes"
HELLO = "Hello, this is an echo service for testing. Reply with whatever. Reply '0' to end session."

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


@pytest.fixture
def amqp(node):
    return make_amqp(node.port, node.username, node.password, node.vhost)


@pytest.fixture
def queues(amqp):
    queues = Queues(amqp)
    yield queues
    queues.close()


@pytest.fixture
def fleet(queues):  # before its queues are deleted, the workers have gone
    with Fleet() as fleet:
        yield fleet


@pytest.fixture
def awkward(amqp, tmp_path):
    """Makes jobs for AwkwardWorker."""

    def make(slot="AwkwardWorker:0", **worker):
        worker.setdefault("options", {"directory": str(tmp_path)})
        return make_job(slot, class_path="awkward.AwkwardWorker", amqp=amqp, path=SITE, **worker)

    return make


def test_a_reply_comes_back_with_the_session_and_the_id_of_its_message(fleet, amqp, queues):
    fleet.run(make_job(amqp=amqp))
    queues.put(session="token", id="message-1", received=time.time() - 70.0)
    queues.put(ussd_type="2", message="Hello, you. ☺")
    assert queues.replies(2) == [
        {
            "msisdn": "27831112222",
            "message": HELLO,
            "ussd_type": "2",
            "session": "token",
            "in_reply_to": "message-1",
        },
        {"msisdn": "27831112222", "message": "Hello, you. ☺", "ussd_type": "2"},
    ]
    wait_until(lambda: fleet.board.row(0).read().handled == 2, "the row's count")
    reading = fleet.board.row(0).read()
    assert reading.waited.counts == (*NOTHING[1:], 1)  # of the one that says when it was received
    assert 70.0 <= reading.waited.sum_s < 170.0
    assert sum(reading.took.counts) == 2


def test_messages_that_were_there_before_the_worker_are_handled(fleet, amqp, queues):
    queues.put(ussd_type="2", message="early")
    fleet.run(make_job(amqp=amqp))
    assert queues.replies(1)[0]["message"] == "early"


@pytest.mark.parametrize(
    ("class_path", "dialogue"),
    [
        ("pizza.PizzaWorker", [("1", "*120#", "Which pizza?\n1. Margherita\n2. Hawaiian\n3. Four Seasons", "2")]),
        ("pizza.PizzaWorker", [("2", "9", "We do not have that.", "2"), ("4", "", None, None)]),
        ("pizza.PizzaWorker", [("3", "", None, None), ("2", " 2 ", "A Hawaiian is on its way.", "3")]),
        ("reverse.ReverseWorker", [("1", "*120#", "#021*", "3"), ("2", "abc", "cba", "3")]),
        ("silent.SilentWorker", [("2", "?", None, None), ("1", "*1#", "so long and thanks for all the fish", "3")]),
    ],
)
def test_workers_of_2010_run_unchanged(fleet, amqp, queues, class_path, dialogue):
    fleet.run(make_job("Old:0", class_path=class_path, amqp=amqp, path=HERE.parent / "workers2010"))
    for ussd_type, text, _, _ in dialogue:
        queues.put(ussd_type=ussd_type, message=text)
    expected = [
        {"msisdn": "27831112222", "message": reply, "ussd_type": kind} for _, _, reply, kind in dialogue if reply
    ]
    assert queues.replies(len(expected)) == expected
    wait_until(lambda: fleet.board.row(0).read().handled == len(dialogue), "all handled")
    assert queues.depth(amqp.dead_queue) == 0


def test_ready_names_the_sites_files_with_their_hashes_and_no_others(fleet, awkward):
    fleet.spawn(awkward())
    expected = {
        str(SITE / name): hashlib.sha256((SITE / name).read_bytes()).hexdigest() for name in ("awkward.py", "helper.py")
    }
    assert fleet.expect(jobs.Ready).files == expected
    assert not (SITE / "__pycache__").exists()


def test_options_and_environment_of_the_section_reach_the_class(fleet, awkward, queues):
    fleet.run(awkward(options={"greeting": "hi"}, environment={"GREETING": "from the environment"}))
    queues.put(message="option greeting")
    assert queues.replies(1)[0]["message"] == "hi from the environment"


def test_set_up_comes_before_the_first_message_and_tear_down_after_the_last(fleet, amqp, queues, tmp_path):
    queues.put(message="one")
    job = make_job(
        "Hooked:0", class_path="awkward.HookedWorker", amqp=amqp, path=SITE, options={"directory": str(tmp_path)}
    )
    (pid,) = fleet.run(job)
    wait_until(lambda: fleet.board.row(0).read().handled == 1, "the message")
    fleet.kill("Hooked:0", pid, signal.SIGTERM)
    assert fleet.expect(jobs.Exited).code == 0
    assert (tmp_path / "hooks").read_text() == "setup\none\nteardown\n"


def test_a_set_up_that_raises_is_reported_and_ends_the_worker_as_a_crash(fleet, amqp):
    fleet.spawn(make_job("Broken:0", class_path="awkward.BrokenWorker", amqp=amqp, path=SITE))
    failed = fleet.expect(jobs.Failed)
    assert "OSError: no database" in failed.error
    assert not failed.handler
    assert fleet.expect(jobs.Exited).code == 1


def test_a_handler_that_raises_costs_one_message_and_the_subscriber_gets_the_apology(fleet, awkward, queues, amqp):
    (pid,) = fleet.run(awkward())
    queues.put(message="fail on purpose", session="token", id="message-1")
    queues.put(message="say still here")
    assert queues.replies(2) == [
        {
            "msisdn": "27831112222",
            "message": "Sorry, try again.",
            "ussd_type": "3",
            "session": "token",
            "in_reply_to": "message-1",
        },
        {"msisdn": "27831112222", "message": "still here", "ussd_type": "3"},
    ]
    ((properties, body),) = queues.dead(1)
    assert msgspec.json.decode(body)["message"] == "fail on purpose"
    assert properties.delivery_mode == 2
    headers = dict(properties.headers)
    written = datetime.fromisoformat(headers.pop("x-richmond-time"))
    assert timedelta() <= datetime.now(UTC) - written < timedelta(seconds=60)
    assert {name: value for name, value in headers.items() if name.startswith("x-richmond")} == {
        "x-richmond-reason": "handler-failed",
        "x-richmond-worker": "AwkwardWorker",
        "x-richmond-slot": "AwkwardWorker:0",
        "x-richmond-queue": amqp.receive_queue,
        "x-richmond-exception": "ValueError: on purpose in two lines",
        "x-richmond-attempts": 1,
    }
    failed = fleet.expect(jobs.Failed)
    assert failed.handler
    assert "raise ValueError" in failed.error
    wait_until(lambda: queues.depth() == 0, "both acknowledged")
    reading = fleet.board.row(0).read()
    assert (reading.handled, reading.failed, reading.began_at) == (1, 1, None)
    assert is_running(pid)


def test_a_handler_that_calls_exit_costs_one_message_too(fleet, awkward, queues):
    (pid,) = fleet.run(awkward())
    queues.put(message="leave now")
    ((properties, _),) = queues.dead(1)
    assert properties.headers["x-richmond-exception"] == "SystemExit: now"
    assert is_running(pid)


def test_a_handler_that_raises_after_its_reply_gets_no_apology_on_top(fleet, awkward, queues):
    fleet.run(awkward())
    queues.put(message="answer_and_fail here you are")
    queues.put(message="say next")
    assert [reply["message"] for reply in queues.replies(2)] == ["here you are", "next"]
    ((properties, _),) = queues.dead(1)
    assert properties.headers["x-richmond-exception"] == "ValueError: after the reply"


def test_who_has_hung_up_gets_no_apology(fleet, awkward, queues):
    fleet.run(awkward())
    queues.put(ussd_type="4", message="fail")
    queues.put(message="say next")
    assert [reply["message"] for reply in queues.replies(1)] == ["next"]
    assert len(queues.dead(1)) == 1


def test_a_reply_that_cannot_be_sent_is_the_handlers_fault(fleet, awkward, queues):
    fleet.run(awkward())
    queues.put(message="number text")
    ((properties, _),) = queues.dead(1)
    assert properties.headers["x-richmond-reason"] == "handler-failed"
    assert "invalid-reply: Expected `str`, got `int` - at `$.msisdn`" in properties.headers["x-richmond-exception"]
    assert queues.replies(1)[0]["message"] == "Sorry, try again."


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{not json", "invalid-json"),
        (b"\xff\xfe\x00", "invalid-json"),
        (b"", "invalid-json"),
        (b'{"msisdn": 27831112222, "ussd_type": "1", "ussd_phase": "0", "message": ""}', "invalid-message"),
        (b'{"msisdn": "27831112222", "ussd_type": "7", "ussd_phase": "0", "message": ""}', "unknown-ussd-type"),
    ],
)
def test_what_is_no_message_goes_to_the_dead_letter_queue_as_it_came(fleet, amqp, queues, body, reason):
    fleet.run(make_job(amqp=amqp))
    queues.put(body)
    queues.put(ussd_type="2", message="next")
    ((properties, dead),) = queues.dead(1)
    assert dead == body
    assert properties.headers["x-richmond-reason"] == reason
    assert [reply["message"] for reply in queues.replies(1)] == ["next"]
    wait_until(lambda: fleet.board.row(0).read().failed == 1, "the row's count")


def test_more_replies_than_may_be_unconfirmed_all_arrive_in_order(fleet, awkward, queues):
    fleet.run(awkward())
    queues.put(message="many 2500")
    assert [reply["message"] for reply in queues.replies(2500)] == [str(i) for i in range(2500)]


def test_a_reply_from_another_thread_of_the_class_is_sent(fleet, awkward, queues):
    fleet.run(awkward())
    queues.put(message="elsewhere hello")
    assert queues.replies(1)[0]["message"] == "hello"


def test_a_worker_killed_in_mid_message_leaves_it_to_another(fleet, awkward, queues, tmp_path):
    first, second = fleet.run(awkward("AwkwardWorker:0", prefetch=1), awkward("AwkwardWorker:1", prefetch=1, row=1))
    queues.put(message="wait a")
    wait_until((tmp_path / "a.begun").exists, "the handler's begin")
    busy, idle = (first, second) if fleet.board.row(0).read().began_at else (second, first)
    os.kill(busy, signal.SIGKILL)
    assert fleet.expect(jobs.Exited).signal == 9
    (tmp_path / "a").touch()
    assert queues.replies(1)[0]["message"] == f"a by {idle}"
    wait_until(lambda: queues.depth() == 0, "acknowledged")


def test_a_message_is_not_acknowledged_before_its_reply_is_confirmed(fleet, awkward, queues, node, tmp_path):
    (pid,) = fleet.run(awkward())
    queues.put(message="wait a")
    wait_until((tmp_path / "a.begun").exists, "the handler's begin")
    beam = psutil.Process(node.pid)
    beam.suspend()
    try:
        (tmp_path / "a").touch()
        wait_until(lambda: fleet.board.row(0).read().handled == 1, "the end of the handler")
        os.kill(pid, signal.SIGKILL)
        fleet.expect(jobs.Exited)
    finally:
        beam.resume()
    # The reply may have arrived: at least once. The message must be there again.
    fleet.run(awkward("AwkwardWorker:1", row=1))
    wait_until(lambda: fleet.board.row(1).read().handled == 1, "the message once more")


def test_sigterm_lets_a_worker_finish_all_that_it_holds_and_nothing_else(fleet, awkward, queues, tmp_path):
    (pid,) = fleet.run(awkward(prefetch=5))
    for i in range(8):
        queues.put(message=f"wait {i}")
    wait_until((tmp_path / "0.begun").exists, "the handler's begin")
    wait_until(lambda: queues.depth() == 3, "five messages prefetched")
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGTERM)
    for i in range(8):
        (tmp_path / str(i)).touch()
    assert fleet.expect(jobs.Exited) == jobs.Exited("AwkwardWorker:0", pid, code=0)
    answered = [reply["message"] for reply in queues.replies(queues.depth(queues.amqp.send_queue))]
    assert len(answered) + queues.depth() == 8
    # The one in hand may have been acknowledged, and one more delivered for it, before consuming ended.
    assert len(answered) in (5, 6)


def test_who_is_to_leave_takes_nothing_more_while_its_handler_goes_on(fleet, awkward, queues, tmp_path):
    (pid,) = fleet.run(awkward(prefetch=1))
    queues.put(message="wait first")
    wait_until((tmp_path / "first.begun").exists, "the message in hand")
    os.kill(pid, signal.SIGTERM)
    declare = partial(queues.channel.queue_declare, queues.amqp.receive_queue, passive=True)
    wait_until(lambda: declare().method.consumer_count == 0, "the end of its consumer")
    assert is_running(pid)
    queues.put(message="say second")
    (tmp_path / "first").touch()
    assert queues.replies(1)[0]["message"] == f"first by {pid}"
    assert fleet.expect(jobs.Exited).code == 0
    second, _, _ = next(queues.channel.consume(queues.amqp.receive_queue))
    assert not second.redelivered
    assert queues.depth(queues.amqp.dead_queue) == 0


def test_when_the_master_is_killed_the_message_in_hand_is_answered(fleet, awkward, queues, tmp_path):
    (pid,) = fleet.run(awkward())
    queues.put(message="wait a")
    wait_until((tmp_path / "a.begun").exists, "the handler's begin")
    fleet.process.kill()
    fleet.process.wait()
    (tmp_path / "a").touch()
    wait_until(lambda: not is_running(pid), "the worker's end")
    assert queues.replies(1)[0]["message"] == f"a by {pid}"
    assert queues.depth() == 0


def test_when_the_spawner_is_killed_the_message_in_hand_is_answered(fleet, awkward, queues, tmp_path):
    (pid,) = fleet.run(awkward())
    queues.put(message="wait a")
    wait_until((tmp_path / "a.begun").exists, "the handler's begin")
    os.kill(fleet.spawner_pid, signal.SIGKILL)
    fleet.expect(jobs.SpawnerDied)
    (tmp_path / "a").touch()
    assert fleet.expect(jobs.Exited).pid == pid
    assert queues.replies(1)[0]["message"] == f"a by {pid}"
    assert queues.depth() == 0


@pytest.mark.parametrize("text", ["wait for-ever", "spin 3600"])
def test_an_orphan_that_cannot_finish_ends_at_its_time_and_its_message_is_kept(fleet, awkward, queues, text):
    (pid,) = fleet.run(awkward(orphan_timeout_s=1.0))
    queues.put(message=text)
    wait_until(lambda: fleet.board.row(0).read().began_at, "the handler's begin")
    os.kill(fleet.spawner_pid, signal.SIGKILL)  # the master lives: the worker itself must end
    start = time.monotonic()
    assert fleet.expect(jobs.Exited).pid == pid
    assert time.monotonic() - start > 0.9  # it had its time
    wait_until(lambda: queues.depth() == 1, "the message's return")


def test_eight_workers_consume_and_are_small(fleet, amqp):
    pids = fleet.run(*(make_job(f"EchoWorker:{i}", amqp=amqp, row=i) for i in range(8)))
    uss = [psutil.Process(pid).memory_full_info().uss / 1e6 for pid in pids]
    print(f"USS of each {min(uss):.1f} to {max(uss):.1f} MB")
    assert max(uss) < 10


def test_an_idle_worker_sleeps(fleet, amqp):
    (pid,) = fleet.run(make_job(amqp=amqp))
    wait_until(lambda: all(s == "S" for s in states(pid)), "every thread asleep")
    before = switches(pid)
    time.sleep(2)  # the time that is measured, not waited out
    assert switches(pid) - before < 50  # a poll every 10 ms would be two hundred


def test_in_the_foreground_ctrl_c_drains_and_ends_with_0(amqp, queues, tmp_path):
    program = (
        "import sys\n"
        "from richmond.supervisor import jobs\n"
        "from richmond.workers import runtime\n"
        "sys.exit(runtime.run(jobs.decode_order(sys.stdin.buffer.read()).job))\n"
    )
    job = make_job(
        "Awkward:0", class_path="awkward.AwkwardWorker", amqp=amqp, path=SITE, options={"directory": str(tmp_path)}
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(jobs.encode(jobs.Spawn(job)))
        process.stdin.close()
        queues.put(message="wait a")
        wait_until((tmp_path / "a.begun").exists, "the handler's begin")
        process.send_signal(signal.SIGINT)
        (tmp_path / "a").touch()
        assert process.wait(DEADLINE_S) == 0
    assert queues.replies(1)[0]["message"] == f"a by {process.pid}"
    assert queues.depth() == 0


def states(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]


def switches(pid):
    """How often its threads have gone to sleep."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    lines = [line for task in tasks for line in (task / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))
