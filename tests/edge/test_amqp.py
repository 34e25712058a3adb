"""The AMQP client against a real RabbitMQ, and what happens to it."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import amqpstorm
import pytest
from amqp_proxy import Proxy
from amqp_settings import amqp_settings

from richmond.amqp.client import Client
from richmond.amqp.topology import Queue, Topology
from richmond.errors import AMQPError
from richmond.rabbitmq import PrivateNode
from richmond.workers.inbox import Inbox

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


class Node:
    """A RabbitMQ that these tests may stop, freeze and configure."""

    def __init__(self, directory):
        self.directory = directory
        self.private = PrivateNode(directory)
        self.info = None

    def start(self):
        self.info = self.private.start(60)

    def eval(self, erlang):
        ctl = [self.directory / "rabbitmqctl", "eval", erlang]
        done = subprocess.run(ctl, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def settings(self, **changes):
        info = self.info
        values = {"port": info.port, "username": info.username, "password": info.password, "vhost": info.vhost}
        return amqp_settings(**values | changes)

    def stranger(self):
        """Another client's connection."""
        info = self.info
        return amqpstorm.Connection("127.0.0.1", info.username, info.password, port=info.port, virtual_host=info.vhost)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    node = Node(tmp_path_factory.mktemp("amqp-node"))
    node.start()
    yield node
    node.private.stop(20)


@pytest.fixture
def names():
    """An exchange `x` and queues `a` and `b` of this test's own, each with its name as routing key."""
    mark = uuid.uuid4().hex[:8]
    exchange = f"x-{mark}"
    return Topology(((exchange, "direct"),), tuple(Queue(f"{q}-{mark}", exchange, q) for q in "ab"))


@pytest.fixture
def make(broker, names):
    clients = []

    def make(settings=None, topology=names, up=True, **changes):
        client = Client(settings or broker.settings(**changes), name="test", topology=topology)
        clients.append(client)
        client.start()
        if up:
            assert client.wait_up(30), client.state
        return client

    yield make
    for client in clients:
        client.close(0)
    assert [t.name for t in threading.enumerate() if t.name.startswith("amqp-")] == []


