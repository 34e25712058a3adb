"""The names on RabbitMQ."""

from types import SimpleNamespace

from amqp_settings import amqp_settings

from richmond.amqp.topology import Queue, topology


def worker(queue, key):
    return SimpleNamespace(queue=queue, routing_key=key)


def test_the_queues_of_2010_the_dead_letters_and_one_queue_for_each_class_with_codes():
    own = worker("richmond.receive.FooBarWorker", "ssmi.receive.FooBarWorker")
    default = worker("richmond.receive", "ssmi.receive")
    found = topology(amqp_settings(), (default, own))
    assert found.exchanges == (("richmond", "direct"), ("richmond.events", "topic"))
    assert set(found.queues) == {
        Queue("richmond.send", "richmond", "ssmi.send"),
        Queue("richmond.receive", "richmond", "ssmi.receive"),
        Queue("richmond.dead", "richmond", "ssmi.dead"),
        Queue("richmond.receive.FooBarWorker", "richmond", "ssmi.receive.FooBarWorker"),
    }
