"""What workers send that is no USSD reply, between a real RabbitMQ and a gateway that the test plays."""

from __future__ import annotations

import json
import socket
import time

import pytest
from broker_host import wait_until
from broker_world import ANN, BOB, World, dial, replies_equal_their_parts, send

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]


@pytest.fixture
def world(tmp_path, node):
    world = World(tmp_path, node)
    with world.gateway:
        yield world


SENT = [
    ({"kind": "sms", "message": "foo, bar"}, f"SSMI,2,0,{ANN},foo, bar"),
    ({"kind": "sms", "message": "two\rlines", "validity": 2, "msisdn": f"+{ANN}"}, f"SSMI,2,2,{ANN},two\nlines"),
    ({"kind": "binary-sms", "hex_msg": "68656C", "pid": "15", "coding": "246"}, f"SSMI,4,0,{ANN},15,246,68656c"),
    ({"kind": "wap-push", "subject": "foo", "url": "http://bar/b,z"}, f"SSMI,112,{ANN},foo,http://bar/b,z"),
    ({"kind": "mms", "subject": "foo", "name": "a.gif", "content": "6865"}, f"SSMI,111,{ANN},foo,a.gif,6865"),
    ({"kind": "imsi-lookup"}, f"SSMI,600,1,{ANN},"),
    ({"kind": "imsi-lookup", "imsi": "655019999"}, f"SSMI,600,2,{ANN},655019999"),
]


def test_every_kind_is_sent_and_acknowledged(world):
    with world.up() as (broker, gateway, rabbit):
        for keys, line in SENT:
            send(rabbit, **keys)
            assert gateway.line() == line
        counters = broker.wait_for(sms_sent=len(SENT), sent__sms=2, sent__binary_sms=1)["counters"]
        assert replies_equal_their_parts(counters)
        assert counters["sms-held"] == 0
    with world.rabbit() as rabbit:
        assert rabbit.ready(f"{world.amqp.send_queue}.sms") == 0


REFUSED = [
    ({"kind": "pizza"}, "unknown-kind", "kind 'pizza' is none of"),
    ({"kind": "sms"}, "invalid-message", "message"),
    ({"kind": "sms", "message": "x", "msisdn": "27-83"}, "invalid-message", "msisdn"),
    ({"kind": "sms", "message": "x" * 100_000}, "invalid-message", "message"),
    ({"kind": "sms", "message": "x", "validity": -1}, "invalid-message", "validity"),
    ({"kind": "sms", "message": "x" * 161, "long": "refuse"}, "too-long", "not to be split"),
    ({"kind": "sms", "message": "x", "account": "second"}, "wrong-account", "account default"),
    ({"kind": "binary-sms", "hex_msg": "123"}, "invalid-message", "hex_msg"),
    ({"kind": "wap-push", "subject": "a,b", "url": "x"}, "invalid-message", "subject"),
]


def test_what_cannot_be_sent_is_in_the_dead_letter_queue_with_the_reason(world):
    with world.up() as (broker, gateway, rabbit):
        for keys, reason, detail in REFUSED:
            send(rabbit, **keys)
            body, headers = rabbit.bury()
            assert json.loads(body)["kind"] == keys["kind"]
            assert headers["x-richmond-reason"] == reason
            assert detail in headers["x-richmond-exception"]
            assert headers["x-richmond-queue"] == f"{world.amqp.send_queue}.sms"
        rabbit.reply(b"no json", to=".sms")
        assert rabbit.bury()[1]["x-richmond-reason"] == "invalid-json"
        counters = broker.wait_for(sms_refused=len(REFUSED) + 1)["counters"]
        assert counters["sms-refused:invalid-message"] == 6
        assert replies_equal_their_parts(counters)
        send(rabbit, message="still here")
        assert gateway.line() == f"SSMI,2,0,{ANN},still here"


def test_a_kind_on_the_other_queue_of_its_account_is_sent_all_the_same(world):
    with world.up() as (broker, gateway, rabbit):
        session = dial(gateway, rabbit)
        send(rabbit, to="", message="on the queue of the replies")
        assert gateway.line() == f"SSMI,2,0,{ANN},on the queue of the replies"
        rabbit.reply("on the queue of the SMS", to=".sms", session=session)
        assert gateway.line() == f"SSMI,110,{ANN},2,on the queue of the SMS"
        assert replies_equal_their_parts(broker.wait_for(sent=1, sms_sent=1)["counters"])


def test_a_long_sms_is_split_and_its_parts_leave_together(world):
    text = " ".join(f"word{number}" for number in range(60))
    with world.up(sms_rate=0.2, sms_burst=3) as (broker, gateway, rabbit):
        send(rabbit, message=text)
        send(rabbit, message="after it", msisdn=BOB)
        parts = [gateway.line().split(",", 4)[4] for _ in range(3)]
        assert [part[:6] for part in parts] == ["(1/3) ", "(2/3) ", "(3/3) "]
        assert " ".join(part[6:] for part in parts) == text
        # The next one has to wait until its parts are paid for, too.
        throttled = wait_until(lambda: broker.status()["accounts"][0]["throttled"], "the next one to wait")
        assert [(t["kind"], t["waiting"]) for t in throttled] == [("sms", 1)]
        wait_until(lambda: broker.counter("sms-held") == 1, "the parts to have arrived")


