"""Messages followed as OpenTelemetry spans, from the gateway's socket through their worker and back."""

from __future__ import annotations

import json
import os
import signal
from itertools import pairwise

import amqpstorm
import pytest
from collector import Collector
from installation import until

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

ANN = "27831112222"
SITE = """
from opentelemetry import trace
from richmond.workers.ussd import SessionType, USSDWorker


class ShopWorker(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        with trace.get_tracer("shop").start_as_current_span("look up"):
            self.reply(msisdn, "1. Buy", SessionType.existing)

    def existing_ussd_session(self, msisdn, message):
        raise KeyError(f"{msisdn} wants {message}")
"""
WORKERS = """
[otel]
enabled = yes
endpoint = {}
service-name = shop
headers = x-api-key=opensesame
[worker:ShopWorker]
class = shop.ShopWorker
workers = 1
[worker:Other]
codes = *120*9#
class = EchoWorker
workers = 1
min = 0
"""


@pytest.fixture
def collector():
    with Collector() as collector:
        yield collector


def chain(collector, trace, *names):
    """The spans of a trace, each the parent of the next."""
    found = until(f"{names} in {trace}", lambda: (t := collector.trace(trace)) and set(names) <= set(t) and t)
    spans = [found[name] for name in names]
    for parent, child in pairwise(spans):
        assert child.parent == parent.span, (parent, child)
    return spans


def dialled(richmond, collector, *answers):
    """Dials, and returns the span in which the first message came."""

    def calls():  # without the hang-ups, which come whenever they come
        return [span for span in collector.named("receive ussd") if span.facts["richmond.ussd_type"] == "1"]

    before = len(calls())
    richmond.run("dial", *answers, "--msisdn", ANN)
    return until("its span", lambda: calls()[before:])[0]


def test_a_call_is_one_trace_from_the_socket_through_the_worker_and_back(install, collector):
    richmond = install(workers=WORKERS.format(collector.endpoint))
    (richmond.site / "shop.py").write_text(SITE)
    richmond.start()
    amqp = richmond.settings.amqp
    in_key, out_key = f"publish {amqp.receive_routing_key}", f"publish {amqp.send_routing_key}"

    first = dialled(richmond, collector, "*120*1#")
    spans = chain(collector, first.trace, "receive ussd", in_key, "handle ussd", "look up", out_key, "send")
    receive, _, handle, *_, send = spans
    assert receive.parent == ""
    assert [span.kind for span in (receive, handle, send)] == [2, 5, 5]  # SERVER, CONSUMER, CONSUMER
    assert receive.start <= handle.start <= send.start  # a reply leaves before its handler returns
    assert {span.process["service.name"] for span in spans} == {"shop"}
    assert (receive.process["service.instance.id"], handle.process["service.instance.id"]) == ("broker", "ShopWorker:0")
    assert handle.facts["richmond.class"] == "ShopWorker"
    assert receive.facts["richmond.msisdn"] == "2783•••2222"
    assert not any(span.failed for span in spans)

    # A handler that raises: the trace says so, and neither number nor text.
    dialled(richmond, collector, "*120*1#", "secret wish")
    failed = until("the failed span", lambda: [s for s in collector.named("handle ussd") if s.failed])[0]
    chain(collector, failed.trace, "receive ussd", in_key, "handle ussd", "publish ssmi.dead")
    assert ANN not in repr(collector.spans)
    assert "secret wish" not in repr(collector.spans)
    assert {h["x-api-key"] for h in collector.headers} == {"opensesame"}
    assert "opensesame" not in richmond.output() + richmond.run("check").stdout

    # A worker that takes the place of a killed one has an exporter of its own.
    pid = richmond.slot("ShopWorker:0").pid
    os.kill(pid, signal.SIGKILL)
    richmond.wait("another one", lambda s: any(w.running and w.slots[0].pid != pid for w in s.classes[:1]))
    again = dialled(richmond, collector, "*120*1#")
    chain(collector, again.trace, "receive ussd", in_key, "handle ussd", "look up", out_key, "send")

    # A worker in another language goes on with the context: it is in the headers.
    assert richmond.run("scale", "Other", "0", "--wait").returncode == 0
    other = richmond.launch("dial", "*120*9#", "--msisdn", "27831113333")
    with amqpstorm.Connection(amqp.host, amqp.username, amqp.password, port=amqp.port, virtual_host=amqp.vhost) as c:
        channel = c.channel()
        message = until("the message", lambda: channel.basic.get(f"{amqp.receive_queue}.Other", no_ack=True))
        asked = json.loads(message.body)
        version, trace, parent, flags = message.properties["headers"]["traceparent"].split("-")
        reply = {"msisdn": asked["msisdn"], "message": "bye", "ussd_type": "3", "session": asked["session"]}
        channel.basic.publish(
            json.dumps(reply), amqp.send_routing_key, amqp.exchange,
            properties={"headers": {"traceparent": f"{version}-{trace}-00f067aa0ba902b7-{flags}"}},
        )  # fmt: skip
    assert other.wait(30) == 0
    until("the broker's span", lambda: "send" in collector.trace(trace))
    assert collector.trace(trace)["send"].parent == "00f067aa0ba902b7"
    assert collector.trace(trace)[f"{in_key}.Other"].span == parent

    # A collector that takes nothing stops nothing; what is lost is counted.
    assert richmond.status().spans > 0
    collector.refuse = True
    assert richmond.run("dial", "*120*1#", "--msisdn", ANN).returncode == 0
    richmond.wait("the drops", lambda s: s.spans_dropped and s.classes[0].spans_dropped)
    said = "takes no spans: they are dropped"  # once by the broker, and once by the worker
    until("the log to say so", lambda: richmond.log_text().count(said) == 2)
    assert "[otel]: to change endpoint needs richmond stop" in changed(richmond, collector)


def changed(richmond, collector):
    """What a reload says of another endpoint."""
    richmond.workers = richmond.workers.replace(collector.endpoint, "http://127.0.0.1:1")
    richmond.write()
    return richmond.run("reload").stdout
