"""SMS and all else that is no USSD, from a gateway that the test plays: to its queue, by way of the disk if need be."""

from __future__ import annotations

import itertools
import json
import select

import pytest
from broker_host import wait_until
from broker_world import ANN, BOB, World, received_equals_its_parts, send, sms_equal_their_parts, stop

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]


@pytest.fixture
def world(tmp_path, node):
    world = World(tmp_path, node)
    with world.gateway:
        yield world


def test_sms_go_to_the_class_that_wants_them(world):
    win, rest = world.sms_worker("Win", keywords=("WIN",)), world.sms_worker()
    with world.up(workers=[win, rest]) as (broker, gateway, rabbit):
        gateway.send(f"SSMI,107,{ANN},17,31022,win, a car", f"SSMI,106,{ANN},18,15,246,68656c6c6f")
        premium = rabbit.receive(win.queue)
        assert premium.pop("received") > 1_700_000_000
        assert premium.pop("id")
        assert premium == {
            "kind": "premium-sms", "msisdn": ANN, "sequence": "17", "destination": "31022", "message": "win, a car",
            "account": "default",
        }  # fmt: skip
        binary = rabbit.receive(rest.queue)
        assert (binary["kind"], binary["pid"], binary["coding"], binary["hex_msg"]) == (
            "binary-sms", "15", "246", "68656c6c6f",
        )  # fmt: skip
        counters = broker.wait_for(published__premium_sms=1, published__binary_sms=1)["counters"]
        assert sms_equal_their_parts(counters)
        assert received_equals_its_parts(counters)


def test_an_sms_that_no_queue_takes_is_a_dead_letter(world):
    with world.up() as (broker, gateway, rabbit):
        gateway.send(f"SSMI,103,{ANN},17,Hello", "SSMI,105,nobody wants this")
        body, headers = rabbit.bury()
        assert json.loads(body)["message"] == "Hello"
        assert headers["x-richmond-reason"] == "no-route"
        assert "x-richmond-queue" not in headers
        counters = broker.wait_for(dead_lettered=1, unbound=1)["counters"]
        assert sms_equal_their_parts(counters)
        assert received_equals_its_parts(counters)


def test_reports_and_sequences_go_to_who_sent_the_sms_and_name_it(world):
    shop, rest = world.sms_worker("Shop", keywords=("SHOP",)), world.sms_worker()
    with world.up(workers=[shop, rest]) as (_, gateway, rabbit):
        events = rabbit.bind_events()
        text = "x" * 200
        send(rabbit, message=text, id="one", report_to=shop.routing_key, msisdn=f"+{ANN}")
        assert [gateway.line()[:6] for _ in range(2)] == ["SSMI,2", "SSMI,2"]
        gateway.send(f"SSMI,100,{ANN},501", f"SSMI,100,{ANN},502", f"SSMI,104,{ANN},502,2", f"SSMI,104,{ANN},501,0")
        found = [rabbit.receive(shop.queue) for _ in range(4)]
        assert [(m["kind"], m["sms_id"]) for m in found] == [
            ("sequence", "one"), ("sequence", "one"), ("delivery-report", "one"), ("delivery-report", "one"),
        ]  # fmt: skip
        assert [(m["ret_code"], m["status"], m["part"], m["parts"]) for m in found[2:]] == [
            ("2", "sim-full", 2, 2), ("0", "delivered", 1, 2),
        ]  # fmt: skip
        gateway.send(f"SSMI,104,{BOB},9,7", f"SSMI,100,{BOB},9")
        unmatched = rabbit.receive(rest.queue)
        assert (unmatched["status"], unmatched["ret_code"]) == ("unknown", "7")
        assert "sms_id" not in unmatched
        assert "sms_id" not in rabbit.receive(events)


def test_an_imsi_reply_goes_to_who_asked(world):
    shop = world.sms_worker("Shop", keywords=("SHOP",))
    with world.up(workers=[shop]) as (_, gateway, rabbit):
        events = rabbit.bind_events()
        send(rabbit, "imsi-lookup", id="who", report_to=shop.routing_key)
        sequence = gateway.line().split(",")[2]
        gateway.send(f"SSMI,600,{sequence},{ANN},655019999,65501", f"SSMI,600,777,{ANN},655019999,65501")
        reply = rabbit.receive(shop.queue)
        assert (reply["lookup_id"], reply["imsi"], reply["spid"]) == ("who", "655019999", "65501")
        assert "lookup_id" not in rabbit.receive(events)


def test_a_report_for_a_class_that_has_gone_is_an_event(world):
    with world.up() as (broker, gateway, rabbit):
        events = rabbit.bind_events()
        send(rabbit, message="x", id="one", report_to="ssmi.receive.Gone")
        gateway.line()
        gateway.send(f"SSMI,104,{ANN},1,0")
        assert rabbit.receive(events)["sms_id"] == "one"
        assert received_equals_its_parts(broker.wait_for(published__delivery_report=1)["counters"])


