"""Reload after reload under load, each with other code: nothing is lost, and nothing is left over."""

import os
import time
from pathlib import Path

import psutil
import pytest
from installation import until
from load import SITE

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

RELOADS = int(os.environ.get("RICHMOND_RELOADS", "20"))
GROWTH_BYTES = 8 << 20  # of the master: pools of its allocator fill up under load; 100 reloads that leak take more


def held(richmond):
    """By the processes that stay."""
    spawner = next(pid for pid, name in richmond.processes().items() if "richmond: spawner" in name)
    found = {}
    for name, pid in (("master", richmond.process.pid), ("spawner", spawner)):
        found[f"descriptors of the {name}"] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        found[f"threads of the {name}"] = psutil.Process(pid).num_threads()
    return found


def test_reloads_with_changing_code_lose_nothing_and_leak_nothing(loaded, load, audit, record_property):
    richmond = loaded()
    master = psutil.Process(richmond.process.pid)
    since = time.monotonic()

    def reload(n):
        (richmond.site / "answerer.py").write_text(f"{SITE}\nVERSION = {n}\n")
        done = richmond.run("reload", "--wait")
        assert done.returncode == 0, done
        assert "its workers are replaced one by one: its code has changed" in done.stdout

    for n in range(3):
        reload(-n)
    before, memory = held(richmond), master.memory_full_info().uss
    for n in range(RELOADS):
        reload(n + 1)
    grown = master.memory_full_info().uss - memory
    load.go_on(500)
    until("all that was open to be closed", lambda: all(now <= before[what] for what, now in held(richmond).items()))
    audit(f"{RELOADS} reloads, each with new code", richmond, since, 0)
    record_property(
        "fault", f"{RELOADS} reloads: the master has grown by {grown / 2**20:.1f} MB, holds {held(richmond)}"
    )
    assert grown < GROWTH_BYTES
    assert len([pid for pid, name in richmond.processes().items() if "Answerer" in name]) == 4
