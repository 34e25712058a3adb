"""The broker between a gateway that the test plays and a real RabbitMQ."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from dataclasses import replace
from datetime import datetime

import pytest
from broker_host import make_worker, wait_until
from broker_world import ANN, BOB, World, dial, received_equals_its_parts, replies_equal_their_parts, send

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]


@pytest.fixture
def world(tmp_path, node):
    world = World(tmp_path, node)
    with world.gateway:
        yield world


@pytest.fixture
def free_port():
    """A port that nobody listens on: ours, bound and not listening."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_message_goes_to_the_queue_and_its_reply_to_the_gateway(world):
    with world.up() as (broker, gateway, rabbit):
        gateway.send(f"SSMI,110,{ANN},1,0,*120*663")
        message = rabbit.receive()
        assert message.pop("received") > 1_700_000_000
        session, identity = message.pop("session"), message.pop("id")
        assert session
        assert identity
        assert message.pop("kind", "ussd") == "ussd"
        assert message == {
            "msisdn": ANN,
            "ussd_type": "1",
            "ussd_phase": "0",
            "message": "*120*663",
            "code": "*120*663#",
            "account": "default",
        }
        rabbit.reply("Welcome\n1. Food", session=session)
        assert gateway.line() == f"SSMI,110,{ANN},2,Welcome\n1. Food"
        gateway.send(f"SSMI,110,{ANN},2,0,Hello, you.")
        answer = rabbit.receive()
        assert (answer["message"], answer["session"], answer["code"]) == ("Hello, you.", session, "*120*663#")
        rabbit.reply("bye", ussd_type="3", session=session)
        assert gateway.line() == f"SSMI,110,{ANN},3,bye"
        status = broker.wait_for(sent=2, published=2)
        assert status["accounts"][0]["sessions"] == 0
        assert sum(status["end_to_end"]["counts"]) == 2
        assert status["end_to_end"]["sum_s"] > 0.0
        assert rabbit.ready(world.amqp.send_queue) == 0


def link(status, number=0):
    return status["accounts"][number]["link"]


def test_an_extended_message_has_genfields_and_so_has_an_extended_reply(world):
    with world.up() as (_, gateway, rabbit):
        gateway.send(f"SSMI,111,{ANN},1,0,655011234567890:1::,*156#")
        message = rabbit.receive()
        assert message["genfields"] == ["655011234567890", "1", "", "", ""]
        rabbit.reply("hi", session=message["session"], genfields=["655011234567890", "1", "", "S1"])
        assert gateway.line() == f"SSMI,120,{ANN},2,655011234567890:1::S1:,hi"


def test_a_code_goes_to_its_class_and_its_answers_follow(world):
    foo = make_worker("Foo", f"{world.amqp.receive_queue}.foo", "*120*666#")
    with world.up(workers=[foo, make_worker("Echo", world.amqp.receive_queue)]) as (_, gateway, rabbit):
        gateway.send(f"SSMI,110,{ANN},1,0,*120*666", f"SSMI,110,{BOB},1,0,*120*1#", f"SSMI,110,{ANN},2,0,yes")
        assert [rabbit.receive(foo.queue)["message"] for _ in range(2)] == ["*120*666", "yes"]
        assert rabbit.receive()["message"] == "*120*1#"


def test_a_code_that_nobody_has_gets_the_apology(world):
    foo = make_worker("Foo", f"{world.amqp.receive_queue}.foo", "*120*666#")
    with world.up(workers=[foo]) as (broker, gateway, _):
        gateway.send(f"SSMI,110,{ANN},1,0,*120*1#")
        assert gateway.line() == f"SSMI,110,{ANN},3,Sorry, try later"
        counters = broker.wait_for(apologised__no_route=1)["counters"]
        assert received_equals_its_parts(counters)


REFUSED = [
    (b"not json", "invalid-json"),
    (b"\xff\xfe", "invalid-json"),
    (b"[]", "invalid-message"),
    (b'{"msisdn": "27831112222", "message": "x"}', "invalid-message"),
    (b'{"msisdn": 27831112222, "message": "x", "ussd_type": "2"}', "invalid-message"),
    (b'{"msisdn": "27831112222", "message": "x", "ussd_type": "2", "session": "gone"}', "session-over"),
    (b'{"msisdn": "27839999999", "message": "x", "ussd_type": "2"}', "no-session"),
    (b'{"msisdn": "", "message": "x", "ussd_type": "6"}', "no-msisdn"),
    (b'{"msisdn": "278\\rSSMI,99", "message": "x", "ussd_type": "6"}', "line-break"),
    (b'{"msisdn": "278,3", "message": "x", "ussd_type": "6"}', "comma"),
    (b'{"msisdn": "27831112222", "message": "x", "ussd_type": "1"}', "bad-ussd-type"),
    (b'{"msisdn": "27831112222", "message": "x", "ussd_type": "99"}', "bad-ussd-type"),
    (b'{"msisdn": "27831112222", "message": "x", "ussd_type": "2", "genfields": ["a:b"]}', "colon"),
]


