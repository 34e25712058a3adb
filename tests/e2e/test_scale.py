"""`richmond scale`: counts that are reached, counts that cannot be, and the shell's help with names."""

import os
import subprocess
import sys

import pytest
from installation import settled
from rabbit import Rabbit

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


def consumers(installation):
    """What RabbitMQ says, not what Richmond says."""
    with Rabbit(installation) as rabbit:
        return rabbit.channel.queue_declare(rabbit.amqp.receive_queue, passive=True).method.consumer_count


def echo(installation):
    return next(c for c in installation.status().classes if c.name == "EchoWorker")


def test_scale_reaches_every_count_and_leaves_those_that_run_alone(richmond):
    before = {s.name: s.pid for s in echo(richmond).slots}
    scaled = richmond.run("scale", "EchoWorker", "8", "--wait")
    assert scaled.returncode == 0, scaled.stderr
    assert consumers(richmond) == 8
    cls = echo(richmond)
    assert (cls.running, cls.target, cls.pinned) == (8, 8, True)
    pids = {s.name: s.pid for s in cls.slots}
    assert before.items() <= pids.items()
    assert set(pids.values()) <= richmond.processes().keys()

    assert richmond.run("scale", "EchoWorker", "auto").returncode == 0
    cls = echo(richmond)
    assert not cls.pinned
    assert "pinned" not in cls.reason

    assert richmond.run("scale", "--wait", "EchoWorker", "0").returncode == 0
    assert consumers(richmond) == 0
    assert not set(pids.values()) & richmond.processes().keys()
    assert richmond.run("status").returncode == 0  # as the operator wants it

    assert richmond.run("scale", "--wait", "EchoWorker", "1").returncode == 0
    assert consumers(richmond) == 1
    assert richmond.run("dial", "*120*663#", "0").returncode == 0


@pytest.fixture
def few(install):
    return install(richmond="max-workers = 5\n").start()


def test_a_count_that_cannot_be_is_a_clear_error_and_changes_nothing(few):
    before = few.status().classes
    for args, words in {
        ("EchoWorkers", "2"): ["EchoWorkers", "EchoWorker, FooBarWorker"],
        ("EchoWorker", "lots"): ["'lots'", "auto"],
        ("EchoWorker", "1.5"): ["'1.5'", "auto"],
        ("EchoWorker", "-1"): ["-1", "below 0"],
        ("EchoWorker", "6"): ["6", "max-workers = 5"],
        ("EchoWorker", "5"): ["5 is above 4", "max-workers = 5"],
        ("EchoWorker",): ["COUNT"],
    }.items():
        refused = few.run("scale", *args)
        assert (refused.returncode, refused.stdout) == (2, ""), args
        assert all(word in refused.stderr for word in words), refused.stderr
        assert "Traceback" not in refused.stderr
    after = few.status().classes
    assert [(c.target, c.pinned) for c in after] == [(c.target, c.pinned) for c in before]
    assert [s.pid for c in after for s in c.slots] == [s.pid for c in before for s in c.slots]
    assert settled(few.status())


def test_the_shell_completes_names_of_classes(install):
    installation = install()

    def complete(*words):
        env = {
            **installation.environ, "_RICHMOND_COMPLETE": "bash_complete", "COMP_CWORD": str(len(words)),
            "COMP_WORDS": " ".join(["richmond", *words]),
        }  # fmt: skip
        done = subprocess.run(installation.command("")[:3], env=env, capture_output=True, text=True, check=True)
        return [line.removeprefix("plain,") for line in done.stdout.splitlines()]

    assert complete("scale", "-c", str(installation.ini), "E") == ["EchoWorker"]
    assert complete("restart", "-c", str(installation.ini), "") == ["EchoWorker", "FooBarWorker"]
    assert "scale" in complete("sc")


def test_bash_takes_the_completion_script():
    script = subprocess.run([sys.executable, "-m", "richmond", "completion", "bash"], capture_output=True, check=True)
    loaded = subprocess.run(
        ["bash", "-c", 'eval "$SCRIPT"; complete -p richmond'], env={**os.environ, "SCRIPT": script.stdout.decode()},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "_richmond_completion" in loaded.stdout
