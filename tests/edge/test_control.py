"""The control socket and the stream of events, with clients that mean no good, or sleep."""

import contextlib
import json
import os
import resource
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fleet import wait_until

from richmond.errors import ControlError, NotRunning
from richmond.supervisor import protocol
from richmond.supervisor.control import MAX_CLIENTS, call, stream

HERE = Path(__file__).parent

pytestmark = pytest.mark.timeout(60)


class Host:
    def __init__(self, directory, idle_s=30.0):
        self.path = directory / "r.sock"
        self.process = subprocess.Popen([sys.executable, str(HERE / "control_host.py"), str(self.path), str(idle_s)])
        wait_until(self.answers, "the socket")

    def answers(self):
        with contextlib.suppress(NotRunning):
            return call(self.path, protocol.Ping(), 10)["pid"] == self.process.pid

    def client(self):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self.path))
        client.settimeout(30)
        return client

    def files(self):
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def log(self):
        return self.path.with_name("host.log").read_text()

    def tell(self, count):
        call(self.path, protocol.Scale("EchoWorker", count), 30)


@pytest.fixture
def make(tmp_path):
    hosts = []

    def make(**options):
        hosts.append(Host(tmp_path, **options))
        return hosts[-1]

    yield make
    for host in hosts:
        alive = host.process.poll() is None
        host.process.kill()
        host.process.wait()
        assert alive
        assert host.log.count("Traceback") == host.log.count("AssertionError: GetStatus()")


@pytest.fixture
def host(make):
    return make()


