"""The broker between a gateway that the test plays and a real RabbitMQ."""

from __future__ import annotations

import pytest
from broker_host import Gateway, Rabbit, make_amqp, make_settings, make_worker, running

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]

ANN, BOB = "27831112222", "27831113333"


class World:
    """One broker with its gateway and its names on RabbitMQ."""

    def __init__(self, directory, node):
        self.directory = directory
        self.node = node
        self.gateway = Gateway()
        self.amqp = make_amqp(node)

    def settings(self, **changes):
        workers = changes.pop("workers", ())
        return make_settings(
            self.directory,
            gateway_port=self.gateway.port,
            amqp=changes.pop("amqp", self.amqp),
            workers=workers,
            **changes,
        )

    def broker(self, **changes):
        return running(self.directory, self.settings(**changes))

    def rabbit(self):
        return Rabbit(self.amqp)


@pytest.fixture
def world(tmp_path, node):
    world = World(tmp_path, node)
    with world.gateway:
        yield world


def test_a_message_goes_to_the_queue_and_its_reply_to_the_gateway(world):
    with world.broker() as broker, world.gateway.accept() as gateway, world.rabbit() as rabbit:
        broker.wait_for(link="up", amqp="up")
        gateway.send(f"SSMI,110,{ANN},1,0,*120*663")
        message = rabbit.receive()
        assert message.pop("received") > 1_700_000_000
        session, identity = message.pop("session"), message.pop("id")
        assert session
        assert identity
        assert message == {
            "msisdn": ANN,
            "ussd_type": "1",
            "ussd_phase": "0",
            "message": "*120*663",
            "code": "*120*663#",
        } | ({"kind": message["kind"]} if "kind" in message else {})
        rabbit.reply("Welcome\n1. Food", session=session)
        assert gateway.line() == f"SSMI,110,{ANN},2,Welcome\n1. Food"
        gateway.send(f"SSMI,110,{ANN},2,0,Hello, you.")
        answer = rabbit.receive()
        assert (answer["message"], answer["session"], answer["code"]) == ("Hello, you.", session, "*120*663#")
        rabbit.reply("bye", ussd_type="3", session=session)
        assert gateway.line() == f"SSMI,110,{ANN},3,bye"
        status = broker.wait_for(sent=2, published=2)
        assert status["sessions"] == 0
        assert rabbit.ready(world.amqp.send_queue) == 0