def test_what_cannot_be_sent_is_in_the_dead_letter_queue_with_the_reason(world):
    with world.up() as (broker, gateway, rabbit):
        dial(gateway, rabbit)
        for body, reason in REFUSED:
            rabbit.reply(body, headers={"x-richmond-worker": "EchoWorker"})
            dead, headers = rabbit.bury()
            assert (dead, headers["x-richmond-reason"]) == (body, reason)
            assert headers["x-richmond-queue"] == world.amqp.send_queue
            assert headers["x-richmond-worker"] == "EchoWorker"
            assert headers["x-richmond-exception"]
            assert datetime.fromisoformat(headers["x-richmond-time"]).utcoffset().total_seconds() == 0
        rabbit.reply("still here\rSSMI,99", ussd_type="2")
        assert gateway.line() == f"SSMI,110,{ANN},2,still here\nSSMI,99"
        counters = broker.wait_for(refused=len(REFUSED), sent=1)["counters"]
        assert replies_equal_their_parts(counters)
        assert counters["refused:session-over"] == 1
        assert rabbit.ready(world.amqp.send_queue) == 0


def test_characters_that_the_encoding_lacks_are_replaced_and_counted(world):
    with world.up() as (broker, gateway, rabbit):
        dial(gateway, rabbit)
        rabbit.reply("R5 or \N{EURO SIGN}5 \N{SNOWMAN}")
        assert gateway.line() == f"SSMI,110,{ANN},2,R5 or EUR5 ?"
        broker.wait_for(replaced_characters=2)


def test_the_second_reply_to_a_session_that_the_first_one_ended_is_refused(world):
    with world.up() as (_, gateway, rabbit):
        session = dial(gateway, rabbit)
        rabbit.reply("bye", ussd_type="3", session=session)
        rabbit.reply("more", session=session)
        assert gateway.line() == f"SSMI,110,{ANN},3,bye"
        assert rabbit.bury()[1]["x-richmond-reason"] == "session-over"


def test_a_push_needs_no_session_and_its_answer_reaches_the_default_class(world):
    with world.up() as (_, gateway, rabbit):
        rabbit.reply("hello", ussd_type="6")
        assert gateway.line() == f"SSMI,110,{ANN},6,hello"
        gateway.send(f"SSMI,110,{ANN},2,0,1")
        assert rabbit.receive()["message"] == "1"


def test_everything_else_goes_to_the_events_exchange(world):
    with world.up() as (broker, gateway, rabbit):
        events = rabbit.bind_events()
        gateway.send(
            f"SSMI,103,{ANN},17,Hello, you",
            f"SSMI,104,{ANN},12345,0",
            f"SSMI,107,{ANN},17,31022,WIN, car",
            "SSMI,105,free, text",
            f"SSMI,113,{ANN},17,foo",
            f"SSMI,600,2,{ANN},655019999,65501",
            f"SSMI,100,{ANN},12345",
            f"SSMI,110,{ANN},9,0,odd",
        )
        found = [rabbit.receive(events) for _ in range(8)]
        assert [event["kind"] for event in found] == [
            "sms", "delivery-report", "premium-sms", "free-form", "unknown", "imsi-reply", "sequence", "unknown",
        ]  # fmt: skip
        assert len({event["id"] for event in found}) == 8
        assert (found[0]["msisdn"], found[0]["sequence"], found[0]["message"]) == (ANN, "17", "Hello, you")
        assert (found[4]["command"], found[4]["fields"]) == ("113", [ANN, "17", "foo"])
        assert (found[7]["command"], found[7]["fields"]) == ("110", [ANN, "9", "0", "odd"])
        broker.wait_for(published__sms=1, published__unknown=2)


def test_events_that_nobody_wants_are_counted_as_such(world):
    with world.up() as (broker, gateway, _):
        gateway.send("SSMI,105,Hello, you")
        counters = broker.wait_for(unbound=1)["counters"]
        assert received_equals_its_parts(counters)


