"""A client in gevent's world: publishes through a proxy that resets it, and consumes it all again.

python amqp_gevent_host.py PORT USER PASSWORD VHOST COUNT
"""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402
from amqp_proxy import Proxy  # noqa: E402

sys.path.insert(0, __file__.rsplit("/", 2)[0])
from amqp_settings import amqp_settings  # noqa: E402

from richmond.amqp.client import Client  # noqa: E402
from richmond.amqp.topology import topology  # noqa: E402


def main(port, username, password, vhost, count):
    proxy = Proxy(int(port))
    settings = amqp_settings(port=proxy.port, username=username, password=password, vhost=vhost, reconnect_max_s=0.2)
    client = Client(settings, name="gevent", topology=topology(settings, ()))
    client.start()
    assert client.wait_up(20), client.state
    got = set()
    all_there = threading.Event()

    def on_delivery(delivery):
        got.add(delivery.body)
        client.ack(delivery)
        if len(got) == int(count):
            all_there.set()

    client.consume("richmond.receive", 100, on_delivery)
    for n in range(int(count)):
        client.publish("richmond", "ssmi.receive", b"%d" % n)
        if n % 500 == 499:
            gevent.sleep(0.01)  # lets the others run
            proxy.reset()
    assert all_there.wait(30), (len(got), client.pending, client.state)
    client.cancel("richmond.receive", 5)
    began = time.monotonic()
    client.close(10)
    assert not client.pending
    assert time.monotonic() - began < 5
    proxy.close()
    print(f"{len(got)} of {count} over {proxy.connections} connections")


main(*sys.argv[1:])
