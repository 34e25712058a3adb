"""The two programs of 2010 on their own, each a process: the broker, and a worker."""

import re
import signal

import pytest
from gateway import RawGateway
from installation import until
from rabbit import Rabbit

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

ECHO = "richmond.workers.ussd.EchoWorker"
SLOW = '''
import pathlib
import time

from richmond.workers.ussd import USSDWorker


class Slow(USSDWorker):
    """Takes a message in hand until the file `go` is there."""

    def new_ussd_session(self, msisdn, message):
        here = pathlib.Path(__file__).parent
        (here / "in-hand").touch()
        while not (here / "go").exists():
            time.sleep(0.01)
        self.reply(msisdn, "at last")
'''


@pytest.fixture
def launch():
    """Programs that a test starts; each has to end by itself."""
    started = []

    def start(installation, *args):
        started.append((args, installation.launch(*args)))
        return started[-1][1]

    yield start
    left = [(args, process) for args, process in started if process.poll() is None]
    for _, process in left:
        process.kill()
        process.wait()
    assert not left, "left running"


def says(installation, program, words):
    """Wait until that program has printed this."""
    out = installation.directory / f"{program}.out"
    return until(f"{words!r} from {program}", lambda: out.exists() and re.search(words, out.read_text()))


def ends(process, number):
    process.send_signal(number)
    return process.wait(30)


def test_broker_worker_and_simulator_as_four_processes_carry_a_session(install, launch):
    gateway = install()
    simulator = launch(gateway, "simulator")
    port = says(gateway, "simulator", r"SSMI on 127.0.0.1:(\d+)")[1]
    ssmi = f"host = 127.0.0.1\nport = {port}\nusername = richmond\npassword = richmond\n"
    richmond = install(workers="[worker:EchoWorker]\n", ssmi=ssmi)
    worker = launch(richmond, "worker", "-w", ECHO)
    says(richmond, "worker", f"{ECHO} is ready")
    broker = launch(richmond, "broker")
    says(richmond, "broker", "logging-in -> up")
    call = gateway.run("dial", "*120*663#", "hello", "0")
    assert call.returncode == 0, call.stdout + call.stderr
    assert call.stdout.endswith("> hello\nhello\n> 0\nquitting, goodbye!\n(session ended)\n")
    assert ends(worker, signal.SIGINT) == 0, "Ctrl-C"
    assert ends(broker, signal.SIGINT) == 0
    assert ends(simulator, signal.SIGINT) == 0
    assert "Traceback" not in richmond.output() + gateway.output()


def test_a_worker_that_is_told_to_end_finishes_what_it_has_in_hand(install, launch):
    with RawGateway() as gateway:
        richmond = install(workers="[worker:Slow]\nclass = slow.Slow\n", ssmi=gateway.section)
        (richmond.site / "slow.py").write_text(SLOW)
        worker, broker = launch(richmond, "worker", "-w", "Slow"), launch(richmond, "broker")
        says(richmond, "worker", "slow.Slow is ready")
        says(richmond, "broker", "RabbitMQ link of richmond broker: connecting -> up")
        gateway.send("SSMI,110,27831112222,1,0,*1#")
        until("the handler", (richmond.site / "in-hand").exists)
        worker.send_signal(signal.SIGTERM)
        (richmond.site / "go").touch()
        gateway.got("SSMI,110,27831112222,2,at last")
        assert worker.wait(30) == 0
        assert ends(broker, signal.SIGTERM) == 0
        assert gateway.got("SSMI,99")
        with Rabbit(richmond) as rabbit:
            queue = rabbit.channel.queue_declare(rabbit.amqp.receive_queue, passive=True)
        assert queue.method.message_count == 0, "it was acknowledged, or RabbitMQ would have it again"
        assert sum("at last" in line for line in gateway.lines) == 1


def test_either_may_come_first_and_wait_for_the_other(install, launch):
    """Whoever connects first declares everything: what the broker publishes meanwhile waits in the queue."""
    with RawGateway() as gateway:
        richmond = install(workers="[worker:EchoWorker]\n", ssmi=gateway.section)
        broker = launch(richmond, "broker")
        says(richmond, "broker", "RabbitMQ link of richmond broker: connecting -> up")
        gateway.send("SSMI,110,27831112222,1,0,*1#")
        with Rabbit(richmond) as rabbit:
            queue = rabbit.amqp.receive_queue
            until("it to wait", lambda: rabbit.channel.queue_declare(queue, passive=True).method.message_count == 1)
        worker = launch(richmond, "worker", "-w", "EchoWorker")
        gateway.got("SSMI,110,27831112222,2,Hello, this is an echo service")
        assert ends(broker, signal.SIGTERM) == 0
        assert ends(worker, signal.SIGTERM) == 0


def test_what_is_wrong_is_said_in_plain_words(install):
    richmond = install(workers="[worker:EchoWorker]\n")
    (richmond.site / "broken.py").write_text("import nowhere_to_be_found\n")
    (richmond.site / "plain.py").write_text("class Plain:\n    pass\n")
    for args, code, words in (
        (("broker",), 2, "names no gateway: set host, port, username and password in [ssmi]"),
        (("worker",), 2, "Missing option '-w'"),
        (("worker", "-w", "Ecko"), 2, "no worker class Ecko in"),
        (("worker", "-w", "plain.Ecko"), 3, "plain has no class Ecko"),
        (("worker", "-w", "plain.Plain"), 3, "plain.Plain is no subclass of richmond.workers.base.RichmondWorker"),
        (("worker", "-w", "nowhere.Ecko"), 3, "No module named 'nowhere'"),
        (("worker", "-w", "broken.Worker"), 3, "No module named 'nowhere_to_be_found'"),
    ):
        done = richmond.run(*args)
        assert words in done.stderr, args
        assert done.returncode == code, args
        if code == 2:
            assert "Traceback" not in done.stderr, args


def test_without_a_private_node_that_runs_they_say_what_to_start(install):
    richmond = install(workers="[worker:EchoWorker]\n", ssmi="host = 127.0.0.1\nusername = x\n")
    richmond.node = None
    richmond.write()
    for args in (("broker",), ("worker", "-w", "EchoWorker")):
        done = richmond.run(*args)
        assert done.returncode == 3
        assert "which runs while richmond start does" in done.stderr
        assert "Traceback" not in done.stderr
