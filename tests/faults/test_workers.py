"""Workers and spawner die under load; nothing is lost."""

import os
import signal
import time

import pytest
from installation import until

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]


def workers(richmond):
    return [slot.pid for cls in richmond.status().classes for slot in cls.slots if slot.pid]


def spawner(richmond):
    return next(pid for pid, line in richmond.processes().items() if "richmond: spawner" in line)


@pytest.mark.parametrize("victims", ["one worker", "all workers", "the spawner"])
def test_killed_under_load(loaded, load, audit, victims):
    richmond = loaded()
    pids = workers(richmond)
    killed = {"one worker": pids[:1], "all workers": pids, "the spawner": [spawner(richmond)]}[victims]
    since = time.monotonic()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    load.go_on(1500)
    until("the others to be gone", lambda: not set(killed) & richmond.processes().keys())
    # At most what the dead had taken is handled again; the spawner's workers drain.
    dead_workers = {"one worker": 1, "all workers": len(pids), "the spawner": 0}[victims]
    audit(f"killed: {victims}", richmond, since, dead_workers * richmond.settings.workers[0].prefetch)
    richmond.wait_up()
