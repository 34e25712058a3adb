"""USSD texts in pages: the broker turns them by itself, whatever befalls it or its links meanwhile."""

from __future__ import annotations

import socket

import pytest
from broker_host import wait_until
from broker_world import ANN, World, dial, received_equals_its_parts, replies_equal_their_parts, send, stop

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]

MENU = "\n".join(f"{number}. a line of the menu" for number in range(1, 21))
MORE = f"SSMI,110,{ANN},2,0,#"


@pytest.fixture
def world(tmp_path, node):
    world = World(tmp_path, node)
    with world.gateway:
        yield world


def parts(line):
    """Type and text."""
    return tuple(line.split(",", 4)[3:])


def test_the_more_option_gets_the_next_page_without_a_worker(world):
    with world.up() as (broker, gateway, rabbit):
        session = dial(gateway, rabbit)
        rabbit.reply(MENU, session=session, ussd_type="3", long="pages")
        pages = [parts(gateway.line())]
        for _ in range(2):
            gateway.send(MORE)
            pages.append(parts(gateway.line()))
        assert [ussd_type for ussd_type, _ in pages] == ["2", "2", "3"]
        text = "\n".join(text.removesuffix("\n# More") for _, text in pages)
        assert text == MENU
        status = broker.wait_for(paged=2, sent=1)
        assert status["accounts"][0]["sessions"] == 0
        assert received_equals_its_parts(status["counters"])
        assert replies_equal_their_parts(status["counters"])
        assert rabbit.ready(world.amqp.receive_queue) == 0


def test_another_answer_goes_to_the_worker(world):
    with world.up() as (_, gateway, rabbit):
        session = dial(gateway, rabbit)
        rabbit.reply(MENU, session=session, long="pages")
        gateway.line()
        gateway.send(f"SSMI,110,{ANN},2,0,7", MORE)
        assert [rabbit.receive()["message"] for _ in range(2)] == ["7", "#"]


def test_pages_are_turned_while_rabbitmq_is_away(world):
    with world.behind_a_proxy() as (proxy, broker, gateway, rabbit):
        session = dial(gateway, rabbit)
        rabbit.reply(MENU, session=session, long="pages")
        gateway.line()
        proxy.refuse()
        broker.wait_for(amqp="down")
        gateway.send(MORE)
        assert parts(gateway.line())[0] == "2"


@pytest.mark.parametrize("end", ["stop", "kill -9"])
def test_pages_outlive_the_broker(world, end):
    with world.up() as (broker, gateway, rabbit):
        session = dial(gateway, rabbit)
        rabbit.reply(MENU, session=session, long="pages")
        gateway.line()
        if end == "stop":
            stop(broker, gateway)
        else:
            store = world.directory / "sessions.db"
            wait_until(lambda: b"20. a line" in store.read_bytes(), "the pages on disk")
            broker.kill()
    with world.up() as (_, gateway, _):
        gateway.send(MORE, MORE)
        assert parts(gateway.line())[0] == "2"
        assert parts(gateway.line())[1].endswith("20. a line of the menu")


def test_a_page_waits_for_its_token_too_and_is_not_lost_with_the_link(world):
    with world.up(ussd_rate=0.001, ussd_burst=1) as (broker, gateway, rabbit):
        session = dial(gateway, rabbit)
        rabbit.reply(MENU, session=session, long="pages")
        assert parts(gateway.line())[1].startswith("1. a line")
        gateway.send(MORE)
        throttled = wait_until(lambda: broker.status()["accounts"][0]["throttled"], "a page that waits")
        assert [(t["kind"], t["waiting"]) for t in throttled] == [("ussd", 1)]
        gateway.socket.close()
        with world.gateway.accept() as second:
            broker.reconfigure(world.settings())
            second.send(MORE)
            assert parts(second.line())[1].startswith("9. a line")
            assert replies_equal_their_parts(broker.wait_for(paged=2)["counters"])


def test_a_page_whose_sending_fails_can_be_asked_for_again(world):
    # The largest MMS is more than the sockets between us hold, if segments are small.
    world.gateway.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    world.gateway.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    with world.up(ussd_rate=0.001, ussd_burst=1, sms_rate=0.001, sms_burst=1) as (broker, gateway, rabbit):
        session = dial(gateway, rabbit)
        rabbit.reply(MENU, session=session, long="pages")
        send(rabbit, message="takes the other token")
        lines = {gateway.line() for _ in range(2)}
        assert f"SSMI,2,0,{ANN},takes the other token" in lines
        gateway.send(MORE)
        send(rabbit, "mms", subject="large", name="a", content="00" * 500_000)
        wait_until(lambda: len(broker.status()["accounts"][0]["throttled"]) == 2, "both to wait for a token")
        broker.reconfigure(world.settings())
        assert gateway.socket.recv(9, socket.MSG_PEEK) == b"SSMI,110,"  # they are being sent
        gateway.reset()
        with world.gateway.accept() as second:
            second.send(MORE)
            pages = [parts(line)[1] for line in (second.line(), second.line()) if line.startswith("SSMI,110,")]
            assert [page.partition(".")[0] for page in pages] == ["9"]
            assert replies_equal_their_parts(broker.wait_for(paged=2, sms_sent=2)["counters"])