def wait_until(true, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


class Sink:
    """What a client consumes, acknowledged at once."""

    def __init__(self, client):
        self.client = client
        self.bodies = []
        self.deliveries = []

    def __call__(self, delivery):
        self.bodies.append(delivery.body)
        self.deliveries.append(delivery)
        self.client.ack(delivery)


def publish_all(client, names, count, key="a"):
    results = Counter()
    for n in range(count):
        client.publish(names.exchanges[0][0], key, b"%d" % n, on_done=lambda result: results.update([result]))
    return results


def test_what_is_published_comes_back_as_it_was(make, names):
    client = make()
    sink = Sink(client)
    client.consume(names.queues[0].name, 10, sink)
    bodies = [b"", b"{}", b"x" * 300_000]
    for body in bodies:
        client.publish(names.exchanges[0][0], "a", body, headers={"reason": "because", "n": 5})
    wait_until(lambda: len(sink.bodies) == 3)
    assert sink.bodies == bodies
    assert {(d.routing_key, d.redelivered) for d in sink.deliveries} == {("a", False)}
    assert sink.deliveries[0].headers == {"reason": "because", "n": 5}
    wait_until(lambda: client.pending == 0)


def test_twenty_thousand_publishes_are_confirmed_and_none_is_lost(make, names):
    client = make()
    sink = Sink(client)
    client.consume(names.queues[0].name, 200, sink)
    results = publish_all(client, names, 20_000)
    wait_until(lambda: len(sink.bodies) == 20_000 and client.pending == 0, 60)
    assert sink.bodies == [b"%d" % n for n in range(20_000)]
    assert results == {None: 20_000}


def test_close_waits_until_everything_is_confirmed_and_acknowledged(make, names):
    client = make()
    sink = Sink(client)
    client.consume(names.queues[1].name, 50, sink)
    publish_all(client, names, 500, key="b")
    wait_until(lambda: len(sink.bodies) == 500)
    results = publish_all(client, names, 20_000)
    client.close(30)
    assert results == {None: 20_000}
    assert client.state.name == "closed"
    with pytest.raises(AMQPError, match="closed"):
        client.publish("", "a", b"")
    assert make().depths([q.name for q in names.queues]) == {
        names.queues[0].name: (20_000, 0),
        names.queues[1].name: (0, 0),
    }


def test_what_was_not_acknowledged_comes_again(make, names):
    first = make()
    held = []
    first.consume(names.queues[0].name, 10, held.append)
    publish_all(first, names, 3)
    wait_until(lambda: len(held) == 3)
    first.ack(held[1])
    first.reject(held[2], requeue=False)
    first.close(5)
    second = make()
    sink = Sink(second)
    second.consume(names.queues[0].name, 10, sink)
    wait_until(lambda: sink.bodies)
    assert [(d.body, d.redelivered) for d in sink.deliveries] == [(b"0", True)]


def test_the_prefetch_bounds_what_is_delivered_at_once(make, names):
    client = make()
    held = []
    client.consume(names.queues[0].name, 3, held.append)
    publish_all(client, names, 10)
    wait_until(lambda: client.depths([names.queues[0].name])[names.queues[0].name][0] == 7)
    wait_until(lambda: len(held) == 3)  # RabbitMQ has sent them; they may still be on their way
    client.ack(held[0])
    client.flush()
    wait_until(lambda: len(held) == 4)


def test_after_cancel_nothing_comes_and_consuming_again_does(make, names):
    client = make()
    queue = names.queues[0].name
    sink = Sink(client)
    client.consume(queue, 10, sink)
    publish_all(client, names, 5000)
    wait_until(lambda: sink.bodies)
    client.cancel(queue, 10)
    seen = len(sink.bodies)
    publish_all(client, names, 50)
    wait_until(lambda: client.depths([queue])[queue] == (5050 - seen, 0))
    assert len(sink.bodies) == seen < 5000
    client.consume(queue, 10, sink)
    wait_until(lambda: len(sink.bodies) == 5050)


def test_depths_counts_ready_messages_and_consumers_and_leaves_out_what_is_not_there(make, names):
    client = make()
    a, b = (q.name for q in names.queues)
    publish_all(client, names, 7)
    client.consume(b, 1, Sink(client))
    assert client.wait_up(10)
    wait_until(lambda: client.pending == 0)
    assert client.depths([a, "no-such-queue", b]) == {a: (7, 0), b: (0, 1)}
    assert client.depths([a]) == {a: (7, 0)}


def test_a_message_that_no_queue_takes_is_unroutable(make, names):
    client = make()
    assert publish_and_wait(client, names, "nobody") == {"unroutable": 1}


def publish_and_wait(client, names, key):
    results = publish_all(client, names, 1, key)
    wait_until(lambda: sum(results.values()) == 1)
    return results


def test_a_message_whose_queue_was_deleted_is_published_again_once_the_queue_is_back(make, names, broker):
    client = make()
    with broker.stranger() as other:
        other.channel().queue.delete(names.queues[0].name)
    results = publish_all(client, names, 100)
    wait_until(lambda: sum(results.values()) == 100)
    assert results == {None: 100}
    assert client.depths([names.queues[0].name]) == {names.queues[0].name: (100, 0)}


def test_a_queue_deleted_under_its_consumer_is_declared_and_consumed_again(make, names, broker):
    client = make()
    sink = Sink(client)
    queue = names.queues[0].name
    client.consume(queue, 10, sink)
    assert client.wait_up(10)
    with broker.stranger() as other:
        other.channel().queue.delete(queue)
    wait_until(lambda: client.depths([queue]).get(queue) == (0, 1))
    publish_all(client, names, 1)
    wait_until(lambda: sink.bodies == [b"0"])


def test_an_exchange_deleted_under_a_publisher_is_declared_again(make, names, broker):
    client = make()
    with broker.stranger() as other:
        other.channel().exchange.delete(names.exchanges[0][0])
    results = publish_all(client, names, 100)
    wait_until(lambda: sum(results.values()) == 100)
    assert results == {None: 100}


def test_an_exchange_that_nobody_declares_does_not_hold_up_the_rest(make, names):
    client = make()
    lost = Counter()
    client.publish("no-such-exchange", "a", b"", on_done=lambda result: lost.update([result]))
    results = publish_all(client, names, 100)
    wait_until(lambda: sum(results.values()) == 100)
    assert results == {None: 100}
    assert lost == {"unroutable": 1}
    assert client.state.name == "up"


def test_a_reset_in_mid_frame_loses_nothing(make, names, broker):
    proxy = Proxy(broker.info.port)
    proxy.limit = {"up": 70_007, "down": 50_003}
    client = make(port=proxy.port, reconnect_max_s=0.2)
    sink = Sink(client)
    client.consume(names.queues[0].name, 50, sink)
    results = publish_all(client, names, 3000)
    wait_until(lambda: proxy.connections > 4)
    proxy.limit = {}
    wait_until(lambda: len(set(sink.bodies)) == 3000 and client.pending == 0)
    assert results == {None: 3000}
    client.close(5)
    proxy.close()


def test_what_is_unconfirmed_keeps_its_order_over_a_reset(make, names, broker):
    proxy = Proxy(broker.info.port)
    proxy.limit = {"up": 40_000}
    client = make(port=proxy.port, reconnect_max_s=0.2)
    proxy.limit = {}
    publish_all(client, names, 3000)
    wait_until(lambda: client.pending == 0)
    assert proxy.connections > 1
    sink = Sink(client)
    client.consume(names.queues[0].name, 50, sink)
    wait_until(lambda: len(set(sink.bodies)) == 3000)
    firsts = list(dict.fromkeys(sink.bodies))
    assert firsts == [b"%d" % n for n in range(3000)]
    client.close(5)
    proxy.close()


def test_a_restart_of_rabbitmq_under_load_loses_nothing(make, names, broker):
    broker.eval(  # the node's own user gets another password at each start
        'rabbit_auth_backend_internal:add_user(<<"keeper">>, <<"kept">>, <<"test">>), '
        "rabbit_auth_backend_internal:set_permissions("
        '<<"keeper">>, <<"/richmond">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>).'
    )
    client = make(username="keeper", password="kept")
    sink = Sink(client)
    client.consume(names.queues[0].name, 50, sink)
    results = Counter()
    stop = threading.Event()
    sent = []

    def load():
        while not stop.is_set():
            if client.pending < 500:
                body = b"%d" % len(sent)
                sent.append(body)
                client.publish(names.exchanges[0][0], "a", body, on_done=lambda result: results.update([result]))
            else:
                time.sleep(0.001)

    loader = threading.Thread(target=load)
    loader.start()
    wait_until(lambda: len(sink.bodies) > 1000)
    broker.private.stop(20)
    wait_until(lambda: client.state.name == "down")
    assert client.state.error
    with pytest.raises(AMQPError, match="nobody listens"):
        client.depths([names.queues[0].name])
    broker.start()
    assert client.wait_up(30), client.state
    again = len(sink.bodies)
    wait_until(lambda: len(sink.bodies) > again + 1000)
    stop.set()
    loader.join()
    wait_until(lambda: client.pending == 0 and len(set(sink.bodies)) == len(sent))
    assert set(sink.bodies) == set(sent)
    assert results == {None: len(sent)}


def test_a_frozen_rabbitmq_is_noticed_by_its_silence_and_waited_for(make, names, broker):
    client = make(heartbeat_s=2, connect_timeout_s=1.0)
    os.kill(broker.info.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: client.state.name == "down", 10)
        assert "does not answer" in client.state.error
        results = publish_all(client, names, 10)
    finally:
        os.kill(broker.info.pid, signal.SIGCONT)
    wait_until(lambda: results == {None: 10})
    assert client.state.name == "up"


def test_under_a_memory_alarm_publishes_wait_and_the_state_says_why(make, names, broker):
    client = make()
    limit = broker.eval("vm_memory_monitor:get_vm_memory_high_watermark().").strip()
    broker.eval("vm_memory_monitor:set_vm_memory_high_watermark({absolute, 1000000}).")
    try:
        results = publish_all(client, names, 10)
        wait_until(lambda: client.state.name == "blocked")
        assert "memory" in client.state.error
        assert client.pending == 10
        assert client.depths([names.queues[0].name]) == {names.queues[0].name: (0, 0)}
    finally:
        broker.eval(f"vm_memory_monitor:set_vm_memory_high_watermark({limit}).")
    wait_until(lambda: results == {None: 10})
    wait_until(lambda: client.state.name == "up")


def test_a_wrong_password_is_said_with_its_remedy(make, broker):
    client = make(up=False, password="wrong-secret")
    wait_until(lambda: client.state.name == "refused")
    assert "rabbitmqctl change_password richmond PASSWORD" in client.state.error
    assert "wrong-secret" not in client.state.error + repr(client.state)


def test_a_missing_virtual_host_is_said_with_its_remedy(make):
    client = make(up=False, vhost="/nowhere")
    wait_until(lambda: client.state.name == "refused")
    assert client.state.error == "virtual host /nowhere does not exist: rabbitmqctl add_vhost /nowhere"


def test_missing_permissions_are_said_with_their_remedy(make, broker):
    broker.eval(
        '[rabbit_vhost:add(V, <<"test">>) || V <- [<<"/closed">>, <<"/limited">>]], '
        'rabbit_auth_backend_internal:set_permissions(<<"richmond">>, <<"/limited">>, <<>>, <<>>, <<>>, <<"test">>).'
    )
    for vhost in ("/closed", "/limited"):
        client = make(up=False, vhost=vhost)
        wait_until(lambda client=client: client.state.name == "refused")
        assert f"rabbitmqctl set_permissions -p {vhost} richmond '.*' '.*' '.*'" in client.state.error


def test_a_queue_with_other_arguments_is_said_with_its_remedy_and_the_rest_works(make, names, broker):
    queue = names.queues[0].name
    with broker.stranger() as other:
        channel = other.channel()
        channel.queue.declare(queue, durable=True, arguments={"x-message-ttl": 60_000})
    client = make(up=False)
    wait_until(lambda: client.state.name == "refused")
    assert f"queue {queue} exists with other arguments" in client.state.error
    assert f"rabbitmqctl -p /richmond delete_queue {queue}" in client.state.error
    assert publish_and_wait(client, names, "b") == {None: 1}
    with broker.stranger() as other:
        other.channel().queue.delete(queue)
    assert client.wait_up(10), client.state


def test_an_absent_rabbitmq_is_waited_for(make, broker, names):
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    client = make(up=False, port=port)
    results = publish_all(client, names, 3)
    wait_until(lambda: client.state.name == "down")
    assert client.state.error == f"nobody listens on 127.0.0.1:{port}: is RabbitMQ running?"
    assert not client.wait_up(0)
    client.reconfigure(broker.settings(), names)
    wait_until(lambda: results == {None: 3})


def test_a_server_that_is_not_rabbitmq_is_said_to_be_so(make):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(8)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                connection.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        client = make(up=False, port=server.getsockname()[1], reconnect_max_s=60.0)
        wait_until(lambda: client.state.name == "down")
        assert "does not speak AMQP 0-9-1" in client.state.error
        client.close(0)
        thread.join()


def test_reconfigure_declares_what_is_new_on_the_same_connection(make, names, broker):
    client = make()
    connection = client._connection
    more = dataclasses.replace(
        names, queues=(*names.queues, Queue(f"c-{names.queues[0].name}", names.exchanges[0][0], "c"))
    )
    client.reconfigure(broker.settings(), more)
    assert client.wait_up(10)
    assert publish_and_wait(client, names, "c") == {None: 1}
    assert client._connection is connection


def test_reconfigure_moves_to_another_virtual_host_with_what_is_pending(make, names, broker):
    client = make()
    sink = Sink(client)
    client.consume(names.queues[0].name, 5, sink)
    broker.eval(
        'rabbit_vhost:add(<<"/second">>, <<"test">>), '
        "rabbit_auth_backend_internal:set_permissions("
        '<<"richmond">>, <<"/second">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>).'
    )
    results = publish_all(client, names, 100)
    client.reconfigure(broker.settings(vhost="/second"), names)
    wait_until(lambda: results == {None: 100})
    before = len(sink.bodies)
    assert client.wait_up(10)
    publish_all(client, names, 5)
    wait_until(lambda: len(sink.bodies) >= before + 5)
    assert client._connection.parameters["virtual_host"] == "/second"


def test_an_idle_client_sleeps(make, names):
    client = make()
    client.consume(names.queues[0].name, 5, Sink(client))
    assert client.wait_up(10)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("amqp-")]
    assert len(threads) == 3
    wait_until(lambda: wakes(threads) == (time.sleep(0.1), wakes(threads))[1])
    before = wakes(threads)
    time.sleep(1)  # the measure itself: what happens in a second of nothing
    assert wakes(threads) - before < 20  # a poll every 10 ms would be a hundred


