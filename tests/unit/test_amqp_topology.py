"""The names on RabbitMQ."""

from types import SimpleNamespace

from amqp_settings import amqp_settings

from richmond.amqp.topology import Queue, send_queues, topology


def worker(queue, key):
    return SimpleNamespace(queue=queue, routing_key=key)


def test_the_queues_of_2010_and_one_for_sms_the_dead_letters_and_one_queue_for_each_class_with_codes():
    own = worker("richmond.receive.FooBarWorker", "ssmi.receive.FooBarWorker")
    default = worker("richmond.receive", "ssmi.receive")
    found = topology(amqp_settings(), (default, own))
    assert found.exchanges == (("richmond", "direct"), ("richmond.events", "topic"))
    assert set(found.queues) == {
        Queue("richmond.send", "richmond", "ssmi.send"),
        Queue("richmond.send.sms", "richmond", "ssmi.send.sms"),
        Queue("richmond.receive", "richmond", "ssmi.receive"),
        Queue("richmond.dead", "richmond", "ssmi.dead"),
        Queue("richmond.receive.FooBarWorker", "richmond", "ssmi.receive.FooBarWorker"),
    }


def test_each_account_has_two_queues_to_send_from_under_the_names_of_the_ini():
    amqp = amqp_settings(exchange="x", send_queue="out", send_routing_key="key")
    found = send_queues(amqp, "default"), send_queues(amqp, "shop")
    assert [(pair.ussd, pair.sms) for pair in found] == [
        (Queue("out", "x", "key"), Queue("out.sms", "x", "key.sms")),
        (Queue("out.shop", "x", "key.shop"), Queue("out.shop.sms", "x", "key.shop.sms")),
    ]


def test_the_topology_has_the_queues_of_its_accounts_and_of_no_other():
    names = [queue.name for queue in topology(amqp_settings(), (), ("shop", "bank")).queues]
    assert sorted(names) == [
        "richmond.dead", "richmond.receive",
        "richmond.send.bank", "richmond.send.bank.sms", "richmond.send.shop", "richmond.send.shop.sms",
    ]  # fmt: skip
