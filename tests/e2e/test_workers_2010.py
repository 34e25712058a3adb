"""What was written for the Richmond of 2010 - worker classes, the ini, its queues - works as it is."""

import json
import shlex
import shutil
from pathlib import Path

import pika
import pytest
from gateway import RawGateway
from installation import until
from rabbit import Rabbit, control

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

WORKERS = Path(__file__).parents[1] / "workers2010"
CLASSES = """
[worker:PizzaWorker]
class = pizza.PizzaWorker
[worker:ReverseWorker]
class = reverse.ReverseWorker
codes = *120*2#
[worker:SilentWorker]
class = silent.SilentWorker
codes = *120*3#
"""
INI_2010 = """
[ssmi]
username = user
password = {gateway.password}
host = 127.0.0.1
port = {gateway.port}

[amqp]
username = {node.username}
password = {node.password}
host = {node.host}
port = {node.port}
vhost = /richmond
exchange = richmond
send-queue = richmond.send
send-routing-key = ssmi.send
receive-queue = richmond.receive
receive-routing-key = ssmi.receive
"""


@pytest.fixture
def workers_of_2010(install):
    richmond = install(workers=CLASSES, simulator="session-timeout = 0.5\n")
    shutil.copytree(WORKERS, richmond.site, dirs_exist_ok=True)
    return richmond.start()


def test_worker_classes_of_2010_run_unchanged(workers_of_2010):
    richmond = workers_of_2010
    menu = "Which pizza?\n1. Margherita\n2. Hawaiian\n3. Four Seasons\n"
    call = richmond.run("dial", "*120*1#", "9", "2")
    assert call.returncode == 0, call.stderr
    assert call.stdout == (
        f"> *120*1#\n{menu}> 9\nWe do not have that.\n> 2\nA Hawaiian is on its way.\n(session ended)\n"
    )
    call = richmond.run("dial", "*120*2#")
    assert "> *120*2#\n#2*021*\n(session ended)\n" in call.stdout
    call = richmond.run("dial", "*120*3#")
    assert "so long and thanks for all the fish\n(session ended)" in call.stdout
    assert [c.failed for c in richmond.status().classes] == [0, 0, 0]


def test_handlers_of_2010_hear_of_time_outs_and_hang_ups_and_log_as_they_did(workers_of_2010):
    richmond = workers_of_2010

    def logged(words):
        return until(f"{words} in the log", lambda: words in richmond.log_text())

    richmond.run("dial", "--msisdn", "27831112222", "*120*1#", "9")
    logged("27831112222 is hungry, dialled *120*1#")
    logged("KeyError: '9'")  # log.err() with the exception in hand
    logged("27831112222 hung up")
    richmond.run("dial", "--msisdn", "27835556666", "--wait", "*120*1#", "9")
    logged("no pizza for 27835556666")


@pytest.fixture
def names_of_2010(install, node):
    """The very names, which no other test uses; removed again."""
    with RawGateway("pa,ss#1") as gateway:
        richmond = install(workers=CLASSES)
        richmond.node = None  # the ini says where RabbitMQ is
        shutil.copytree(WORKERS, richmond.site, dirs_exist_ok=True)
        richmond.write = lambda: None
        richmond.ini.write_text(
            f"[richmond]\ndirectory = var\n{INI_2010.format(gateway=gateway, node=node)}\n{CLASSES}"
        )
        yield richmond, gateway
        richmond.signal(15)
        richmond.wait_end()
        with Rabbit(richmond) as rabbit:
            for queue in ("send", "receive", "receive.ReverseWorker", "receive.SilentWorker", "dead"):
                rabbit.channel.queue_delete(f"richmond.{queue}")
            rabbit.channel.exchange_delete("richmond")
            rabbit.channel.exchange_delete("richmond.events")


def test_the_keys_and_the_names_of_2010_are_declared_as_clients_of_others_declare_them(names_of_2010):
    richmond, gateway = names_of_2010
    richmond.start()
    with Rabbit(richmond) as rabbit:  # pika raises for the 406 that other arguments would get
        rabbit.channel.exchange_declare("richmond", "direct", durable=True)
        for queue, key in (("richmond.receive", "ssmi.receive"), ("richmond.send", "ssmi.send")):
            rabbit.channel.queue_declare(queue, durable=True)
            rabbit.channel.queue_bind(queue, "richmond", key)
        inbound = {"msisdn": "27831112222", "ussd_type": "1", "ussd_phase": "0", "message": "*1#"}
        gateway.send("SSMI,110,27831112222,1,0,*1#")
        gateway.got("SSMI,110,27831112222,2,Which pizza?")
        rabbit.channel.basic_publish("richmond", "ssmi.receive", json.dumps(inbound | {"ussd_type": "2"}).encode())
        gateway.got("SSMI,110,27831112222,2,We do not have that.")
        outbound = {"msisdn": "27831112222", "message": "bye", "ussd_type": "3"}
        rabbit.channel.basic_publish("richmond", "ssmi.send", json.dumps(outbound).encode())
        gateway.got("SSMI,110,27831112222,3,bye")


def test_a_queue_that_2010_left_is_explained_with_the_command_that_removes_it(install, node):
    richmond = install(workers=CLASSES)
    shutil.copytree(WORKERS, richmond.site, dirs_exist_ok=True)
    send = richmond.settings.amqp.send_queue
    with Rabbit(richmond) as rabbit:
        rabbit.channel.queue_declare(send, durable=False)
    richmond.start(wait=False)
    snapshot = richmond.wait("the 406", lambda s: any("other arguments" in p for p in s.problems))
    problem = next(p for p in snapshot.problems if "other arguments" in p)
    assert problem.startswith("rabbitmq ")
    assert f"queue {send} exists with other arguments (durable): " in problem
    assert richmond.run("status").returncode == 150
    program, *args = shlex.split(problem.partition("(durable): ")[2])
    assert program == "rabbitmqctl"
    control(node, *args)
    richmond.wait_up()
    call = richmond.run("dial", "*120*1#", "1")
    assert "A Margherita is on its way.\n(session ended)" in call.stdout
    with Rabbit(richmond) as rabbit, pytest.raises(pika.exceptions.ChannelClosedByBroker):
        rabbit.channel.queue_declare(send, durable=False)