def test_validity_is_what_is_left_of_it_and_what_is_too_old_is_not_sent(world):
    now = time.time()
    with world.up() as (_, gateway, rabbit):
        send(rabbit, message="half of it", validity=60, created=now - 1790)
        send(rabbit, message="from the future", validity=60, created=now + 1000)
        send(rabbit, message="the last minute", validity=60, created=now - 3590)
        send(rabbit, message="for ever", created=now - 1e6)
        lines = [gateway.line().split(",") for _ in range(4)]
        assert [(line[2], line[4]) for line in lines] == [
            ("31", "half of it"), ("60", "from the future"), ("1", "the last minute"), ("0", "for ever"),
        ]  # fmt: skip
        send(rabbit, message="too late", validity=60, created=now - 3601)
        assert rabbit.bury()[1]["x-richmond-reason"] == "expired"
        send(rabbit, "binary-sms", hex_msg="00", validity=1, created=now - 100)
        assert rabbit.bury()[1]["x-richmond-reason"] == "expired"


def test_an_sms_waits_in_its_queue_while_the_link_is_down(world):
    queue = f"{world.amqp.send_queue}.sms"
    with world.up() as (_, gateway, rabbit):
        wait_until(lambda: rabbit.consumers(queue) == 1, "a consumer")
        gateway.socket.close()
        with world.gateway.accept(login=False) as second:
            wait_until(lambda: rabbit.consumers(queue) == 0, "the consumer gone")
            expires = time.time() + 0.5
            send(rabbit, message="patient")
            send(rabbit, message="not so patient", validity=1, created=expires - 60)
            wait_until(lambda: rabbit.ready(queue) == 2, "both in the queue")
            wait_until(lambda: time.time() > expires, "the validity to end")
            assert second.line() == "SSMI,1,user,pa,ss"
            second.send("SSMI,101,1")
            assert [second.line() for _ in range(2)] == ["SSMI,3", f"SSMI,2,0,{ANN},patient"]
            assert rabbit.bury()[1]["x-richmond-reason"] == "expired"


def test_a_throttled_sms_stands_before_no_ussd_reply_and_status_says_that_it_waits(world):
    with world.up(sms_rate=0.01, sms_burst=2) as (broker, gateway, rabbit):
        session = dial(gateway, rabbit)
        for number in range(5):
            send(rabbit, message=str(number))
        assert [gateway.line() for _ in range(2)] == [f"SSMI,2,0,{ANN},{number}" for number in range(2)]
        rabbit.reply("quick", session=session)
        assert gateway.line() == f"SSMI,110,{ANN},2,quick"
        wait_until(lambda: broker.counter("sms-held") == 1, "RabbitMQ to keep what would wait for long")
        (throttled,) = wait_until(lambda: broker.status()["accounts"][0]["throttled"], "the throttle to bite")
        assert (throttled["kind"], throttled["waiting"], throttled["per_second"]) == ("sms", 1, 0.01)
        assert throttled["since"] <= time.time()
        broker.reconfigure(world.settings(sms_rate=0.0))
        assert [gateway.line() for _ in range(3)] == [f"SSMI,2,0,{ANN},{number}" for number in range(2, 5)]
        assert broker.wait_for(sms_sent=5)["accounts"][0]["throttled"] == []
        assert replies_equal_their_parts(broker.status()["counters"])


def test_a_ussd_reply_goes_before_the_sms_that_leave_with_it(world):
    with world.up(ussd_rate=0.001, ussd_burst=1, sms_rate=0.001, sms_burst=1) as (broker, gateway, rabbit):
        session = dial(gateway, rabbit)
        for number in range(2):
            send(rabbit, message=f"SMS {number}")
            rabbit.reply(f"reply {number}", session=session)
        assert {gateway.line().split(",")[-1] for _ in range(2)} == {"SMS 0", "reply 0"}
        wait_until(lambda: len(broker.status()["accounts"][0]["throttled"]) == 2, "both to wait for a token")
        broker.reconfigure(world.settings())
        assert [gateway.line().split(",")[-1] for _ in range(2)] == ["reply 1", "SMS 1"]


def test_ussd_replies_are_throttled_too_and_judged_when_they_leave(world):
    with world.up(ussd_rate=0.5, ussd_burst=1) as (broker, gateway, rabbit):
        sessions = {msisdn: dial(gateway, rabbit, msisdn) for msisdn in (ANN, BOB)}
        for text, msisdn in (("first", ANN), ("second", BOB), ("third", ANN)):
            rabbit.reply(text, msisdn=msisdn, session=sessions[msisdn])
        assert gateway.line() == f"SSMI,110,{ANN},2,first"
        throttled = wait_until(lambda: broker.status()["accounts"][0]["throttled"], "the throttle to bite")
        assert [t["kind"] for t in throttled] == ["ussd"]
        gateway.send(f"SSMI,110,{BOB},3,0,Done")
        assert rabbit.receive()["message"] == "Done"
        # While it waited for its token, its session has ended.
        assert gateway.line() == f"SSMI,110,{ANN},2,third"
        assert rabbit.bury()[1]["x-richmond-reason"] == "session-over"
        assert replies_equal_their_parts(broker.wait_for(sent=2, refused=1)["counters"])