def end_of(client):
    """What came before the other end hung up."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            found += data
    return found


def test_only_its_owner_may_open_the_socket(host):
    assert stat.S_IMODE(host.path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to be another user")
def test_another_user_is_refused_even_where_the_mode_lets_him_in(host):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from richmond.errors import RichmondError\n"
        "from richmond.supervisor import control, protocol\n"
        "os.chdir(sys.argv[1])\n"  # the way there is root's
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: control.call(Path('r.sock'), protocol.Ping(), 20)\n"
        "except RichmondError as e: print(type(e).__name__, e)\n"
    )

    def tries():
        command = [sys.executable, "-c", code, str(host.path.parent)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    host.path.parent.chmod(0o755)
    assert tries() == "ControlError r.sock: Permission denied\n"
    host.path.chmod(0o666)
    assert tries() == "ControlError not your richmond: another user runs it\n"


def test_a_client_that_sends_one_byte_at_a_time_has_no_more_time_than_others(make):
    host = make(idle_s=0.5)
    with host.client() as slow, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        slow.settimeout(0.1)
        for byte in b'{"op": "ping", "' + 1000 * b"x":
            slow.sendall(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                assert slow.recv(1) == b""
                break
        else:
            pytest.fail("it stayed")
    assert host.answers()


def test_a_client_that_does_not_take_its_answers_is_cut_off(make):
    host = make(idle_s=0.5)
    host.tell(1000)
    files = host.files()
    with host.client() as greedy:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            greedy.settimeout(5)
            for _ in range(100_000):
                greedy.sendall(b'{"op": "events"}\n')  # 300 KB each
        wait_until(lambda: host.files() <= files, "it to be cut off")


def test_a_thousand_half_open_clients_keep_nobody_out(host):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        files = host.files()
        with contextlib.ExitStack() as stack:
            for _ in range(1000):
                client = stack.enter_context(host.client())
                with contextlib.suppress(BrokenPipeError):
                    client.sendall(b'{"op": "pi')
            assert host.answers()
            assert host.files() <= files + MAX_CLIENTS
        wait_until(lambda: host.files() <= files, "the descriptors to be back")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_junk_and_endless_lines_are_answered_or_cut_off(host):
    for junk in (b"\n", b"\0\xff\n", b"[" * 60_000 + b"\n", b'{"op": "dance"}\n', b"{" * 60_000 + b"\n"):
        with host.client() as client:
            client.sendall(junk)
            assert json.loads(client.makefile().readline())["usage"] is True
    with host.client() as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(100):
                client.sendall(1_000_000 * b"x")
        answer = end_of(client)
        assert answer == b"" or b"too long" in answer
    memory = next(x for x in Path(f"/proc/{host.process.pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
    assert int(memory.split()[1]) < 200_000, "of 100 MB it has kept little"
    assert host.answers()


def test_it_serves_on_after_it_has_had_no_descriptor_left(host):
    resource.prlimit(host.process.pid, resource.RLIMIT_NOFILE, (64, 64))
    full = host.path.with_name("full")
    full.touch()
    with host.client() as waiting, contextlib.ExitStack() as stack:
        waiting.sendall(b'{"op": "restart"}\n')
        wait_until(lambda: "no descriptor is left" in host.log, "the lack")
        others = [stack.enter_context(host.client()) for _ in range(5)]  # in the backlog
        wait_until(lambda: "nobody can be served" in host.log, "the lack to be noticed")
        full.unlink()
        assert json.loads(waiting.makefile().readline()) == {"ok": True}
        for client in others:
            client.sendall(b'{"op": "ping"}\n')
            assert json.loads(client.makefile().readline())["ok"]


def test_a_caller_is_told_what_is_wrong(host, tmp_path):
    with pytest.raises(NotRunning):
        call(tmp_path / "none.sock", protocol.Ping(), 1)
    with pytest.raises(ControlError, match=r"did not answer within 0\.2 s"):
        call(host.path, protocol.Reload(), 0.2)
    with pytest.raises(ControlError, match="an error inside richmond"):
        call(host.path, protocol.GetStatus(), 10)


# Events.


def test_the_last_thousand_events_are_kept_and_numbered(host):
    host.tell(1500)
    found = call(host.path, protocol.Events(), 10)["events"]
    assert [event["number"] for event in found] == list(range(501, 1501))
    assert [event["number"] for event in call(host.path, protocol.Events(last=3), 10)["events"]] == [1498, 1499, 1500]
    assert call(host.path, protocol.Events(last=0), 10)["events"] == []
    assert call(host.path, protocol.Events(since=found[-1]["time"] + 60), 10)["events"] == []
    assert len(call(host.path, protocol.Events(since=found[0]["time"]), 10)["events"]) == 1000


def test_who_follows_hears_of_each_later_one_and_others_are_served_meanwhile(host):
    host.tell(2)
    answers = stream(host.path, protocol.Events(follow=True, last=1), 10)
    assert [event["number"] for event in next(answers)["events"]] == [2]
    host.tell(3)
    assert [next(answers)["events"][0]["number"] for _ in range(3)] == [3, 4, 5]
    call(host.path, protocol.Stop(), 10)
    assert list(answers) == []


def test_a_follower_that_has_gone_is_forgotten_without_another_event(host):
    files = host.files()
    for _ in range(5):
        answers = stream(host.path, protocol.Events(follow=True), 10)
        next(answers)
        answers.close()
    wait_until(lambda: host.files() <= files, "the descriptors to be back")
    assert call(host.path, protocol.Ping(), 10)["followers"] == 0


def test_a_follower_that_has_said_that_it_asks_for_nothing_more_still_hears(host):
    with host.client() as client:
        client.sendall(b'{"op": "events", "follow": true}\n')
        client.shutdown(socket.SHUT_WR)
        lines = client.makefile()
        assert json.loads(lines.readline()) == {"ok": True, "events": []}
        host.tell(1)
        assert json.loads(lines.readline())["events"][0]["number"] == 1


def test_a_follower_that_does_not_read_is_cut_off_and_waited_for_by_nobody(host):
    with host.client() as sleeping, contextlib.closing(stream(host.path, protocol.Events(follow=True), 10)) as quick:
        sleeping.sendall(b'{"op": "events", "follow": true}\n')
        next(quick)
        wait_until(lambda: call(host.path, protocol.Ping(), 10)["followers"] == 2, "both")
        for _ in range(10):
            host.tell(900)  # returns at once
            for _ in range(900):
                next(quick)
        assert call(host.path, protocol.Ping(), 10)["followers"] == 1
        lines = end_of(sleeping).split(b"\n")  # what was on its way, and then the end
        assert 0 < len(lines) < 9000


def test_a_follower_that_takes_nothing_for_long_is_hung_up_on(make):
    host = make(idle_s=0.5)
    files = host.files()
    with host.client() as sleeping:
        sleeping.sendall(b'{"op": "events", "follow": true}\n')
        wait_until(lambda: call(host.path, protocol.Ping(), 10)["followers"] == 1, "it to follow")
        for _ in range(10):
            host.tell(900)
        wait_until(lambda: host.files() <= files, "it to be cut off")