def test_what_sms_was_sent_is_known_after_a_restart(world):
    rest = world.sms_worker()
    with world.up(workers=[rest]) as (broker, gateway, rabbit):
        send(rabbit, message="x", id="one", report_to=rest.routing_key)
        gateway.line()
        gateway.send(f"SSMI,100,{ANN},501")
        assert rabbit.receive(rest.queue)["sms_id"] == "one"
        stop(broker, gateway)
    with world.up(workers=[rest]) as (_, gateway, rabbit):
        gateway.send(f"SSMI,104,{ANN},501,0")
        assert rabbit.receive(rest.queue)["sms_id"] == "one"


def test_who_opts_out_gets_no_more_sms_until_he_opts_in(world):
    rest = world.sms_worker()
    with world.up(workers=[rest], opt_out=True) as (broker, gateway, rabbit):
        gateway.send(f"SSMI,103,{ANN},1, Stop. ")
        assert rabbit.receive(rest.queue)["message"] == " Stop. "
        assert broker.wait_for(opted_out=1)["opt_outs"] == 1
        for keys in ({"message": "buy!", "msisdn": f"+{ANN}"}, {"kind": "binary-sms", "hex_msg": "00"}):
            send(rabbit, **keys)
            assert rabbit.bury()[1]["x-richmond-reason"] == "opted-out"
        send(rabbit, message="for Bob", msisdn=BOB)
        assert gateway.line() == f"SSMI,2,0,{BOB},for Bob"
        gateway.send(f"SSMI,107,{ANN},2,31022,START")
        assert rabbit.receive(rest.queue)["message"] == "START"
        send(rabbit, message="welcome back")
        assert gateway.line() == f"SSMI,2,0,{ANN},welcome back"
        assert broker.status()["opt_outs"] == 0


def test_what_comes_while_rabbitmq_is_away_is_published_in_order_when_it_is_back(world):
    rest = world.sms_worker()
    with world.behind_a_proxy(workers=[rest]) as (proxy, broker, gateway, rabbit):
        proxy.refuse()
        broker.wait_for(amqp="down")
        gateway.send(*[f"SSMI,103,{ANN},{number},text" for number in range(6000)])
        status = broker.wait_for(journalled=6000)
        assert status["journal"]["entries"] == 6000
        assert status["journal"]["oldest"] > 1_700_000_000
        assert sms_equal_their_parts(status["counters"])
        proxy.accept()
        broker.wait_for(amqp="up")
        for number in range(6000, 6100):  # behind them, while they are on their way
            gateway.send(f"SSMI,103,{ANN},{number},text")
        assert sequences(rabbit, rest.queue, 6100) == list(range(6100))
        status = broker.wait_for(published__sms=6100)
        assert status["counters"]["published:sms"] == 6100
        wait_until(lambda: broker.status()["journal"]["entries"] == 0, "an empty journal")
        assert received_equals_its_parts(broker.status()["counters"])


def test_what_rabbitmqs_client_still_has_is_on_the_disk_too_and_published_once(world):
    rest = world.sms_worker()
    with world.behind_a_proxy(workers=[rest]) as (proxy, broker, gateway, rabbit):
        proxy.hold()
        gateway.send(*[f"SSMI,103,{ANN},{number},text" for number in range(50)])
        broker.wait_for(sms=50)
        proxy.refuse()
        proxy.flow()
        broker.wait_for(journalled=50, amqp="down")
        gateway.send(*[f"SSMI,103,{ANN},{number},text" for number in range(50, 100)])
        assert broker.wait_for(journalled=100)["journal"]["entries"] == 100
        proxy.accept()
        assert sequences(rabbit, rest.queue, 100) == list(range(100))
        wait_until(lambda: broker.status()["journal"]["entries"] == 0, "an empty journal")
        counters = broker.status()["counters"]
        assert counters["published:sms"] == 100
        assert received_equals_its_parts(counters)


def test_what_rabbitmq_has_confirmed_while_the_journal_still_lists_it_is_not_published_again(world):
    """More than may be in hand: the journal is not read before some are confirmed. Without a gateway there is no
    consumer, and so nothing to do between publishing them and being up.
    """
    rest = world.sms_worker()
    with world.behind_a_proxy(workers=[rest]) as (proxy, broker, gateway, rabbit):
        proxy.hold()
        gateway.send(*[f"SSMI,103,{ANN},{number},text" for number in range(600)])
        broker.wait_for(sms=600)
        proxy.refuse()
        proxy.flow()
        broker.wait_for(journalled=600, amqp="down")
        gateway.send(*[f"SSMI,103,{ANN},{number},text" for number in range(600, 700)])
        gateway.socket.close()
        wait_until(lambda: broker.wait_for(journalled=700)["accounts"][0]["link"]["state"] != "up", "no gateway")
        proxy.accept()
        assert sequences(rabbit, rest.queue, 700) == list(range(700))
        wait_until(lambda: broker.status()["journal"]["entries"] == 0, "an empty journal")
        counters = broker.status()["counters"]
        assert (counters["published:sms"], counters["waiting"]) == (700, 0)
        assert received_equals_its_parts(counters)
        assert rabbit.ready(rest.queue) == 0


