"""What is left on this host for more workers, by its own figures."""

import os
import subprocess
import sys

import psutil
from installation import until

from richmond.supervisor.host import Host, cgroup_free

BUSY = "while True: pass"


def test_a_class_that_computes_is_seen_to_and_what_its_workers_have_to_themselves():
    host = Host()
    with subprocess.Popen([sys.executable, "-c", BUSY]) as busy:
        try:
            classes = {"Busy": [busy.pid], "Idle": [os.getppid()], "Nobody": []}
            found = []

            def works():
                found.append(host.look(classes))
                return found[-1].uses["Busy"].cpu > 0.1

            until("a busy look", works)
            use = found[-1].uses
            assert 1 << 20 < use["Busy"].worker_bytes < psutil.Process(busy.pid).memory_info().rss
            assert (use["Nobody"].cpu, use["Nobody"].worker_bytes) == (0.0, None)
            assert 0 < found[-1].memory_free <= psutil.virtual_memory().total
        finally:
            busy.kill()
    gone = host.look({"Busy": [busy.pid]}).uses["Busy"]
    assert (gone.cpu, gone.worker_bytes) == (0.0, None)


def test_the_limit_of_a_cgroup_is_the_limit_of_those_in_it(tmp_path):
    assert cgroup_free(tmp_path) == float("inf")
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 100\n")
    assert cgroup_free(tmp_path) == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert cgroup_free(tmp_path) == float("inf")
