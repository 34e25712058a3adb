"""The observer of bench.supervision, at a supervisor of five lines."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent.parent))
from bench import supervision_observer as observer

DEADLINE_S = 15
SUPERVISOR = """
import subprocess
while True:
    subprocess.run(["sleep", "1000"])
"""


@pytest.fixture
def supervisor(tmp_path):
    with subprocess.Popen([sys.executable, "-c", SUPERVISOR], cwd=tmp_path) as process:
        yield process
        process.kill()
        for left in observer.inhabitants(tmp_path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(left.pid, signal.SIGKILL)


def test_the_observer_sees_who_takes_a_killed_ones_place_and_who_survives_the_master(supervisor, tmp_path):
    first, _ = observer.until_forked(supervisor.pid, (), DEADLINE_S)
    began = observer.clock()
    os.kill(first.pid, signal.SIGKILL)
    second, at = observer.until_forked(supervisor.pid, {first}, DEADLINE_S)
    assert began < at <= observer.clock()
    assert second.pid != first.pid
    assert (first.alive, second.alive) == (False, True)
    assert observer.until(lambda: second.command.startswith("sleep"), DEADLINE_S)

    os.kill(second.pid, signal.SIGSTOP)
    assert second.alive  # stopped is not gone, and nobody takes its place
    assert observer.until_forked(supervisor.pid, {first, second}, 0.1) is None

    family = observer.family(supervisor.pid)
    assert {second.pid, supervisor.pid} == {seen.pid for seen in family}
    supervisor.kill()
    master = next(seen for seen in family if seen.pid == supervisor.pid)
    assert observer.until_gone({master}, DEADLINE_S)  # although nobody has waited for it
    assert observer.until_gone(family, 0.1) is None
    assert observer.inhabitants(tmp_path) == {second}  # an orphan is still found

    os.kill(second.pid, signal.SIGKILL)
    gone = observer.until_gone(family, DEADLINE_S)
    assert gone is not None
    assert gone <= observer.clock()


def test_a_number_that_comes_again_is_another_process():
    me = observer.see(os.getpid())
    assert me.alive
    assert not observer.Seen(me.started + 1, me.pid).alive


def test_what_never_comes_true_ends_in_time():
    began = time.monotonic()
    assert observer.until(lambda: False, 0.05) is None
    assert time.monotonic() - began >= 0.05
