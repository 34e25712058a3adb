"""Several accounts, each with a gateway that the test plays: links, sessions and queues of their own."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from broker_host import Gateway, Rabbit, make_account, make_amqp, make_settings, make_worker, running, wait_until

pytestmark = [pytest.mark.services, pytest.mark.timeout(60)]

ANN = "27831112222"


class World:
    """A broker with the accounts `default` and `second`."""

    def __init__(self, directory, node):
        self.directory = directory
        self.amqp = make_amqp(node)
        self.gateways = [Gateway(), Gateway()]
        self.second = make_account(self.gateways[1].port, name="second", apology="Second is sorry")

    def settings(self, **changes):
        amqp, port = self.amqp, self.gateways[0].port
        return make_settings(self.directory, **{"gateway_port": port, "amqp": amqp, "more": [self.second]} | changes)

    @contextlib.contextmanager
    def up(self, **changes):
        """(broker, the gateways' connections, rabbit)."""
        with (
            running(self.directory, self.settings(**changes)) as broker,
            self.gateways[0].accept() as first,
            self.gateways[1].accept() as second,
        ):
            broker.wait_for(amqp="up")
            wait_until(lambda: states(broker) == ["up", "up"], "both links")
            with Rabbit(self.amqp) as rabbit:
                yield broker, first, second, rabbit


@pytest.fixture
def world(tmp_path, node):
    world = World(tmp_path, node)
    with world.gateways[0], world.gateways[1]:
        yield world


def states(broker):
    return [account["link"]["state"] for account in broker.status()["accounts"]]


def test_one_number_has_a_session_at_each_and_each_gets_its_own_replies(world):
    with world.up() as (broker, first, second, rabbit):
        first.send(f"SSMI,110,{ANN},1,0,*1#")
        one = rabbit.receive()
        second.send(f"SSMI,110,{ANN},1,0,*2#")
        two = rabbit.receive()
        assert [(m["account"], m["code"]) for m in (one, two)] == [("default", "*1#"), ("second", "*2#")]
        rabbit.reply("to the second", to=".second", session=two["session"], account="second", ussd_type="3")
        assert second.line() == f"SSMI,110,{ANN},3,to the second"
        rabbit.reply("to the first", session=one["session"])
        assert first.line() == f"SSMI,110,{ANN},2,to the first"
        assert [a["sessions"] for a in broker.wait_for(sent=2)["accounts"]] == [1, 0]
        rabbit.reply("late", to=".second")
        assert rabbit.bury()[1]["x-richmond-queue"] == f"{world.amqp.send_queue}.second"


def test_a_reply_in_the_queue_of_another_account_is_refused(world):
    with world.up() as (_, first, _, rabbit):
        first.send(f"SSMI,110,{ANN},1,0,*1#")
        session = rabbit.receive()["session"]
        rabbit.reply("astray", session=session, account="second")
        assert rabbit.bury()[1]["x-richmond-reason"] == "wrong-account"


def test_one_link_is_lost_and_the_other_goes_on(world):
    with world.up() as (broker, first, second, rabbit):
        first.socket.close()
        wait_until(lambda: states(broker)[0] != "up", "the loss")
        wait_until(lambda: rabbit.consumers(world.amqp.send_queue) == 0, "the consumer gone")
        second.send(f"SSMI,110,{ANN},1,0,*1#")
        rabbit.reply("still here", to=".second", session=rabbit.receive()["session"])
        assert second.line() == f"SSMI,110,{ANN},2,still here"
        assert states(broker)[1] == "up"


def test_what_is_wrong_with_an_account_names_its_section(world):
    with world.up() as (broker, _, second, _):
        second.socket.close()
        world.gateways[1].listener.close()
        wait_until(lambda: "[ssmi:second]" in broker.status()["accounts"][1]["link"]["error"], "the section")
        assert "SSMI link of second to" in broker.log.read_text()


def test_a_class_may_want_one_account_only(world):
    foo = replace(make_worker("Foo", f"{world.amqp.receive_queue}.foo", "*1#"), accounts=("second",))
    echo = make_worker("Echo", world.amqp.receive_queue)
    with world.up(workers=[foo, echo]) as (_, first, second, rabbit):
        first.send(f"SSMI,110,{ANN},1,0,*1#")
        assert rabbit.receive()["account"] == "default"
        second.send(f"SSMI,110,{ANN},1,0,*1#")
        assert rabbit.receive(foo.queue)["account"] == "second"


def test_a_reload_takes_accounts_away_and_brings_others(world):
    with world.up() as (broker, first, second, rabbit):
        with Gateway() as third:
            account = make_account(third.port, name="third")
            broker.send("reconfigure", world.settings(more=[account]))
            assert second.line() == "SSMI,99"
            second.socket.close()
            with third.accept() as connection:
                broker.answer()
                wait_until(lambda: states(broker) == ["up", "up"], "the new link")
                assert [a["name"] for a in broker.status()["accounts"]] == ["default", "third"]
                connection.send(f"SSMI,110,{ANN},1,0,*1#")
                session = rabbit.receive()["session"]
                rabbit.reply("hello", to=".third", session=session)
                assert connection.line() == f"SSMI,110,{ANN},2,hello"
                assert rabbit.consumers(f"{world.amqp.send_queue}.second") == 0
        first.send(f"SSMI,110,{ANN},1,0,*1#")
        assert rabbit.receive()["account"] == "default"