def test_garbage_is_counted_once_logged_and_the_link_kept(world):
    with world.up() as (broker, gateway, rabbit):
        gateway.socket.sendall(b"Garbage \x00\xff\r" * 100 + b"SSMI,110\r\r\n\r" + b"x" * 200_000 + b"\r")
        assert dial(gateway, rabbit)
        counters = broker.wait_for(ignored=104)["counters"]
        assert counters["ignored:no-header"] == 100
        assert counters["ignored:empty"] == 2
        assert counters["ignored:too-few-fields"] == counters["ignored:line-too-long"] == 1
        assert counters["link-logins"] == 1
        assert received_equals_its_parts(counters)
        log = broker.log.read_text()
        assert log.count("Garbage \\x00\\xff") == 1


def test_one_byte_at_a_time_is_as_good_as_any(world):
    with world.up() as (_, gateway, rabbit):
        for byte in f"SSMI,110,{ANN},1,0,*120*663#\r".encode():
            gateway.socket.sendall(bytes([byte]))
        assert rabbit.receive()["message"] == "*120*663#"


def test_neither_numbers_nor_texts_nor_the_password_get_into_the_log(world):
    with world.up() as (broker, gateway, rabbit):
        session = dial(gateway, rabbit)
        rabbit.reply("a secret of the worker", session=session)
        gateway.line()
        rabbit.reply("a late secret", session="gone")
        rabbit.bury()
        gateway.send(f"SSMI,106,{ANN},a secret of the subscriber", f"Garbage {ANN}", f"SSMI,103,{ANN},1,a secret text")
        broker.wait_for(ignored=2, dead_lettered=1)
        log = broker.log.read_text()
    assert ANN not in log
    assert "secret" not in log
    assert "pa,ss" not in log


def test_while_the_link_is_down_replies_wait_in_the_queue_and_nobody_consumes(world):
    with world.up() as (broker, gateway, rabbit):
        session = dial(gateway, rabbit)
        wait_until(lambda: rabbit.consumers(world.amqp.send_queue) == 1, "a consumer")
        gateway.socket.close()
        with world.gateway.accept(login=False) as second:
            assert second.line() == "SSMI,1,user,pa,ss"
            wait_until(lambda: rabbit.consumers(world.amqp.send_queue) == 0, "the consumer gone")
            rabbit.reply("kept", session=session)
            wait_until(lambda: rabbit.ready(world.amqp.send_queue) == 1, "the reply in the queue")
            second.send("SSMI,101,1")
            assert second.line() == "SSMI,3"
            assert second.line() == f"SSMI,110,{ANN},2,kept"
        assert broker.wait_for(sent=1)["counters"]["link-losses"] >= 1


def test_replies_on_the_way_when_the_gateway_resets_are_sent_on_the_next_connection(world):
    numbers = [f"2783{number:07}" for number in range(2000)]
    with world.up(amqp=replace(world.amqp, prefetch=3000)) as (broker, gateway, rabbit):
        gateway.send(*[f"SSMI,110,{msisdn},1,0,*1#" for msisdn in numbers])
        broker.wait_for(published=2000)
        # A gateway that reads nothing: what the sockets between us hold is full.
        for _ in range(20):
            send(rabbit, "mms", subject="x", name="x", content="00" * 200_000)
        broker.wait_for(sms_taken=20)
        for msisdn in numbers:
            rabbit.reply("bye", msisdn=msisdn, ussd_type="3")
        broker.wait_for(replies=2000)
        assert broker.counter("sent") < 2000
        gateway.reset()
        with world.gateway.accept(login=False) as second:
            counters = broker.wait_for(returned=1)["counters"]
            second.log_in()
            for _ in range(2020 - counters.get("sent", 0) - counters.get("sms-sent", 0)):
                second.line()
            counters = broker.wait_for(sent=2000)["counters"]
            assert counters["sent"] == 2000
            assert counters["returned"] > 0
            assert counters.get("refused", 0) == 0
            assert replies_equal_their_parts(counters)


