"""What Prometheus, a load balancer and Kubernetes see of a whole installation: /metrics, /healthz, /readyz."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request

import pytest
from installation import until
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

WORKERS = """
[worker:EchoWorker]
workers = 2
[worker:Bad]
class = bad.BadWorker
codes = *120*5#
workers = 1
[worker:Nobody]
codes = *120*6#
class = EchoWorker
workers = 0
min = 0
"""
BAD = """
from richmond.workers.ussd import USSDWorker


class BadWorker(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        raise KeyError(msisdn)
"""


def get(richmond, path, **headers):
    """HTTP status and body."""
    address = richmond.status().web.rstrip("/")
    try:
        with urllib.request.urlopen(urllib.request.Request(address + path, headers=headers), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def health(richmond, path):
    status, body = get(richmond, path)
    return status, json.loads(body)["reasons"]


def values(richmond):
    """(name, label values in order of their names) -> value."""
    found = {}
    for family in text_string_to_metric_families(get(richmond, "/metrics")[1]):
        for sample in family.samples:
            found[(sample.name.removeprefix("richmond_"), *(v for _, v in sorted(sample.labels.items())))] = (
                sample.value
            )
    return found


def test_prometheus_reads_what_happened_and_a_load_balancer_whether_it_serves(install):
    richmond = install(workers=WORKERS)
    (richmond.site / "bad.py").write_text(BAD)
    richmond.start()
    until("it to be ready", lambda: health(richmond, "/readyz") == (200, []))
    assert health(richmond, "/healthz") == (200, [])

    assert richmond.run("dial", "*120*1#", "hello", "0").returncode == 0
    richmond.run("dial", "*120*5#")
    richmond.run("scale", "EchoWorker", "3", "--wait")
    found = until("all to be counted", lambda: (v := values(richmond))[("dead_letters_total", "Bad", "handler-failed",
                                                                        "worker")] and v)  # fmt: skip
    expected = {
        ("messages_total", "in", "ussd", "published"): 4,
        ("messages_total", "out", "ussd", "sent"): 4,  # with the apology of the worker that failed
        ("worker_messages_total", "EchoWorker", "answered"): 3,
        ("handler_failures_total", "Bad"): 1,
        ("waiting_duration_seconds_count", "EchoWorker"): 3,
        ("handler_duration_seconds_count", "EchoWorker"): 3,
        ("end_to_end_duration_seconds_count",): 4,
        ("link_up", "gateway"): 1,
        ("link_up", "rabbitmq"): 1,
        ("workers", "EchoWorker", "RUNNING"): 3,
        ("workers_target", "EchoWorker"): 3,
        ("workers_pinned", "EchoWorker"): 1,
        ("scaling_decisions_total", "EchoWorker", "up"): 1,
        ("worker_restarts_total", "EchoWorker", "crash"): 0,
        ("queue_consumers", "Bad", f"{richmond.settings.amqp.receive_queue}.Bad"): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert found[("process_resident_memory_bytes",)] > 1 << 20
    status, text = get(richmond, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert (status, text.rstrip().endswith("# EOF")) == (200, True)
    assert "2783" not in text

    # All workers of a class cannot be: not ready, and why; alive all the same. And back.
    bad = richmond.site / "bad.py"
    bad.write_text("raise RuntimeError('no database')")
    os.kill(richmond.slot("Bad:0").pid, signal.SIGKILL)
    reasons = until("it to be unready", lambda: (h := health(richmond, "/readyz"))[0] == 503 and h[1])
    assert reasons[0].startswith("Bad: no worker is RUNNING")
    assert health(richmond, "/healthz") == (200, [])
    bad.write_text(BAD)
    richmond.run("restart", "Bad")
    until("it to be ready again", lambda: health(richmond, "/readyz") == (200, []))
    found = until("the crash", lambda: (v := values(richmond))[("worker_restarts_total", "Bad", "crash")] and v)
    assert found[("class_failures_total", "Bad")] >= 1
    assert found[("worker_restarts_total", "Bad", "crash")] == 1
    assert found[("worker_restarts_total", "Bad", "failed-start")] >= 1
