"""The dead-letter queue of a real RabbitMQ: looking changes nothing, settling loses and doubles nothing."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace

import pika
import pytest
from amqp_proxy import Proxy
from amqp_settings import amqp_settings
from installation import until

from richmond.dead_queue import DeadQueue, alone
from richmond.errors import AMQPUnreachable

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


class Queues:
    """A dead-letter queue and a queue `back` of this test's own, and a stranger's client at them."""

    def __init__(self, node):
        self.node = node
        mark = uuid.uuid4().hex[:8]
        self.dead, self.back = f"dead-{mark}", f"back-{mark}"
        self.settings = node.apply(amqp_settings(dead_queue=self.dead))
        credentials = pika.PlainCredentials(node.username, node.password)
        self.connection = pika.BlockingConnection(
            pika.ConnectionParameters(node.host, node.port, node.vhost, credentials)
        )
        self.channel = self.connection.channel()
        for queue in (self.dead, self.back):
            self.channel.queue_declare(queue, durable=True)

    def fill(self, count):
        self.channel.confirm_delivery()
        for n in range(count):
            headers = {"x-richmond-reason": "handler-failed", "x-richmond-queue": self.back, "x-richmond-attempts": n}
            self.channel.basic_publish("", self.dead, b"%d" % n, pika.BasicProperties(headers=headers))

    def depth(self, queue):
        return self.channel.queue_declare(queue, passive=True).method.message_count

    def take(self, queue, count):
        """Bodies, in order, out of the queue for good."""
        until(f"{count} messages in {queue}", lambda: self.depth(queue) >= count)
        return [self.channel.basic_get(queue, auto_ack=True)[2] for _ in range(self.depth(queue))]

    def close(self):
        for queue in (self.dead, self.back):
            self.channel.queue_delete(queue)
        self.connection.close()


@pytest.fixture
def queues(node):
    made = Queues(node)
    yield made
    made.close()
    assert [t.name for t in threading.enumerate() if t.name.startswith("amqp-")] == []


def numbers(*counts):
    return [b"%d" % n for n in range(*counts)]


def test_looking_leaves_every_letter_in_its_place(queues):
    queues.fill(1200)  # more than are fetched at once
    ids = []
    for _ in range(2):
        with DeadQueue(queues.settings) as dead:
            held = list(dead.letters())
            assert (dead.total, dead.seen, dead.unseen, dead.strangers) == (1200, 1200, 0, 0)
        assert [h.letter.body for h in held] == numbers(1200)
        ids.append([h.letter.id for h in held])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 1200
    assert queues.take(queues.dead, 1200) == numbers(1200)


def test_what_is_not_settled_is_back_in_its_place_among_the_others(queues):
    queues.fill(10)
    with DeadQueue(queues.settings) as dead:
        for held in dead.letters():
            if held.letter.body in (b"0", b"4", b"5"):
                dead.drop(held)
            if held.letter.body == b"7":
                assert dead.retry(held, queues.back) is None
    assert queues.take(queues.dead, 6) == [b"1", b"2", b"3", b"6", b"8", b"9"]
    assert queues.take(queues.back, 1) == [b"7"]


def test_a_retried_letter_says_so_and_keeps_its_attempts(queues):
    queues.fill(4)
    with DeadQueue(queues.settings) as dead:
        assert [dead.retry(held, queues.back) for held in dead.letters()] == [None] * 4
    for n in range(4):
        _, properties, body = queues.channel.basic_get(queues.back, auto_ack=True)
        assert (body, properties.delivery_mode) == (b"%d" % n, 2)
        assert properties.headers == {"x-richmond-retried": 1, "x-richmond-attempts": n}
    assert queues.depth(queues.dead) == 0


def test_a_letter_whose_queue_is_gone_stays(queues):
    queues.fill(3)
    with DeadQueue(queues.settings) as dead:
        results = [dead.retry(held, queues.back if held.letter.body == b"1" else "gone") for held in dead.letters()]
    assert results == ["unroutable", None, "unroutable"]
    assert queues.take(queues.dead, 2) == [b"0", b"2"]


def test_a_letter_that_dies_again_meanwhile_is_not_tried_for_ever(queues):
    queues.fill(700)
    with DeadQueue(queues.settings) as dead:
        assert [dead.retry(held, queues.dead) for held in dead.letters()] == [None] * 700
    assert queues.take(queues.dead, 700) == numbers(700)


def test_so_many_are_held_and_no_more(queues):
    queues.fill(1500)
    with DeadQueue(queues.settings, most_held=1100) as dead:
        assert [h.letter.body for h in dead.letters()] == numbers(1100)
        assert (dead.unseen, dead.full) == (400, True)
    with DeadQueue(queues.settings, most_held=10) as dead:  # what is settled is not held
        for held in dead.letters():
            if int(held.letter.body) % 200:
                dead.drop(held)
        assert (dead.seen, dead.unseen) == (1500, 0)
    assert queues.take(queues.dead, 8) == numbers(0, 1500, 200)


def test_it_ends_where_others_took_the_rest(queues):
    queues.fill(10)
    with DeadQueue(queues.settings) as dead:
        taken = [queues.channel.basic_get(queues.dead) for _ in range(4)]
        assert [h.letter.body for h in dead.letters()] == numbers(4, 10)
        assert (dead.unseen, dead.full) == (4, False)
    for method, _, _ in taken:
        queues.channel.basic_reject(method.delivery_tag, requeue=True)
    assert queues.take(queues.dead, 10) == numbers(10)


def test_other_consumers_are_noticed(queues):
    queues.channel.basic_consume(queues.dead, lambda *_: None)
    with DeadQueue(queues.settings) as dead:
        assert dead.strangers == 1


def test_no_queue_is_no_letter(queues):
    queues.channel.queue_delete(queues.dead)
    with DeadQueue(queues.settings) as dead:
        assert list(dead.letters()) == []
    queues.channel.queue_declare(queues.dead, passive=False, durable=True)


def test_when_told_to_stop_it_finishes_the_letter_in_hand_and_leaves_the_rest(queues):
    queues.fill(1000)
    with DeadQueue(queues.settings) as dead:
        for held in dead.letters():
            if held.letter.body == b"600":
                dead.stop()
            assert dead.retry(held, queues.back) is None
    assert queues.take(queues.back, 601) == numbers(601)
    assert queues.take(queues.dead, 399) == numbers(601, 1000)


def test_a_rabbitmq_that_is_not_there_is_said(queues):
    with pytest.raises(AMQPUnreachable, match=r"nobody listens on 127.0.0.1:1: is RabbitMQ running\?"):
        DeadQueue(amqp_settings(port=1)).__enter__()


def test_a_lost_connection_ends_it_and_loses_nothing(queues):
    """Were it to go on with the next connection, it would have all letters once more."""
    queues.fill(100)
    proxy = Proxy(queues.settings.port)
    retried = []

    def retry_all():
        with DeadQueue(replace(queues.settings, port=proxy.port)) as dead:
            for held in dead.letters():
                if held.letter.body == b"50":
                    proxy.reset()
                assert dead.retry(held, queues.back) is None
                retried.append(held.letter.body)

    try:
        with pytest.raises(AMQPUnreachable):
            retry_all()
    finally:
        proxy.close()
    assert retried == numbers(50)
    back = queues.take(queues.back, 50)
    left = queues.take(queues.dead, 49)
    assert set(back) | set(left) == set(numbers(100))
    assert len(back) + len(left) <= 101, "only the one in hand may be in both"


def test_one_at_a_time(tmp_path):
    ini = tmp_path / "richmond.ini"
    ini.touch()
    waits, entered, order = threading.Event(), threading.Event(), []

    def other():
        with alone(ini, waits.set):
            order.append("other")
            entered.set()

    with alone(ini, waits.set):
        thread = threading.Thread(target=other)
        thread.start()
        assert waits.wait(30)
        order.append("first")
    assert entered.wait(30)
    thread.join(30)
    assert order == ["first", "other"]