def test_a_gateway_that_reads_slowly_gets_every_reply_once(world):
    numbers = [f"2783{number:07}" for number in range(5000)]
    with world.up() as (broker, gateway, rabbit):
        gateway.send(*[f"SSMI,110,{msisdn},1,0,*1#" for msisdn in numbers])
        broker.wait_for(published=5000)
        for _ in range(20):
            send(rabbit, "mms", subject="x", name="x", content="00" * 200_000)
        broker.wait_for(sms_taken=20)
        for msisdn in numbers:
            rabbit.reply("y" * 180, msisdn=msisdn, ussd_type="3")
        wait_until(lambda: rabbit.ready(world.amqp.send_queue) < 5000, "the first replies taken")
        replies = []
        while len(replies) < 5000:
            line = gateway.line()
            replies += [line.split(",")[2]] if line.startswith("SSMI,110,") else []
        assert replies == numbers
        broker.wait_for(sent=5000)


def test_a_session_that_begins_while_rabbitmq_is_away_gets_the_apology(world, free_port):
    away = replace(world.amqp, port=free_port)
    with world.broker(amqp=away) as broker, world.gateway.accept() as gateway:
        assert "nobody listens" in broker.wait_for(link="up", amqp="down")["amqp"]["error"]
        gateway.send(f"SSMI,110,{ANN},1,0,*120*663#", f"SSMI,110,{BOB},2,0,an answer")
        assert gateway.line() == f"SSMI,110,{ANN},3,Sorry, try later"
        counters = broker.wait_for(apologised__rabbitmq_away=1, waiting=1)["counters"]
        assert received_equals_its_parts(counters)
        broker.reconfigure(world.settings())
        broker.wait_for(amqp="up", published=1)
        with world.rabbit() as rabbit:
            message = rabbit.receive()
            assert (message["msisdn"], message["message"]) == (BOB, "an answer")
            assert broker.counter("link-logins") == 1


def test_no_more_than_the_buffer_is_kept_while_rabbitmq_is_away(world, free_port):
    away = replace(world.amqp, port=free_port)
    with world.broker(amqp=away, buffer=10) as broker, world.gateway.accept() as gateway:
        gateway.send(*[f"SSMI,110,2783{number:07},2,0,x" for number in range(12)], f"SSMI,103,{ANN},17,text")
        assert {gateway.line() for _ in range(2)} == {f"SSMI,110,2783{n:07},3,Sorry, try later" for n in (10, 11)}
        counters = broker.wait_for(journalled=1, apologised=2)["counters"]
        assert counters["waiting"] == 11
        assert counters["apologised:buffer-full"] == 2
        assert received_equals_its_parts(counters)


def test_what_rabbitmq_did_not_take_before_the_stop_is_counted_as_lost(world, free_port):
    with world.broker(amqp=replace(world.amqp, port=free_port)) as broker, world.gateway.accept() as gateway:
        broker.wait_for(link="up", amqp="down")
        gateway.send(f"SSMI,110,{ANN},2,0,an answer")
        broker.wait_for(waiting=1)
        with say_goodbye(gateway, []):
            broker.call("stop", 2)
        counters = broker.status()["counters"]
        assert (counters["waiting"], counters["dropped:stopped"]) == (0, 1)
        assert received_equals_its_parts(counters)
        assert "1 messages of subscribers are lost" in broker.log.read_text()


def test_a_stop_waits_for_a_connection_that_has_just_broken(world):
    amqp = replace(world.amqp, connect_timeout_s=60.0)
    with world.behind_a_proxy(amqp) as (proxy, broker, gateway, rabbit):
        proxy.hold()
        proxy.cut()
        broker.wait_for(amqp="down")
        gateway.send(f"SSMI,110,{ANN},2,0,an answer")
        broker.wait_for(waiting=1)
        with say_goodbye(gateway, []):
            broker.send("stop", 60)
        proxy.flow()
        broker.answer()
        assert rabbit.receive()["message"] == "an answer"
        assert broker.counter("waiting") == broker.counter("dropped") == 0


def test_rabbitmq_that_goes_and_comes_back_costs_no_message(world):
    with world.behind_a_proxy() as (proxy, broker, gateway, rabbit):
        session = dial(gateway, rabbit)
        for number in range(20):
            gateway.send(f"SSMI,110,{ANN},2,0,{number}")
            if number in (5, 12):
                broker.wait_for(amqp="up")
                proxy.cut()
        broker.wait_for(published=21)
        missing = {str(number) for number in range(20)}
        while missing:  # some come twice: their confirm was cut off
            missing.discard(rabbit.receive()["message"])
        rabbit.reply("there", session=session)
        assert gateway.line() == f"SSMI,110,{ANN},2,there"