def test_sms_on_the_way_when_the_gateway_resets_are_sent_on_the_next_connection(world):
    texts = [f"{number:04}" + "x" * 140 for number in range(40)]
    content = "00" * 200_000  # more than the sockets between us hold
    with world.up() as (broker, gateway, rabbit):
        for text in texts:
            send(rabbit, "mms", subject=text, name="a", content=content)
        broker.wait_for(sms_taken=40)
        gateway.reset()
        with world.gateway.accept(login=False) as second:
            sent = broker.wait_for(sms_returned=1)["counters"].get("sms-sent", 0)
            second.log_in()
            got = [second.line().split(",")[3] for _ in range(40 - sent)]
            assert got == texts[-len(got) :]
            counters = broker.wait_for(sms_sent=40)["counters"]
            assert counters["sms-returned"] > 0
            assert replies_equal_their_parts(counters)


def test_an_sms_that_the_gateways_host_has_not_got_goes_out_again(world):
    subjects = [str(number) for number in range(10)]
    world.gateway.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # less than one of them has
    with world.up() as (broker, gateway, rabbit):
        for subject in subjects:
            send(rabbit, "mms", subject=subject, name="a", content="00" * 200_000)
        broker.wait_for(sms_taken=10)
        gateway.reset()
        with world.gateway.accept() as second:
            assert [second.line().split(",")[3] for _ in subjects] == subjects
            counters = broker.wait_for(sms_sent=10)["counters"]
            assert (counters["sms-sent"], counters["sms-returned"]) == (10, 10)
            assert replies_equal_their_parts(counters)


def test_sms_on_their_way_while_rabbitmq_goes_and_comes_back_are_not_sent_twice(world):
    subjects = [str(number) for number in range(10)]
    world.gateway.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # less than one of them has
    with world.behind_a_proxy() as (proxy, broker, gateway, rabbit):
        for subject in subjects:
            send(rabbit, "mms", id=subject, subject=subject, name="a", content="00" * 200_000)
        broker.wait_for(sms_taken=10)
        proxy.cut()
        broker.wait_for(sms_taken=20)
        send(rabbit, "mms", subject="the next", name="a", content="00")
        assert [gateway.line().split(",")[3] for _ in range(11)] == [*subjects, "the next"]
        counters = broker.wait_for(sms_sent=11)["counters"]
        assert counters["sms-repeated"] > 0
        assert counters["sms-repeated"] + counters.get("sms-returned", 0) == 10
        assert replies_equal_their_parts(counters)
    with world.rabbit() as rabbit:
        assert rabbit.ready(f"{world.amqp.send_queue}.sms") == 0


def test_an_sms_whose_acknowledgement_is_lost_is_not_sent_twice(world):
    with world.behind_a_proxy(sms_rate=1.0, sms_burst=1) as (proxy, broker, gateway, rabbit):
        send(rabbit, message="first", id="1")
        send(rabbit, message="second", id="2")
        assert gateway.line() == f"SSMI,2,0,{ANN},first"
        broker.wait_for(sms_taken=2)
        proxy.hold()
        assert gateway.line() == f"SSMI,2,0,{ANN},second"
        proxy.cut()
        proxy.flow()
        counters = broker.wait_for(sms_repeated=1)["counters"]
        send(rabbit, message="third", id="3")
        assert gateway.line() == f"SSMI,2,0,{ANN},third"
        assert replies_equal_their_parts(broker.wait_for(sms_sent=3)["counters"])
        assert counters["sms-sent"] == 2


def test_a_stop_leaves_what_waits_for_its_turn_to_rabbitmq(world):
    queue = f"{world.amqp.send_queue}.sms"
    with world.up(sms_rate=0.02, sms_burst=1) as (broker, gateway, rabbit):
        for number in range(3):
            send(rabbit, message=str(number))
        assert gateway.line() == f"SSMI,2,0,{ANN},0"
        broker.wait_for(sms_taken=2)
        broker.send("stop", 10)
        assert gateway.line() == "SSMI,99"
        gateway.socket.close()
        broker.answer()
        assert rabbit.ready(queue) == 2
        assert replies_equal_their_parts(broker.status()["counters"])


def test_a_stop_gives_back_what_the_gateways_host_has_not_got(world):
    world.gateway.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # less than one of them has
    with world.up() as (broker, _, rabbit):
        for number in range(10):
            send(rabbit, "mms", subject=str(number), name="a", content="00" * 200_000)
        broker.wait_for(sms_taken=10)
        broker.call("stop", 2)
        counters = broker.status()["counters"]
        assert (counters["sms-returned"], counters["sms-held"]) == (10, 0)
        assert replies_equal_their_parts(counters)
        assert rabbit.ready(f"{world.amqp.send_queue}.sms") == 10
