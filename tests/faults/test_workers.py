"""Workers and spawner die under load; nothing is lost."""

import os
import signal
import time

import pytest
from installation import settled, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]


def workers(richmond):
    return [slot.pid for cls in richmond.status().classes for slot in cls.slots if slot.pid]


def spawner(richmond):
    return next(pid for pid, line in richmond.processes().items() if "richmond: spawner" in line)


@pytest.mark.parametrize("victims", ["one worker", "all workers", "the spawner"])
def test_killed_under_load_three_times(loaded, load, audit, victims):
    richmond = loaded()
    since, taken, killed = time.monotonic(), 0, set()
    for _ in range(3):
        pids = workers(richmond)
        fallen = {"one worker": pids[:1], "all workers": pids, "the spawner": [spawner(richmond)]}[victims]
        for pid in fallen:
            os.kill(pid, signal.SIGKILL)
        if victims != "the spawner":  # whose workers drain: nothing is handled again
            taken += len(fallen) * richmond.settings.workers[0].prefetch
        killed.update(fallen)
        load.go_on(400)
        until("the dead to be gone", lambda: not killed & richmond.processes().keys())
        richmond.wait("new ones", lambda s: settled(s) and not killed & {x.pid for x in s.classes[0].slots})
    audit(f"killed three times: {victims}", richmond, since, taken)
    richmond.wait_up()