def test_a_connection_that_breaks_and_comes_back_costs_no_session_an_apology(world):
    with world.behind_a_proxy() as (proxy, broker, gateway, rabbit):
        for number in range(20):
            if number in (5, 12):
                broker.wait_for(amqp="up")
                proxy.cut()
            gateway.send(f"SSMI,110,2783{number:07},1,0,*1#")
        counters = broker.wait_for(published=20)["counters"]
        assert "apologised" not in counters
        missing = {f"2783{number:07}" for number in range(20)}
        while missing:  # some come twice: their confirm was cut off
            missing.discard(rabbit.receive()["msisdn"])


def test_a_slow_rabbitmq_makes_the_gateway_wait_and_memory_stays_bounded(world):
    with world.behind_a_proxy(replace(world.amqp, heartbeat_s=60)) as (proxy, broker, gateway, _):
        proxy.hold()
        gateway.socket.setblocking(False)
        line = f"SSMI,110,{ANN},2,0,{'z' * 1000}\r".encode()
        sent = 0
        while select.select([], [gateway.socket], [], 1.0)[1]:
            sent += gateway.socket.send(memoryview(line * 64)[sent % len(line) :])
            assert sent < 64_000_000, "the broker reads without end"
        assert broker.counter("waiting") < 3000
        proxy.flow()
        gateway.socket.setblocking(True)
        gateway.socket.settimeout(15)
        gateway.socket.sendall(line[sent % len(line) :])
        broker.wait_for(published=sent // len(line) + 1)
        assert broker.counter("link-losses") == 0


def test_a_queue_deleted_under_the_broker_is_declared_again(world):
    with world.up() as (_, gateway, rabbit):
        dial(gateway, rabbit)
        rabbit.channel.queue_delete(world.amqp.receive_queue)
        gateway.send(f"SSMI,110,{ANN},2,0,still there?")
        wait_until(lambda: rabbit.exists(world.amqp.receive_queue), "the queue")
        assert rabbit.receive()["message"] == "still there?"


def test_a_wrong_password_is_said_in_plain_words_and_retried_slowly(world):
    with world.broker() as broker, world.gateway.accept(login=False) as gateway:
        assert gateway.line() == "SSMI,1,user,pa,ss"
        gateway.send("SSMI,102,1")
        assert gateway.line() == ""
        status = broker.wait_for(link="auth-failed")
        assert "user name or password" in link(status)["error"]
        assert "pa,ss" not in json.dumps(status)
        assert not select.select([world.gateway.listener], [], [], 1.5)[0]


def test_an_unanswered_login_is_given_up(world):
    with world.broker(login_timeout_s=0.3) as broker, world.gateway.accept(login=False) as gateway:
        assert gateway.line() == "SSMI,1,user,pa,ss"
        assert gateway.line() == ""
        assert "did not answer the login" in link(broker.wait_for(link="auth-failed"))["error"]


def test_another_client_with_our_account_makes_us_wait(world):
    with world.up() as (broker, gateway, rabbit):
        gateway.send("SSMI,199,196.1.2.3")
        assert gateway.line() == ""
        status = broker.wait_for(link="remote-logout")
        assert "196.1.2.3" in link(status)["error"]
        wait_until(lambda: rabbit.consumers(world.amqp.send_queue) == 0, "the consumer gone")
        assert not select.select([world.gateway.listener], [], [], 1.0)[0]


def test_another_client_with_our_account_is_pushed_out_where_the_ini_says_so(world):
    with world.up(on_remote_logout="reconnect") as (broker, gateway, _):
        gateway.send("SSMI,199,196.1.2.3")
        with world.gateway.accept():
            broker.wait_for(link="up", link_remote_logouts=1)


def test_a_gateway_that_answers_no_link_check_is_dialled_again(world):
    with world.broker(link_check_interval_s=0.3) as broker, world.gateway.accept(login=False) as gateway:
        gateway.send("SSMI,101,1")
        assert [gateway.line() for _ in range(4)] == ["SSMI,1,user,pa,ss", "SSMI,3", "SSMI,3", ""]
        with world.gateway.accept(login=False):
            assert "2 link checks unanswered" in link(broker.wait_for(link_dead=1))["error"]


def test_nobody_at_the_gateways_address_is_said_in_plain_words(world, free_port):
    with world.broker(gateway_port=free_port) as broker:
        status = broker.wait_for(link="backoff")
        assert f"nobody listens on 127.0.0.1:{free_port}" in link(status)["error"]


def test_other_gateway_settings_reconnect_only_the_gateway(world):
    with world.up() as (broker, gateway, rabbit):
        amqp_since = broker.status()["amqp"]["since"]
        broker.reconfigure(world.settings(password="new"))
        assert gateway.line() == "SSMI,99"
        gateway.send(f"SSMI,110,{ANN},1,0,*1#")
        gateway.socket.close()
        assert rabbit.receive()["message"] == "*1#"
        with world.gateway.accept(login=False) as second:
            assert second.line() == "SSMI,1,user,new"
            second.send("SSMI,101,1")
            status = broker.wait_for(link="up")
            assert status["amqp"]["since"] == amqp_since
            rabbit.reply("on the new one")
            assert [second.line() for _ in range(2)] == ["SSMI,3", f"SSMI,110,{ANN},2,on the new one"]


def test_other_times_and_routes_reconnect_nothing(world):
    with world.up() as (broker, gateway, rabbit):
        foo = make_worker("Foo", f"{world.amqp.receive_queue}.foo", "*120*666#")
        broker.reconfigure(world.settings(apology="Another", workers=[foo], amqp=replace(world.amqp, prefetch=7)))
        gateway.send(f"SSMI,110,{ANN},1,0,*1#", f"SSMI,110,{BOB},1,0,*120*666#")
        assert gateway.line() == f"SSMI,110,{ANN},3,Another"
        wait_until(lambda: rabbit.exists(foo.queue), "the new queue")
        assert rabbit.receive(foo.queue)["msisdn"] == BOB
        rabbit.reply("hi", msisdn=BOB)
        assert gateway.line() == f"SSMI,110,{BOB},2,hi"
        assert broker.counter("link-logins") == 1


def test_after_stop_reading_replies_still_go_out_and_input_waits_for_the_stop(world):
    with world.up(amqp=replace(world.amqp, prefetch=3)) as (broker, gateway, rabbit):
        session = dial(gateway, rabbit)
        broker.call("stop_reading")
        gateway.send(f"SSMI,110,{BOB},2,0,late")
        rabbit.reply("from a worker that finishes", session=session)
        assert gateway.line() == f"SSMI,110,{ANN},2,from a worker that finishes"
        assert rabbit.ready(world.amqp.receive_queue) == 0
        for number in range(50):
            rabbit.reply(str(number), session=session)
        with say_goodbye(gateway, [f"SSMI,110,{ANN},2,{number}" for number in range(50)]):
            broker.call("stop", 10)
        assert rabbit.ready(world.amqp.send_queue) == 0
        assert rabbit.receive()["message"] == "late"


def test_what_the_gateway_said_before_it_reset_the_link_is_read_if_the_writer_notices_first(world):
    with world.up() as (broker, gateway, rabbit):
        session = dial(gateway, rabbit)
        broker.call("stop_reading")
        gateway.send(*[f"SSMI,110,{BOB},2,0,{number}" for number in range(2000)])
        gateway.reset()
        rabbit.reply("to nobody", session=session)
        assert [rabbit.receive()["message"] for _ in range(2000)] == [str(number) for number in range(2000)]
        broker.wait_for(link_losses=1, returned=1)


def test_what_the_gateway_says_after_the_logout_is_published(world):
    with world.up() as (broker, gateway, rabbit):
        with say_goodbye(gateway, [], f"SSMI,110,{ANN},2,0,last words"):
            broker.call("stop", 10)
        assert rabbit.receive()["message"] == "last words"
        assert link(broker.status())["state"] == "stopped"


def test_stopping_with_neither_gateway_nor_rabbitmq_ends_at_once(world, free_port):
    amqp = replace(world.amqp, port=free_port)
    with world.broker(gateway_port=free_port, amqp=amqp) as broker:
        broker.wait_for(link="backoff", amqp="down")
        broker.call("stop", 3600)


def test_a_stop_while_the_gateway_does_not_answer_the_login_ends_at_once(world):
    with world.broker(login_timeout_s=3600.0) as broker, world.gateway.accept(login=False) as gateway:
        broker.wait_for(link="logging-in", amqp="up")
        broker.call("stop", 3600)
        assert gateway.line() == "SSMI,1,user,pa,ss"


@contextlib.contextmanager
def say_goodbye(gateway, before, *after):
    """Play the gateway that takes these lines and the logout, says something more, and closes."""

    def play():
        try:
            seen.extend(gateway.line() for _ in range(len(before) + 1))
            gateway.send(*after)
            gateway.socket.close()
        except OSError as e:
            seen.append(e)

    seen = []
    thread = threading.Thread(target=play)
    thread.start()
    yield
    thread.join()
    assert seen == [*before, "SSMI,99"]
