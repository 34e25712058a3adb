"""The packets between master, spawner and workers."""

from pathlib import Path
from types import MappingProxyType

import msgspec
import pytest

from richmond.settings import AmqpSettings, WorkerSettings
from richmond.supervisor import jobs

AMQP = AmqpSettings(
    host="127.0.0.1",
    port=5672,
    username="richmond",
    password="pa,ss#\"'wört",
    vhost="/richmond",
    exchange="richmond",
    send_queue="richmond.send",
    send_routing_key="ssmi.send",
    receive_queue="richmond.receive",
    receive_routing_key="ssmi.receive",
    events_exchange="richmond.events",
    dead_queue="richmond.dead",
    prefetch=64,
    heartbeat_s=30,
    tls=False,
    tls_ca=Path("/etc/ssl/ca.pem"),
    tls_cert=None,
    tls_key=None,
    connect_timeout_s=10.0,
    reconnect_max_s=30.0,
)
WORKER = WorkerSettings(
    name="EchoWorker",
    class_path="richmond.workers.ussd.EchoWorker",
    workers=2,
    min=1,
    max=8,
    codes=("*120*663#",),
    queue="richmond.receive.EchoWorker",
    routing_key="ssmi.receive.EchoWorker",
    prefetch=4,
    start_timeout_s=30.0,
    start_retries=5,
    stable_s=60.0,
    stop_timeout_s=10.0,
    apology="Sorry.",
    drain_target_s=5.0,
    environment=MappingProxyType({"LANG": "C"}),
    options=MappingProxyType({"greeting": "hello"}),
)
JOB = jobs.WorkerJob(
    slot="EchoWorker:0",
    generation=1,
    row=3,
    worker=WORKER,
    amqp=AMQP,
    workers_path=Path("/srv/workers"),
    orphan_timeout_s=5.0,
    log=Path("/var/log/richmond.log"),
    log_level="debug",
    log_messages=True,
)


@pytest.mark.parametrize("order", [jobs.Spawn(JOB), jobs.Kill("EchoWorker:0", 4711, 15)])
def test_an_order_survives_the_way_to_the_spawner(order):
    assert jobs.decode_order(jobs.encode(order)) == order


@pytest.mark.parametrize(
    "event",
    [
        jobs.Forked("EchoWorker:0", 4711),
        jobs.SpawnFailed("EchoWorker:0", "[Errno 11] Resource temporarily unavailable"),
        jobs.Exited("EchoWorker:0", 4711, code=0),
        jobs.Exited("EchoWorker:0", 4711, signal=9),
        jobs.Ready("EchoWorker:0", 4711, {"/srv/workers/pizza.py": "ab" * 32}),
        jobs.Failed("EchoWorker:0", 4711, "Traceback\nValueError: 'ä'", handler=True),
        jobs.SpawnerDied(-9),
    ],
)
def test_an_event_survives_the_way_to_the_master(event):
    assert jobs.decode_event(jobs.encode(event)) == event


def test_paths_arrive_as_paths():
    order = jobs.decode_order(jobs.encode(jobs.Spawn(JOB)))
    assert isinstance(order.job.workers_path, Path)
    assert isinstance(order.job.amqp.tls_ca, Path)
    assert order.job.amqp.tls_cert is None


def test_an_order_is_not_taken_for_an_event():
    with pytest.raises(msgspec.ValidationError):
        jobs.decode_event(jobs.encode(jobs.Kill("EchoWorker:0", 4711, 9)))


def test_a_long_traceback_keeps_its_start_and_its_end():
    error = "START" + "x" * 100_000 + "END"
    short = jobs.shorten(error)
    assert short.startswith("START")
    assert short.endswith("END")
    assert len(short) < jobs.MAX_ERROR_CHARACTERS + 100
    assert jobs.shorten("as it is") == "as it is"


def test_a_traceback_with_an_undecodable_file_name_can_be_sent():
    error = jobs.shorten("No such file: /srv/\udcff.py")
    assert jobs.decode_event(jobs.encode(jobs.Failed("EchoWorker:0", 1, error, handler=False))).error == error
