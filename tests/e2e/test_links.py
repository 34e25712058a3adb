"""A gateway of your own, a RabbitMQ of your own: the same command connects there, and says what is missing."""

import contextlib
import json
import random
import re
import socket
from pathlib import Path

import pytest
from gateway import RawGateway
from installation import until
from rabbit import control

from richmond.rabbitmq import PrivateNode
from richmond.supervisor.status import healthy

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

README = Path(__file__).parents[2] / "README.md"
ECHO = "[worker:EchoWorker]\n"


@pytest.fixture
def gateway():
    with RawGateway() as gateway:
        yield gateway


def link(snapshot, name):
    return next(link for link in snapshot.links if link.name == name)


def says(*words, name="gateway"):
    """A condition on a status: this link's last error holds these words."""
    return lambda s: all(word in link(s, name).last_error for word in words)


def calls(gateway, msisdn, code="*120*663#"):
    """A subscriber dials; True when EchoWorker has greeted him."""
    gateway.send(f"SSMI,110,{msisdn},1,0,{code}")
    return gateway.got(f"SSMI,110,{msisdn},2,Hello, this is an echo service")


# The gateway.


def test_a_configured_gateway_is_used_instead_of_the_simulator(gateway, install):
    richmond = install(workers=ECHO, ssmi=gateway.section).start()
    calls(gateway, "27831112222")
    status = richmond.status()
    assert status.simulator == ""
    assert link(status, "gateway").address == f"127.0.0.1:{gateway.port}"
    assert gateway.logins == ["SSMI,1,user,pa,ss#1"]
    assert not richmond.settings.simulator.socket.exists()
    dial = richmond.run("dial", "*120*663#")
    assert dial.returncode == 2
    assert "has no simulator" in dial.stderr


def test_another_richmonds_simulator_serves_as_the_gateway(install):
    gateway = install(workers=ECHO, simulator="username = shop\npassword = pa,ss#1\n")
    process = gateway.launch("simulator")
    try:
        found = until("the simulator", lambda: re.search(r"SSMI on 127.0.0.1:(\d+)", gateway.output()))
        section = f"host = 127.0.0.1\nport = {found[1]}\nusername = shop\npassword = pa,ss#1\n"
        install(workers=ECHO, ssmi=section).start()
        call = gateway.run("dial", "*120*663#", "hello", "0")
        assert call.returncode == 0, call.stdout + call.stderr
        assert call.stdout.endswith("> hello\nhello\n> 0\nquitting, goodbye!\n(session ended)\n")
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_a_refused_password_is_said_and_tried_again_slowly(gateway, install):
    secret = "wrong-secret-word"
    richmond = install(workers=ECHO, ssmi=gateway.section.replace("pa,ss#1", secret)).start(wait=False)
    richmond.wait("the refusal", says("refuses the user name or password", "[ssmi]"))
    richmond.wait("the worker", lambda s: s.classes and s.classes[0].running == 1)
    status, as_json, check = (richmond.run(*args) for args in (("status",), ("status", "--json"), ("check",)))
    assert (status.returncode, as_json.returncode, check.returncode) == (150, 150, 0)
    assert "is auth-failed: the gateway refuses the user name or password" in status.stdout
    assert link(richmond.status(), "gateway").state == "auth-failed"
    assert gateway.logins == [f"SSMI,1,user,{secret}"], "one attempt: the next one is a minute away"
    said = "".join([status.stdout, as_json.stdout, check.stdout, richmond.output()])
    assert secret not in said
    # A corrected password is taken up at once, without waiting for the slow retry.
    richmond.sections["ssmi"] = gateway.section
    richmond.write()
    assert richmond.run("reload").returncode == 0
    richmond.wait_up()
    calls(gateway, "27831112222")


def test_a_slow_retry_logs_in_once_the_gateway_accepts_the_password(gateway, install):
    section = gateway.section + "auth-backoff = 1\n"
    gateway.password = "not yet"
    richmond = install(workers=ECHO, ssmi=section).start(wait=False)
    richmond.wait("the refusal", says("refuses the user name or password"))
    gateway.password = "pa,ss#1"
    richmond.wait_up()
    assert len(gateway.logins) <= 3


def test_another_client_of_the_account_is_named_and_not_pushed_out(gateway, install):
    richmond = install(workers=ECHO, ssmi=gateway.section + "remote-logout-backoff = 1\n").start()
    gateway.send("SSMI,199,196.1.2.3")
    richmond.wait("the logout", says("another client, at 196.1.2.3, has logged in with this account"))
    assert richmond.run("status").returncode == 150
    richmond.wait_up()
    calls(gateway, "27831112222")
    assert len(gateway.logins) == 2


