"""Which queue a code goes to."""

from __future__ import annotations

import pytest

from richmond.routing import Routes
from richmond.settings import AmqpSettings, WorkerSettings

AMQP = AmqpSettings(
    host="localhost",
    port=5672,
    username="richmond",
    password="richmond",
    vhost="/richmond",
    exchange="richmond",
    send_queue="richmond.send",
    send_routing_key="ssmi.send",
    receive_queue="richmond.receive",
    receive_routing_key="ssmi.receive",
    events_exchange="richmond.events",
    dead_queue="richmond.dead",
    prefetch=100,
    heartbeat_s=60,
    tls=False,
    tls_ca=None,
    tls_cert=None,
    tls_key=None,
    connect_timeout_s=5.0,
    reconnect_max_s=30.0,
)


def worker(name: str, *codes: str) -> WorkerSettings:
    return WorkerSettings(
        name=name,
        class_path=f"site.{name}",
        workers=1,
        min=1,
        max=1,
        codes=codes,
        queue=f"richmond.receive.{name}" if codes else "richmond.receive",
        routing_key=f"ssmi.receive.{name}" if codes else "ssmi.receive",
        prefetch=8,
        start_timeout_s=30.0,
        start_retries=5,
        stable_s=60.0,
        stop_timeout_s=10.0,
        apology="",
        drain_target_s=5.0,
    )


@pytest.mark.parametrize(
    ("code", "key"),
    [
        ("*120*666#", "ssmi.receive.Foo"),
        ("*120*666", "ssmi.receive.Foo"),
        ("*120*667#", "ssmi.receive.Foo"),
        ("*120*1#", "ssmi.receive.Bar"),
        ("*120*663#", "ssmi.receive"),
        (None, "ssmi.receive"),
    ],
)
def test_a_code_goes_to_its_class_and_the_rest_to_the_default(code, key):
    routes = Routes([worker("Foo", "*120*666#", "*120*667#"), worker("Echo"), worker("Bar", "*120*1#")], AMQP)
    assert routes.routing_key(code) == key


def test_without_a_default_class_nobody_wants_other_codes():
    routes = Routes([worker("Foo", "*120*666#")], AMQP)
    assert routes.routing_key("*120*666#") == "ssmi.receive.Foo"
    assert routes.routing_key("*120*663#") is None
    assert routes.routing_key(None) is None


def test_without_any_class_in_the_ini_all_goes_to_the_receive_queue():
    assert Routes([], AMQP).routing_key("*120*666#") == "ssmi.receive"
