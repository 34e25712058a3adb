"""`richmond check`: what would fail at the start is said before it does."""

import contextlib
import re
import socket

import pytest
from installation import until

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

GOOD = """
import os
print("hello from the site")
from richmond.workers.ussd import EchoWorker

class Good(EchoWorker):
    assert os.environ["SHOP"] == "open"
"""
CLASSES = """
[worker:Good]
class = good.Good
[[environment]]
SHOP = open
[worker:Echo]
class = EchoWorker
codes = *1#
[worker:Elsewhere]
class = of.AnotherLanguage
codes = *2#
workers = 0
min = 0
"""
BAD = {
    "missing": ("import nothing_of_this_name\n", "ModuleNotFoundError: No module named 'nothing_of_this_name'", 1),
    "broken": ("x = (\n", "SyntaxError: '(' was never closed", 1),
    "nobody": ("y = 1\n", "ImportError: nobody has no class Bad; its worker classes: none", None),
    "quits": ("import sys\n\nsys.exit(0)\n", "SystemExit: 0", 3),
    "dies": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "SIGKILL ends its process", None),
}


@pytest.fixture
def checked(install):
    richmond = install(workers=CLASSES)
    (richmond.site / "good.py").write_text(GOOD)
    return richmond


@pytest.fixture
def closed():
    """A port at which nobody listens, and that nobody else gets."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def listening():
    """A gateway that only listens: (its port, what clients have said)."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def said():
            client, _ = server.accept()
            with client:
                return client.recv(100)

        yield server.getsockname()[1], said


def test_what_is_right_is_said_in_full_and_nothing_else(checked):
    done = checked.run("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "hello from the site" not in done.stdout
    assert "[worker:Good]" in done.stdout
    settings = done.stdout.split("\n", 1)[1]
    assert "#" not in re.sub(r"\*[12]#|# More|= #", "", settings)


def test_each_class_that_cannot_be_imported_is_named_with_its_reason_and_its_place(checked):
    for name, (source, _, _) in BAD.items():
        (checked.site / f"{name}.py").write_text(source)
        checked.workers += f"[worker:{name}]\nclass = {name}.Bad\ncodes = *{len(name)}{sum(map(ord, name))}#\n"
    checked.workers += "[worker:slow]\nclass = slow.Bad\ncodes = *9#\nstart-timeout = 2\n"
    (checked.site / "slow.py").write_text("import subprocess\nsubprocess.run(['sleep', '600'])\n")
    checked.write()
    done = checked.run("check")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == len(BAD) + 1
    for line, (name, (_, why, number)) in zip(lines, BAD.items(), strict=False):
        assert f"[worker:{name}] class: {name}.Bad cannot be imported: {why}" in line
        assert number is None or line.endswith(f"({checked.site / name}.py, line {number})")
    assert lines[-1].endswith("[worker:slow] class: slow.Bad is not imported within start-timeout = 2")
    assert "[worker:Good]" in done.stdout
    until("what the slow one had started to be gone", lambda: not checked.processes())


def test_a_rehearsed_reload_names_them_too(checked):
    checked.start()
    (checked.site / "good.py").write_text(GOOD + "oops\n")
    done = checked.run("reload", "--dry-run")
    assert "Good: its workers are replaced one by one: its code has changed" in done.stdout
    assert done.returncode == 2
    assert "[worker:Good] class: good.Good cannot be imported: NameError: name 'oops' is not defined" in done.stderr


def test_servers_that_answer_are_named_and_no_gateway_is_logged_in_to(checked, node):
    with listening() as (port, said):
        account = f"host = 127.0.0.1\nport = {port}\nusername = u\npassword = hush\n"
        checked.sections["ssmi"] = account
        checked.write()
        done = checked.run("check", "--connect")
        assert said() == b""
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-2:] == [
        f"# [ssmi] 127.0.0.1:{port} answers; not logged in",
        f"# [amqp] 127.0.0.1:{node.port} lets richmond in to /richmond",
    ]
    assert "hush" not in done.stdout


def test_servers_that_do_not_answer_are_named_with_what_to_check(checked, node, closed):
    checked.sections["ssmi"] = f"host = 127.0.0.1\nport = {closed}\nusername = u\n"
    checked.sections["simulator"] = "enabled = no\n[ssmi:two]\nhost = nowhere.invalid\nusername = u\n"
    checked.write()
    ini = checked.ini.read_text()
    checked.ini.write_text(ini.replace(f"port = {node.port}", f"port = {closed}"))
    done = checked.run("check", "--connect")
    assert done.returncode == 1
    one, two, amqp = done.stderr.splitlines()
    assert one == f"richmond: [ssmi] 127.0.0.1:{closed}: Connection refused; check host and port"
    assert two.startswith("richmond: [ssmi:two] nowhere.invalid:50008: the host name cannot be resolved")
    assert amqp == f"richmond: [amqp] nobody listens on 127.0.0.1:{closed}: is RabbitMQ running?"

    checked.ini.write_text(
        ini.replace(f"password = {node.password}", "password = wrong").replace("nowhere.invalid", "localhost")
    )
    refused = checked.run("check", "--connect")
    assert refused.returncode == 1
    assert "[amqp]" in refused.stderr.splitlines()[-1]
    assert "rabbitmqctl" in refused.stderr
    checked.ini.write_text(ini)


def test_what_richmond_brings_along_is_not_tried(install):
    done = install(node=None).run("check", "--connect")
    assert (done.returncode, done.stderr) == (0, "")
    assert "answers" not in done.stdout
