"""Who is woken by the next master."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from fleet import wait_until

from richmond.supervisor import leftovers

WORKER = """
import sys, setproctitle
from richmond.scoreboard import Scoreboard
board = Scoreboard.create(2, sys.argv[1])
setproctitle.setproctitle(sys.argv[2])
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def stopped():
    """Starts a process with this name of its shared memory, and this title, and stops it."""
    made = []

    def start(name, title="richmond: EchoWorker:0"):
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, name, title], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        made.append(process)
        assert process.stdout.readline() == "up\n"
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, "it to be stopped")
        return process.pid

    yield start
    for process in made:
        process.kill()
        process.communicate()


def test_stopped_workers_of_this_installation_are_woken_and_nobody_else(stopped, tmp_path):
    name = leftovers.name_of(tmp_path / "richmond.pid")
    ours = stopped(name)
    others = [stopped(leftovers.name_of(tmp_path / "other" / "richmond.pid")), stopped(name, "an editor")]
    assert leftovers.wake(name) == [ours]
    wait_until(lambda: psutil.Process(ours).status() != psutil.STATUS_STOPPED, "it to go on")
    assert [psutil.Process(pid).status() for pid in others] == [psutil.STATUS_STOPPED] * 2
    assert leftovers.wake(name) == []
