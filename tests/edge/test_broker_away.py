"""USSD while RabbitMQ is away: subscribers wait for as long as it makes sense, and are told then."""

from __future__ import annotations

import pytest
from broker_host import wait_until
from broker_world import ANN, BOB, World, dial, received_equals_its_parts

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]

SORRY = f"SSMI,110,{ANN},3,Sorry, try later"


@pytest.fixture
def world(tmp_path, node):
    world = World(tmp_path, node)
    with world.gateway:
        yield world


def take_away(proxy, broker):
    """When all is confirmed; returns when the first attempt to come back has failed."""
    wait_until(lambda: broker.status()["counters"]["waiting"] == 0, "all to be confirmed")
    proxy.refuse()
    broker.wait_for(amqp="down")


def come_back(proxy, broker, **counters):
    proxy.accept()
    return broker.wait_for(amqp="up", **counters)["counters"]


def test_who_has_waited_for_too_long_gets_the_apology_and_his_message_is_not_published_late(world):
    with world.behind_a_proxy(apologise_after_s=0.5) as (proxy, broker, gateway, rabbit):
        dial(gateway, rabbit)
        take_away(proxy, broker)
        gateway.send(f"SSMI,110,{ANN},2,0,1")
        assert gateway.line() == SORRY
        counters = broker.wait_for(apologised__rabbitmq_away=1)["counters"]
        assert counters["ussd-waiting"] == counters["waiting"] == 0
        assert received_equals_its_parts(counters)
        counters = come_back(proxy, broker)
        gateway.send(f"SSMI,110,{ANN},1,0,*1#")
        assert rabbit.receive()["message"] == "*1#", "and not the 1 of before"
        assert broker.wait_for(published__ussd=2)["accounts"][0]["sessions"] == 1


def test_a_message_whose_session_is_over_is_dropped_and_its_end_is_told_later(world):
    with world.behind_a_proxy(apologise_after_s=0.5) as (proxy, broker, gateway, rabbit):
        dial(gateway, rabbit)
        take_away(proxy, broker)
        gateway.send(f"SSMI,110,{ANN},2,0,1", f"SSMI,110,{ANN},3,0,Done")
        counters = broker.wait_for(dropped__session_over=1)["counters"]
        assert counters["ussd-waiting"] == 1
        assert received_equals_its_parts(counters)
        counters = come_back(proxy, broker, published__ussd=2)
        assert rabbit.receive()["message"] == "Done"
        assert received_equals_its_parts(counters)
        assert "apologised" not in counters


def test_a_newer_session_makes_the_message_of_the_older_one_void(world):
    with world.behind_a_proxy(apologise_after_s=0.5) as (proxy, broker, gateway, rabbit):
        dial(gateway, rabbit)
        take_away(proxy, broker)
        gateway.send(f"SSMI,110,{ANN},2,0,1", f"SSMI,110,{ANN},1,0,*2#")
        assert gateway.line() == SORRY, "for the new one, at once"
        counters = broker.wait_for(dropped__session_over=1)["counters"]
        assert counters["apologised"] == 1
        assert received_equals_its_parts(counters)


def test_whatever_is_not_too_old_is_published_in_order_when_rabbitmq_is_back(world):
    with world.behind_a_proxy() as (proxy, broker, gateway, rabbit):
        dial(gateway, rabbit)
        dial(gateway, rabbit, BOB)
        take_away(proxy, broker)
        gateway.send(f"SSMI,110,{ANN},2,0,1", f"SSMI,110,{BOB},2,0,2", f"SSMI,110,{ANN},3,0,3", f"SSMI,110,{BOB},2,0,4")
        broker.wait_for(ussd=6)
        come_back(proxy, broker, published__ussd=6)
        assert [rabbit.receive()["message"] for _ in range(4)] == ["1", "2", "3", "4"]


def test_a_shorter_limit_holds_for_what_waits_already(world):
    with world.behind_a_proxy(apologise_after_s=600) as (proxy, broker, gateway, rabbit):
        dial(gateway, rabbit)
        take_away(proxy, broker)
        gateway.send(f"SSMI,110,{ANN},2,0,1")
        broker.wait_for(ussd_waiting=1)
        amqp = broker.settings.amqp
        broker.reconfigure(world.settings(amqp=amqp, apologise_after_s=0.1))
        assert gateway.line() == SORRY