def wakes(threads):
    """How often they have gone to sleep. Not how often others took the processor from them, as on a busy host."""
    lines = "".join(Path(f"/proc/self/task/{t.native_id}/status").read_text() for t in threads).splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def test_the_connection_has_the_clients_name(make, broker):
    make()
    connections = broker.eval(
        "[P || C <- rabbit_networking:connections(), "
        "{client_properties, P} <- rabbit_networking:connection_info(C, [client_properties])]."
    )
    assert '<<"connection_name">>,longstr,<<"test">>' in "".join(connections.split())


def test_it_works_on_greenlets_through_resets(broker, names):
    host = Path(__file__).with_name("amqp_gevent_host.py")
    info = broker.info
    arguments = [str(info.port), info.username, info.password, info.vhost, "3000"]
    done = subprocess.run([sys.executable, host, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("3000 of 3000")


def certificate(directory):
    """A self-signed certificate for 127.0.0.1: (certificate, key)."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


def tls_listener(broker, directory):
    """(port, certificate)"""
    cert, key = certificate(directory)
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    broker.eval(
        f'rabbit_networking:ensure_ssl(), rabbit_networking:start_ssl_listener({{"127.0.0.1", {port}, inet}}, '
        f'[{{certfile, "{cert}"}}, {{keyfile, "{key}"}}], 2).'
    )
    return port, cert


def test_tls_carries_both_directions_at_once_and_an_unknown_certificate_is_refused(make, names, broker, tmp_path):
    port, cert = tls_listener(broker, tmp_path)
    client = make(port=port, tls=True, tls_ca=cert)
    sink = Sink(client)
    client.consume(names.queues[0].name, 200, sink)
    results = publish_all(client, names, 5000)
    client.publish(names.exchanges[0][0], "a", b"x" * 1_000_000)
    wait_until(lambda: len(sink.bodies) == 5001 and client.pending == 0, 60)
    assert results == {None: 5000}
    assert sink.bodies[-1] == b"x" * 1_000_000
    stranger = make(up=False, port=port, tls=True)
    wait_until(lambda: stranger.state.name == "down")
    assert f"the certificate of 127.0.0.1:{port} is not trusted" in stranger.state.error
    plain = make(up=False, tls=True)
    wait_until(lambda: plain.state.name == "down")
    assert "TLS" in plain.state.error


class Attendant:
    """A client whose deliveries this thread reads by itself while it waits for them, as a worker's does."""

    def __init__(self, settings, topology):
        self.readers = []  # the thread of each delivery
        self.client = Client(
            settings, name="test", topology=topology, on_state=lambda _: self.inbox.ring(), on_read=lambda: self.read()
        )
        self.inbox = Inbox(self.client.attend)
        self.client.consume(topology.queues[0].name, 50, self.put)
        self.client.start()
        assert self.client.wait_up(30), self.client.state

    def read(self):
        self.inbox.read()

    def put(self, delivery):
        self.readers.append(threading.current_thread())
        self.inbox.put(delivery)

    def take(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            delivery = self.inbox.take(1.0)
            if delivery is not None:
                self.client.ack(delivery, hold=True)
                return delivery.body
        raise AssertionError("nothing came")

    def close(self):
        if self.client.state.name != "closed":
            self.client.close(5)
            self.inbox.close()


@pytest.fixture
def attend(broker):
    attendants = []

    def make(settings, topology):
        attendants.append(Attendant(settings, topology))
        return attendants[-1]

    yield make
    for attendant in attendants:
        attendant.close()


def test_a_guest_reads_by_itself_and_is_stood_in_for_while_it_is_away(make, attend, names, broker):
    exchange = names.exchanges[0][0]
    attendant = attend(broker.settings(), names)
    publisher = make()

    def read_here():
        """Who was away is given the duty with the first message. On a busy machine it may be away again."""
        delayed = [threading.Timer(s, publisher.publish, (exchange, "a", b"in time")) for s in (0.1, 0.2)]
        for timer in delayed:
            timer.start()
        assert [attendant.take(), attendant.take()] == [b"in time", b"in time"]
        for timer in delayed:
            timer.join()
        return attendant.readers[-1] is threading.current_thread()

    wait_until(read_here)
    publisher.publish(exchange, "a", b"while it is away")
    wait_until(lambda: len(attendant.inbox) == 1)
    assert attendant.readers[-1].name == "amqp-reader"
    assert attendant.client.stands_in
    done = []
    attendant.client.publish(exchange, "b", b"held", on_done=done.append, hold=True)
    attendant.client.flush()
    wait_until(lambda: done == [None])
    assert attendant.take() == b"while it is away"
    wait_until(read_here)


def test_a_guest_that_comes_after_its_first_deliveries_acknowledges_them_all_the_same(make, attend, names, broker):
    publish_all(make(), names, 200)
    attendant = attend(broker.settings(heartbeat_s=600), names)  # no tick of the reader's comes to its help
    wait_until(lambda: len(attendant.inbox) == 50)
    assert [attendant.take() for _ in range(200)] == [b"%d" % n for n in range(200)]


def test_what_a_guest_held_when_it_went_away_is_sent_for_it(attend, names, broker):
    attendant = attend(broker.settings(), names)
    for text in b"one", b"two":
        attendant.client.publish(names.exchanges[0][0], "a", text)
        assert attendant.take() == text
    done = []
    attendant.client.publish(names.exchanges[0][0], "b", b"held", on_done=done.append, hold=True)
    wait_until(lambda: done == [None])  # nobody flushes


def unacknowledged(broker, queue):
    info = broker.eval(
        f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{broker.info.vhost}">>, queue, <<"{queue}">>)), '
        "[{_, N}] = rabbit_amqqueue:info(Q, [messages_unacknowledged]), N."
    )
    return int(info)


def test_acknowledgements_that_wait_for_company_leave_without_it(make, attend, names, broker):
    queue = names.queues[0].name
    attendant = attend(broker.settings(), names)
    for text in b"one", b"two":
        attendant.client.publish(names.exchanges[0][0], "a", text)
        assert attendant.take() == text

    def watch():
        wait_until(lambda: unacknowledged(broker, queue) == 0)
        attendant.inbox.ring()

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert attendant.client.attend(attendant.inbox, 60, patient=True) is True  # rung for
    watcher.join()
    plain = make()
    sink = []
    plain.consume(names.queues[1].name, 5, sink.append)
    plain.publish(names.exchanges[0][0], "b", b"three")
    wait_until(lambda: sink)
    assert unacknowledged(broker, names.queues[1].name) == 1
    plain.ack(sink[0], hold=True)
    plain.flush_later()
    wait_until(lambda: unacknowledged(broker, names.queues[1].name) == 0)


def test_a_guest_gets_everything_through_resets_in_mid_frame(make, attend, names, broker):
    proxy = Proxy(broker.info.port)
    attendant = attend(broker.settings(port=proxy.port, reconnect_max_s=0.2), names)
    proxy.limit = {"up": 3_007, "down": 50_003}
    proxy.reset()
    results = publish_all(make(), names, 3000)
    got = set()
    while len(got) < 3000:
        got.add(attendant.take())
        if proxy.connections > 5:
            proxy.limit = {}
    assert results == {None: 3000}
    attendant.close()
    proxy.close()


def test_a_guest_reads_through_tls(make, attend, names, broker, tmp_path):
    port, cert = tls_listener(broker, tmp_path)
    attendant = attend(broker.settings(port=port, tls=True, tls_ca=cert), names)
    publish_all(make(), names, 3000)
    got = [attendant.take() for _ in range(3000)]
    assert got == [b"%d" % n for n in range(3000)]
    assert threading.current_thread() in attendant.readers


def test_an_idle_guest_sleeps_and_beats_its_heart(attend, names, broker):
    attendant = attend(broker.settings(heartbeat_s=1), names)
    attendant.client.publish(names.exchanges[0][0], "a", b"one")
    assert attendant.take() == b"one"
    before = attendant.client.state
    readers = [thread for thread in threading.enumerate() if thread.name == "amqp-reader"]
    assert readers
    slept = wakes(readers)
    assert attendant.inbox.take(4.0) is None  # the measure itself: RabbitMQ hangs up after two silent heartbeats
    assert attendant.client.state == before
    assert wakes(readers) - slept < 100  # a poll every 10 ms would be four hundred
