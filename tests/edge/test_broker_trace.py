"""A subscriber's messages with the time at each hop."""

from __future__ import annotations

import json
import time

import pytest
from broker_host import wait_until
from broker_world import ANN, BOB, World, send

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]


@pytest.fixture
def world(tmp_path, node):
    world = World(tmp_path, node)
    with world.gateway:
        yield world


def traced(broker, msisdn, claim):
    """The records of a subscriber, once `claim` holds for them."""
    return wait_until(lambda: (found := broker.call("trace", msisdn)) and claim(found) and found, "the trace")


def test_a_message_is_traced_from_the_socket_in_to_the_socket_out(world):
    with world.up(trace=True) as (broker, gateway, rabbit):
        began = time.time()
        gateway.send(f"SSMI,110,{ANN},1,0,*1#")
        message = rabbit.receive()
        assert message["trace"] is True
        times = {"delivered": time.time(), "replied": time.time()}
        rabbit.reply("hi", session=message["session"], in_reply_to=message["id"], times=times)
        gateway.line()
        (record,) = traced(broker, f"+{ANN}", lambda found: {"sent", "published"} <= found[0].keys())
        assert (record["id"], record["kind"], record["outcome"]) == (message["id"], "ussd", "sent")
        assert {hop: record[hop] for hop in times} == times
        assert began <= record["received"] <= min(record["published"], record["sent"])  # a confirm may be late
        assert max(record["published"], record["sent"]) <= time.time()
        assert broker.call("trace", BOB) == []


def test_what_the_broker_does_by_itself_is_traced_too(world):
    with world.up(trace=True, opt_out=True) as (broker, gateway, rabbit):
        gateway.send(f"SSMI,110,{ANN},1,0,*1#")
        message = rabbit.receive()
        rabbit.reply("1\n" * 200, session=message["session"], long="pages")
        gateway.line()
        gateway.send(f"SSMI,110,{ANN},2,0,#")
        gateway.line()
        gateway.send(f"SSMI,103,{ANN},1,STOP")
        rabbit.bury()
        send(rabbit, message="spam", id="one")
        rabbit.bury()
        rabbit.reply("late", session="gone", in_reply_to=message["id"])
        rabbit.bury()
        found = traced(broker, ANN, lambda found: len(found) == 5)
        assert [(r["kind"], r.get("outcome", "")) for r in found] == [
            ("ussd", "refused: session-over"), ("ussd", "sent"), ("ussd", "paged"), ("sms", "dead-lettered"),
            ("sms", "refused: opted-out"),
        ]  # fmt: skip
        assert found[4]["id"] == "one"


def test_an_sms_and_what_the_gateway_says_of_it_are_traced(world):
    with world.up(trace=True) as (broker, gateway, rabbit):
        rabbit.bind_events()
        send(rabbit, message="x", id="one", msisdn=f"+{ANN}")
        gateway.line()
        gateway.send(f"SSMI,104,{ANN},1,0")
        sms, report = traced(broker, ANN, lambda found: len(found) == 2 and found[1].get("published"))
        assert (sms["id"], sms["outcome"], report["kind"]) == ("one", "sent", "delivery-report")
        assert sms["replied"] <= sms["sent"] <= report["received"]


def test_nothing_is_traced_unless_the_ini_says_so(world):
    with world.up() as (broker, gateway, rabbit):
        gateway.send(f"SSMI,110,{ANN},1,0,*1#")
        assert "trace" not in rabbit.receive()
        assert broker.call("trace", ANN) is None
        broker.reconfigure(world.settings(trace=True))
        gateway.send(f"SSMI,110,{ANN},2,0,1")
        assert rabbit.receive()["trace"] is True
        assert len(broker.call("trace", ANN)) == 1
        broker.reconfigure(world.settings())
        assert broker.call("trace", ANN) is None


def test_texts_are_not_in_it(world):
    with world.up(trace=True) as (broker, gateway, rabbit):
        gateway.send(f"SSMI,110,{ANN},1,0,*1#", f"SSMI,110,{ANN},2,0,a secret")
        rabbit.receive()
        rabbit.reply("another secret")
        gateway.line()
        assert "secret" not in json.dumps(traced(broker, ANN, lambda found: len(found) == 3))
