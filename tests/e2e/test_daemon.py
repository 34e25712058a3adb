"""`richmond start --daemon`: back when it is up, or with the reason why it is not."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from installation import ECHO, until
from terminal import Terminal

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


@pytest.fixture
def daemon(install):
    """Starts one, and ends it."""
    started = []

    def start(**options):
        richmond = install(**options)
        started.append(richmond)
        return richmond, richmond.run("start", "--daemon")

    yield start
    for richmond in started:
        richmond.run("stop")
        until("its end", lambda r=richmond: not r.processes())


def pid_of(richmond):
    return int(richmond.settings.richmond.pid_file.read_text())


def test_it_returns_when_all_is_up_and_leaves_nothing_of_itself_in_the_terminal(daemon):
    richmond, done = daemon()
    assert done.returncode == 0, done
    pid = pid_of(richmond)
    assert f"richmond is up, with pid {pid}; it ends with: richmond stop\n  gateway" in done.stdout
    assert "Ctrl-C" not in done.stdout
    assert done.stderr == ""
    snapshot = richmond.status()
    assert (snapshot.pid, snapshot.problems) == (pid, ())
    assert os.getsid(pid) == pid
    place = Path(f"/proc/{pid}")
    log = str(richmond.settings.richmond.log)
    assert [str((place / "fd" / str(fd)).readlink()) for fd in range(3)] == ["/dev/null", log, log]
    assert str((place / "cwd").readlink()) == "/"
    assert richmond.run("dial", "*120*663#", "0").returncode == 0
    assert richmond.run("reload").returncode == 0
    assert richmond.run("stop").returncode == 0
    until("its end", lambda: not richmond.processes())
    assert re.search(r" OUTPUT  master  richmond has stopped\.$", richmond.log_text(), re.MULTILINE)


def test_the_end_of_its_terminal_is_nothing_to_it(install):
    richmond = install()
    with Terminal(richmond.command("start", "--daemon"), richmond.directory, richmond.environ) as terminal:
        assert terminal.end() == 0
        pid = pid_of(richmond)
    assert richmond.status().pid == pid
    assert richmond.run("stop").returncode == 0
    until("its end", lambda: not richmond.processes())


def test_who_runs_already_is_named(daemon):
    richmond, _ = daemon()
    again = richmond.run("start", "--daemon")
    assert again.returncode == 1
    assert f"already runs with pid {pid_of(richmond)}" in again.stderr
    assert richmond.status().phase == "running"


@pytest.mark.parametrize(
    ("options", "words", "code"),
    [
        ({"workers": "[worker:EchoWorker]\nworkrs = 1\n"}, "did you mean workers?", 2),
        ({"richmond": "log = stderr\n"}, "name a file in log", 2),
        ({"richmond": "log = /proc/richmond.log\n"}, "/proc/richmond.log: No such file", 1),
        ({"simulator": "socket = /proc/x.sock\n"}, "/proc/x.sock", 2),  # once it has begun
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_left(daemon, options, words, code):
    richmond, done = daemon(**options)
    assert done.returncode == code, done
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not richmond.processes()


def test_a_class_that_cannot_be_imported_is_said_and_the_others_run(daemon):
    richmond, done = daemon(workers=ECHO + "[worker:Bad]\nclass = nowhere.Bad\ncodes = *8#\n")
    assert done.returncode == 0
    assert "richmond: Bad: 1 of 1 workers is FATAL" in done.stderr
    assert sum(cls.running for cls in richmond.status().classes) == 3


def test_what_it_waits_for_is_said_and_ctrl_c_ends_the_waiting_and_the_daemon(install):
    richmond = install()
    richmond.sections["amqp"] = "connect-timeout = 1\n"
    richmond.write()
    richmond.ini.write_text(richmond.ini.read_text().replace(f"port = {richmond.node.port}\n", "port = 1\n"))
    with Terminal(richmond.command("start", "--daemon"), richmond.directory, richmond.environ, 200) as terminal:
        terminal.expect("rabbitmq 127.0.0.1:1 is down")
        terminal.type("\x03")
        assert terminal.end() == 1
    until("its end", lambda: not richmond.processes())
    richmond.write()


def test_a_killed_daemon_is_no_success(install):
    richmond = install()
    with subprocess.Popen(
        richmond.command("start", "--daemon"), cwd=richmond.directory, env=richmond.environ, stdout=subprocess.DEVNULL
    ) as parent:
        child = until("the child", lambda: next((p for p in richmond.processes() if p != parent.pid), 0))
        os.kill(child, signal.SIGKILL)
        assert parent.wait(30) not in (0, 2)
    until("its end", lambda: not richmond.processes())