def sequences(rabbit, queue, number):
    """Of the first messages of a queue."""
    taken = itertools.islice(rabbit.channel.consume(queue, auto_ack=True), number)
    found = [int(json.loads(body)["sequence"]) for _, _, body in taken]
    rabbit.channel.cancel()
    return found


@pytest.mark.parametrize("end", ["stop", "kill -9"])
def test_the_journal_of_the_last_run_is_published_first(world, end):
    """With what RabbitMQ had not confirmed when it went, and what came afterwards."""
    rest = world.sms_worker()
    with world.behind_a_proxy(workers=[rest]) as (proxy, broker, gateway, _):
        proxy.hold()
        gateway.send(*[f"SSMI,103,{ANN},{n},text" for n in range(20)])
        broker.wait_for(sms=20)
        proxy.refuse()
        proxy.flow()
        broker.wait_for(journalled=20, amqp="down")
        gateway.send(*[f"SSMI,103,{ANN},{n},text" for n in range(20, 50)])
        assert broker.wait_for(journalled=50)["journal"]["entries"] == 50
        if end == "stop":
            stop(broker, gateway)
            assert broker.call("totals").get("sms", 0) == 0
        else:
            broker.kill()
    with world.up(workers=[rest]) as (broker, gateway, rabbit):
        gateway.send(f"SSMI,103,{ANN},50,text")
        assert [int(rabbit.receive(rest.queue)["sequence"]) for _ in range(51)] == list(range(51))
        counters = broker.wait_for(published__sms=51)["counters"]
        assert (counters["sms"], counters["sms-waiting"], counters["waiting"]) == (51, 0, 0)
        assert sms_equal_their_parts(counters)
        assert received_equals_its_parts(counters)
        wait_until(lambda: broker.status()["journal"]["entries"] == 0, "an empty journal")


def test_a_stop_while_rabbitmq_hangs_loses_no_sms(world):
    rest = world.sms_worker()
    with world.behind_a_proxy(workers=[rest]) as (proxy, broker, gateway, _):
        proxy.hold()
        gateway.send(f"SSMI,103,{ANN},1,first")
        broker.wait_for(sms=1)
        broker.send("stop", 1)
        assert gateway.line() == "SSMI,99"
        gateway.send(f"SSMI,103,{ANN},2,last words")
        gateway.socket.close()
        broker.answer()
        proxy.cut()
    with world.up(workers=[rest]) as (_, _, rabbit):
        assert [rabbit.receive(rest.queue)["message"] for _ in range(2)] == ["first", "last words"]


def test_a_full_journal_makes_the_gateway_wait_and_loses_nothing(world):
    rest = world.sms_worker()
    text = "x" * 10_000
    with world.behind_a_proxy(workers=[rest], buffer=20, journal_max_bytes=1) as (proxy, broker, gateway, rabbit):
        proxy.refuse()
        broker.wait_for(amqp="down")
        sent = 0
        gateway.socket.setblocking(False)
        line = f"SSMI,103,{ANN},1,{text}\r".encode()
        while select.select([], [gateway.socket], [], 1.0)[1]:
            sent += gateway.socket.send(memoryview(line * 64)[sent % len(line) :])
            assert sent < 64_000_000, "the broker reads without end"
        status = broker.status()
        assert status["accounts"][0]["unread"].endswith("messages wait in memory, and the journal takes nothing")
        assert 20 <= status["journal"]["kept"] < 40
        assert status["journal"]["entries"] > 0
        proxy.accept()
        gateway.socket.setblocking(True)
        gateway.socket.settimeout(15)
        gateway.socket.sendall(line[sent % len(line) :])
        total = sent // len(line) + 1
        counters = broker.wait_for(published__sms=total)["counters"]
        assert counters["published:sms"] == total == rabbit.ready(rest.queue)
        assert sms_equal_their_parts(counters)
        assert received_equals_its_parts(counters)
        status = wait_until(lambda: idle(broker), "an empty journal")
        assert status["accounts"][0]["unread"] == ""


def test_a_journal_that_cannot_be_written_is_tried_again(world):
    rest = world.sms_worker()
    (world.directory / "journal.db").mkdir()
    with world.behind_a_proxy(workers=[rest]) as (proxy, broker, gateway, rabbit):
        proxy.refuse()
        broker.wait_for(amqp="down")
        gateway.send(f"SSMI,103,{ANN},1,first")
        assert broker.wait_for(sms=1)["journal"] == {"entries": 0, "oldest": None, "kept": 1}
        assert "journal.db" in broker.log.read_text()
        (world.directory / "journal.db").rmdir()
        wait_until(lambda: broker.status()["journal"]["entries"] == 1, "the journal to be written")
        proxy.accept()
        assert rabbit.receive(rest.queue)["message"] == "first"


def idle(broker):
    status = broker.status()
    return status if status["journal"]["entries"] == status["journal"]["kept"] == 0 else None
