"""`richmond events` of a Richmond to which things happen."""

import json
import os
import shlex
import signal
import subprocess
from contextlib import contextmanager

import pytest
from gateway import RawGateway
from installation import ECHO, until
from rabbit import Rabbit

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

CLUMSY = """
from richmond.workers.ussd import USSDWorker


class Clumsy(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        raise ValueError("no cake")
"""


@pytest.fixture
def gateway():
    with RawGateway() as gateway:
        yield gateway


def events(richmond, *args):
    done = richmond.run("events", "--json", *args)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def told(richmond, kind, text):
    """The first event of this kind whose text has these words; waited for."""

    def find():
        return next((e for e in events(richmond) if e["kind"] == kind and text in e["text"]), None)

    return until(f"{kind}: {text}", find)


@contextmanager
def following(richmond, *args):
    with subprocess.Popen(
        richmond.command("events", "-f", *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=richmond.environ, cwd=richmond.directory,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def test_each_thing_that_happens_is_told_once_with_its_reason(gateway, install):
    richmond = install(workers=ECHO + "[worker:Clumsy]\nclass = clumsy.Clumsy\ncodes = *9#\n", ssmi=gateway.section)
    (richmond.site / "clumsy.py").write_text(CLUMSY)
    richmond.start()
    pid = richmond.slot("EchoWorker:0").pid
    os.kill(pid, signal.SIGKILL)
    crash = told(richmond, "crash", "killed by SIGKILL")
    assert (crash["slot"], crash["class"], crash["pid"], crash["from"]) == (
        "EchoWorker:0",
        "EchoWorker",
        pid,
        "RUNNING",
    )
    assert richmond.run("scale", "--wait", "EchoWorker", "3").returncode == 0
    scale = told(richmond, "scale", "pinned by the operator")
    assert (scale["from"], scale["to"], scale["class"]) == (2, 3, "EchoWorker")
    assert richmond.run("restart", "--wait", "FooBarWorker").returncode == 0
    told(richmond, "rollout", "FooBarWorker")

    gateway.send("SSMI,110,27830000001,1,0,*9#")
    dead = told(richmond, "dead-letters", "Clumsy")
    assert (dead["count"], dead["reason"], dead["level"]) == (1, "handler-failed", "warning")
    with Rabbit(richmond) as rabbit:
        rabbit.send(b"nonsense")
    assert told(richmond, "dead-letters", "replies")["reason"] == "invalid-json"

    gateway.close()
    assert told(richmond, "link", "gateway: up -> ")["level"] == "warning"

    richmond.workers = "[worker:EchoWorker]\nworkrs = 1\n"
    richmond.write()
    assert richmond.run("reload").returncode == 2
    assert "workrs" in told(richmond, "reload", "not reloaded")["reason"]
    richmond.workers = "[worker:EchoWorker]\nworkers = 2\nmax = 8\n[worker:Bad]\nclass = nowhere.Bad\ncodes = *8#\n"
    richmond.write()
    assert richmond.run("reload").returncode == 0
    fatal = told(richmond, "fatal", "Bad")
    assert (fatal["level"], fatal["class"], fatal["count"]) == ("error", "Bad", 0)
    assert "nowhere" in fatal["reason"]
    told(richmond, "reload", "the ini is taken over")

    everything = events(richmond)
    numbers = [event["number"] for event in everything]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [event["time"] for event in everything] == sorted(event["time"] for event in everything)
    assert sum(event["kind"] == "crash" and event.get("class") == "EchoWorker" for event in everything) == 1
    assert len(events(richmond, "-n", "2")) == 2
    text = richmond.run("events").stdout.splitlines()  # the link is tried again and again: there may be more by now
    assert all(event["text"] in line for event, line in zip(everything[:20], text[:20], strict=True))
    assert "27830000001" not in str(everything)


def test_hooks_hear_of_events_and_of_fatal_classes_and_see_the_installation(install):
    workers = ECHO + "[worker:Bad]\nclass = nowhere.Bad\ncodes = *8#\non-fatal = ./fatal\n"
    richmond = install(workers=workers, richmond="on-event = ./every\n")
    status = f"{shlex.join(richmond.command('status')[:3])} status --json"
    for name, script in (
        ("every", "#!/bin/sh\ncat >> every.json\n"),
        ("fatal", f"#!/bin/sh\ncat >> fatal.json\n{status} > status.json\n"),
    ):
        (richmond.directory / name).write_text(script)
        (richmond.directory / name).chmod(0o755)
    richmond.start(wait=False)
    until("the hook's status", lambda: (richmond.directory / "status.json").exists())
    (fatal,) = [json.loads(line) for line in (richmond.directory / "fatal.json").read_text().splitlines()]
    assert (fatal["kind"], fatal["class"]) == ("fatal", "Bad")
    richmond.wait("the others to run", lambda s: sum(c.running for c in s.classes) == 3)

    def heard():
        found = [json.loads(line) for line in (richmond.directory / "every.json").read_text().splitlines()]
        return {event["number"] for event in found} >= {event["number"] for event in events(richmond)}

    until("the hook to have heard of every event", heard)
    until("its status", lambda: json.loads((richmond.directory / "status.json").read_text() or "{}").get("pid"))
    assert richmond.run("stop").returncode == 0
    richmond.wait_end()
    last = {json.loads(line)["text"] for line in (richmond.directory / "every.json").read_text().splitlines()}
    assert "stopping: richmond stop" in last


def test_on_fatal_exit_ends_it_in_order_with_code_1(install):
    richmond = install(workers=ECHO + "[worker:Bad]\nclass = nowhere.Bad\ncodes = *8#\non-fatal = exit\n")
    richmond.start(wait=False)
    assert richmond.wait_end() == 1
    out = (richmond.directory / "start.out").read_text()
    assert "richmond: on-fatal = exit of [worker:Bad]: Bad: 1 of 1 workers is FATAL, no worker runs" in out
    assert "Traceback" not in out


def test_who_follows_hears_at_once_and_to_the_end(richmond):
    with following(richmond) as follower, following(richmond, "--json", "-n", "0") as other:
        until("the news so far", lambda: "everything is up" in follower.stdout.readline())
        assert richmond.run("scale", "--wait", "EchoWorker", "3").returncode == 0
        told = map(json.loads, iter(other.stdout.readline, ""))  # what the links did may be told after the start
        assert next(event for event in told if event["kind"] == "scale")["to"] == 3
        assert richmond.run("stop").returncode == 0
        lines = follower.stdout.read().splitlines()
        assert any("EchoWorker: 2 -> 3 workers" in line for line in lines)
        assert any("stopping: richmond stop" in line for line in lines)
        assert follower.wait(30) == 3
        assert "richmond has stopped" in follower.stderr.read()
    richmond.wait_end()


def test_a_follower_ends_with_ctrl_c_and_costs_nothing(richmond):
    with following(richmond) as follower:
        assert "master" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        assert follower.wait(30) == 0
        assert follower.stderr.read() == ""


def test_without_a_master_it_says_so(install):
    done = install().run("events")
    assert (done.returncode, done.stdout) == (3, "")
    assert "start it with: richmond start" in done.stderr
