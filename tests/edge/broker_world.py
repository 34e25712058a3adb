"""One broker with its gateway and its names on RabbitMQ, for the tests of single things that it does."""

import contextlib
import json
from dataclasses import replace

from broker_host import Gateway, Proxy, Rabbit, make_amqp, make_settings, make_worker, running

ANN, BOB = "27831112222", "27831113333"


class World:
    def __init__(self, directory, node):
        self.directory = directory
        self.node = node
        self.gateway = Gateway()
        self.amqp = make_amqp(node)

    def settings(self, **changes):
        return make_settings(self.directory, **{"gateway_port": self.gateway.port, "amqp": self.amqp} | changes)

    def broker(self, **changes):
        return running(self.directory, self.settings(**changes))

    def rabbit(self):
        return Rabbit(self.amqp)

    @contextlib.contextmanager
    def up(self, **changes):
        """Everything up: (broker, gateway's connection, rabbit)."""
        with self.broker(**changes) as broker, self.gateway.accept() as gateway:
            broker.wait_for(link="up", amqp="up", link_link_checks=1)
            with self.rabbit() as rabbit:
                yield broker, gateway, rabbit

    @contextlib.contextmanager
    def behind_a_proxy(self, amqp=None, **changes):
        """`up`, with RabbitMQ behind a proxy: (proxy, broker, gateway's connection, rabbit)."""
        amqp = amqp or self.amqp
        with Proxy(amqp.host, amqp.port) as proxy, self.up(amqp=replace(amqp, port=proxy.port), **changes) as up:
            yield proxy, *up

    def sms_worker(self, name="Rest", **keys):
        """A class for SMS: the rest of them, unless `keys` say which."""
        worker = make_worker(name, f"{self.amqp.receive_queue}.{name}")
        return replace(worker, routing_key=f"ssmi.receive.{name}", **(keys or {"sms": True}))


def stop(broker, gateway):
    """The gateway closes when it is logged out."""
    broker.send("stop", 10)
    while gateway.line() != "SSMI,99":
        pass
    gateway.socket.close()
    broker.answer()


def send(rabbit, kind="sms", to=".sms", **keys):
    """What a worker sends: an SMS to ANN, unless told otherwise."""
    rabbit.reply(json.dumps({"kind": kind, "msisdn": ANN} | keys).encode(), to=to)


def received_equals_its_parts(counters):
    parts = ("ignored", "link", "published", "unbound", "dead-lettered", "apologised", "paged", "dropped", "waiting")
    return counters["received"] == sum(counters.get(part, 0) for part in parts)


def replies_equal_their_parts(counters):
    parts = ("sent", "refused", "returned", "repeated", "held")
    return all(
        counters.get(taken, 0) == sum(counters.get(prefix + part, 0) for part in parts if prefix or part != "repeated")
        for taken, prefix in (("replies", ""), ("sms-taken", "sms-"))
    )


def sms_equal_their_parts(counters):
    kinds = ("sms", "premium-sms", "binary-sms", "premium-binary-sms")
    parts = (*(f"published:{kind}" for kind in kinds), "dead-lettered", "sms-dropped", "sms-waiting")
    return counters.get("sms", 0) == sum(counters.get(part, 0) for part in parts)


def dial(gateway, rabbit, msisdn=ANN, code="*120*663#"):
    """Begin a session; returns its token."""
    gateway.send(f"SSMI,110,{msisdn},1,0,{code}")
    return rabbit.receive()["session"]
