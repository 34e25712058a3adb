"""What systemd is told, with a socket in its place; and the unit file, as systemd itself judges it."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from richmond.sd_notify import Notifier

HERE = Path(__file__).parent
UNIT = HERE.parents[1] / "deploy" / "richmond.service"

pytestmark = pytest.mark.timeout(60)


class Systemd(socket.socket):
    """`address`: as NOTIFY_SOCKET names it."""

    address = ""

    def drain(self):
        """What was on its way."""
        self.setblocking(False)
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.recv(4096))
        self.settimeout(30)
        return found


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    with Systemd(socket.AF_UNIX, socket.SOCK_DGRAM) as here:
        name = str(tmp_path / "notify") if request.param == "path" else f"\0richmond-test-{os.getpid()}"
        here.bind(name)
        here.settimeout(30)
        here.address = name.replace("\0", "@")
        yield here


def test_each_word_is_one_datagram(systemd):
    environ = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid()), "A": "b"}
    notifier = Notifier(environ)
    assert environ == {"A": "b"}, "no child speaks in our name"
    assert (notifier.listens, notifier.watchdog_s) == (True, 3.0)
    notifier.ready()
    notifier.status("two\nlines")
    notifier.status("two\nlines")  # nothing new
    notifier.reloading()
    notifier.alive()
    notifier.stopping()
    told = [systemd.recv(4096).decode() for _ in range(5)]
    assert [told[0], told[1], told[3], told[4]] == ["READY=1", "STATUS=two lines", "WATCHDOG=1", "STOPPING=1"]
    first, usec = told[2].split("\n")
    assert first == "RELOADING=1"
    assert 0 <= time.monotonic() * 1e6 - int(usec.removeprefix("MONOTONIC_USEC=")) < 60e6


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "3000000"},
        {"NOTIFY_SOCKET": "/nobody/is/here", "WATCHDOG_USEC": "x"},
        {"NOTIFY_SOCKET": "/nobody/is/here", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"},
    ],
)
def test_without_systemd_or_a_watchdog_for_us_nothing_is_told_and_nothing_is_wrong(environ):
    notifier = Notifier(environ)
    assert notifier.watchdog_s == 0
    notifier.ready()
    notifier.alive()
    notifier.status("x")


def test_a_systemd_that_does_not_read_is_not_waited_for(systemd):
    notifier = Notifier({"NOTIFY_SOCKET": systemd.address})
    for _ in range(5000):
        notifier.alive()


@pytest.fixture
def heart(systemd):
    """A heart that beats every half a second, and what breaks it."""
    environ = {**os.environ, "NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "200000"}
    environ.pop("WATCHDOG_PID", None)
    with subprocess.Popen(
        [sys.executable, str(HERE / "heart_host.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=environ,
    ) as process:  # fmt: skip

        def tell(line):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{line}\n"

        assert process.stdout.readline() == "started\n"
        yield tell, process.stderr
        process.kill()


@pytest.mark.parametrize(
    ("breaks", "complaint"),
    [
        ("loop", "the loop does not turn"),
        ("links", "the gateway of default does not turn"),
        ("greenlet", "1 greenlets that are needed have ended"),
    ],
)
def test_the_watchdog_is_fed_while_loop_links_and_greenlets_make_progress(systemd, heart, breaks, complaint):
    tell, errors = heart
    assert {systemd.recv(100) for _ in range(3)} == {b"WATCHDOG=1"}
    tell(breaks)
    while complaint not in errors.readline():
        pass
    systemd.drain()
    for _ in range(3):
        assert complaint in errors.readline()
    assert systemd.drain() == []
    if breaks != "greenlet":
        tell("heal")
        assert systemd.recv(100) == b"WATCHDOG=1"


def told(systemd, word):
    """The next of its words that is no beat."""
    while (found := systemd.recv(4096).decode()) == "WATCHDOG=1":
        pass
    assert found.split("\n")[0] == word
    return found


def test_a_reload_is_told_once_all_is_up_and_a_stop_with_its_reason(systemd, heart):
    tell, _ = heart
    tell("reload")  # part of the start
    tell("up")
    told(systemd, "READY=1")
    tell("reload")
    assert "MONOTONIC_USEC=" in told(systemd, "RELOADING=1")
    told(systemd, "READY=1")
    tell("stop")
    told(systemd, "STOPPING=1")
    told(systemd, "STATUS=stopping: SIGTERM")


def test_a_driver_that_does_not_take_the_turn_that_it_was_asked_for_is_stuck(tmp_path):
    code = (
        "import sys; import gevent; from pathlib import Path\n"
        "from richmond.broker_gateway import Gateway; from richmond.config import load\n"
        "settings = load(Path(sys.argv[1]), {}).ssmi\n"
        "class Owner:\n"
        "    def reconcile(self, up): hangs.wait()\n"
        "    def has_room(self): return True\n"
        "hangs = gevent.event.Event(); hangs.set()\n"
        "gateway = Gateway(settings, Owner()); gateway.start()\n"
        "gevent.sleep(0.01)\n"
        "assert not gateway.stuck(1.0); gevent.sleep(0.01)\n"
        "assert not gateway.stuck(1000.0), 'it has turned'; gevent.sleep(0.01)\n"
        "hangs.clear(); gateway.poke(); gevent.sleep(0.01)\n"
        "assert not gateway.stuck(2000.0); gevent.sleep(0.01)\n"
        "assert not gateway.stuck(2020.0), 'it may be dialling'; gevent.sleep(0.01)\n"
        "assert gateway.stuck(2031.0)\n"
        "hangs.set(); gevent.sleep(0.01)\n"
        "assert not gateway.stuck(3000.0); gevent.sleep(0.01)\n"
    )
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ini = tmp_path / "r.ini"
        ini.write_text(
            f"[ssmi]\nhost = 127.0.0.1\nport = {closed.getsockname()[1]}\nusername = u\n[worker:EchoWorker]\n"
        )
        subprocess.run([sys.executable, "-c", code, str(ini)], timeout=30, check=True)


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: apt-get install systemd"
)
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    text = UNIT.read_text()
    paths = {line.split()[0].partition("=")[2] for line in text.splitlines() if line.startswith("Exec")}
    for path in paths:  # verify wants programs and users that are there
        text = text.replace(path, shutil.which("true"))
    unit = tmp_path / "richmond.service"
    unit.write_text(text.replace("=richmond\n", "=root\n"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert len(paths) == 1


def test_the_unit_gives_a_stop_more_time_than_the_ini_does():
    unit = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0].isupper())
    assert unit["Type"] == "notify"
    assert unit["KillMode"] == "mixed"
    assert float(unit["TimeoutStopSec"]) > 30 + 5, "stop-timeout and orphan-timeout"
    assert unit["RestartPreventExitStatus"] == "2"