def test_the_link_recovers_from_a_reset_in_the_middle_of_a_line(gateway, install):
    richmond = install(workers=ECHO, ssmi=gateway.section).start()
    calls(gateway, "27831112222")
    gateway.send_raw(b"SSMI,110,27831112222,2,0,half a li")
    gateway.close()
    richmond.wait("the loss", lambda s: link(s, "gateway").state in ("backoff", "connecting"))
    status = richmond.run("status")
    assert status.returncode == 150
    assert f"nobody listens on 127.0.0.1:{gateway.port}" in status.stdout
    gateway.open()
    richmond.wait_up()
    gateway.send("SSMI,110,27831112222,2,0,whole")
    gateway.got("SSMI,110,27831112222,2,whole")
    assert not [line for line in gateway.lines if "half" in line]


# RabbitMQ.


def readme_commands(user, vhost):
    """The rabbitmqctl commands of the README, for this user, virtual host and the password `secret-word`."""
    lines = [line.split() for line in README.read_text().splitlines() if line.startswith("    rabbitmqctl ")]
    replace = {"richmond": user, "/richmond": vhost, "PASSWORD": "secret-word", "'.*'": ".*"}
    return [[replace.get(word, word) for word in line[1:]] for line in lines]


def account(port, user, vhost):
    return (
        f"host = 127.0.0.1\nport = {port}\nusername = {user}\npassword = secret-word\nvhost = {vhost}\n"
        "reconnect-max = 1\n"
    )


def echoes(richmond, text):
    call = richmond.run("dial", "*120*663#", text, "0")
    assert call.returncode == 0, call.stdout + call.stderr
    return f"> {text}\n{text}\n" in call.stdout


def free_port():
    """Below the ephemeral ones, so that no outgoing connection takes it meanwhile."""
    while True:
        port = random.randrange(20000, 32768)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def test_your_rabbitmq_may_be_away_lack_everything_and_be_restarted(install, tmp_path):
    port = free_port()
    private = PrivateNode(tmp_path / "rabbitmq", port)
    richmond = install(workers=ECHO)
    richmond.node = None  # `account` says where RabbitMQ is, and there is none of Richmond's own
    richmond.sections["amqp"] = account(port, "site", "/site")
    richmond.write()
    richmond.start(wait=False)
    apology = "Sorry, the service is not available now"
    gone = f"nobody listens on 127.0.0.1:{port}: is RabbitMQ running?"
    try:
        richmond.wait("that it is away", says(gone, name="rabbitmq"))
        richmond.wait("the gateway", lambda s: link(s, "gateway").state == "up")
        assert apology in richmond.run("dial", "*120*663#").stdout
        status = richmond.run("status")
        assert status.returncode == 150
        assert gone in status.stdout

        node = private.start(60)
        add_user, add_vhost, set_permissions = readme_commands("site", "/site")
        for problem, command, args in (
            ("refuses user site", "rabbitmqctl add_user site PASSWORD", add_user),
            ("virtual host /site does not exist", "rabbitmqctl add_vhost /site", add_vhost),
            ("no permission", "rabbitmqctl set_permissions -p /site site '.*' '.*' '.*'", set_permissions),
        ):
            richmond.wait(problem, says(problem, command, name="rabbitmq"))
            assert command in richmond.run("status").stdout
            control(node, *args)
        richmond.wait_up()
        pid = richmond.slot("EchoWorker:0").pid
        assert echoes(richmond, "at last")

        private.stop(20)
        richmond.wait("the loss", lambda s: link(s, "rabbitmq").state != "up")
        assert apology in richmond.run("dial", "*120*663#").stdout
        assert private.start(60).port == node.port
        # An acknowledgement may have been lost with the node: then the answer comes twice, and the second is refused.
        richmond.wait("it to be back", lambda s: healthy(s) and s.classes[0].running == 1)
        assert echoes(richmond, "again")
        assert richmond.slot("EchoWorker:0").pid == pid, "a worker outlives RabbitMQ"
        as_json = richmond.run("status", "--json").stdout
        assert json.loads(as_json)["private_node"] == ""
        assert "secret-word" not in as_json + richmond.output() + richmond.run("check").stdout
    finally:
        private.stop(20)
