import contextlib
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pika
import psutil
import pytest

from richmond import rabbitmq
from richmond.errors import RabbitMQError, RabbitMQMissing
from richmond.rabbitmq import PrivateNode

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


@pytest.fixture
def directory(tmp_path):
    """A directory for a node; whatever runs there at the end is ended."""
    here = tmp_path / "node"
    yield here
    PrivateNode(here).stop(10)


def connection(info):
    credentials = pika.PlainCredentials(info.username, info.password)
    return pika.BlockingConnection(pika.ConnectionParameters(info.host, info.port, info.vhost, credentials))


def alive(pid):
    """With a thread left: a killed process may look like a zombie while its last threads still hold its port."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        return not select.select([pidfd], [], [], 0)[0]
    finally:
        os.close(pidfd)


def with_environment(directory):
    """The pids of all processes that were started for a node in `directory`."""
    mark = b"RABBITMQ_MNESIA_BASE=" + os.fsencode(directory / "data")
    found = set()
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and mark in (process / "environ").read_bytes().split(b"\0"):
                found.add(int(process.name))
    return found


def listeners(pid):
    """The addresses on which a process listens, as /proc/net/tcp and tcp6 write them."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(fd.readlink()))
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes}


def gone(condition, deadline_s=15):
    deadline = time.monotonic() + deadline_s
    while condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not condition()


def test_a_node_serves_is_adopted_and_keeps_its_messages_over_a_stop(directory, monkeypatch):
    node = PrivateNode(directory)
    info = node.start(60)
    assert not info.adopted
    assert (info.host, info.vhost) == ("127.0.0.1", "/richmond")
    with contextlib.closing(connection(info)) as amqp:
        channel = amqp.channel()
        channel.confirm_delivery()
        channel.queue_declare("kept", durable=True)
        channel.basic_publish("", "kept", b"x", pika.BasicProperties(delivery_mode=2))

    adopted = PrivateNode(directory).start(10)
    assert adopted.adopted
    assert (adopted.pid, adopted.port, adopted.password) == (info.pid, info.port, info.password)
    assert PrivateNode(directory).running() == adopted

    # Everything on loopback, no secret where others can read it, Ctrl-C and a closed terminal do not reach it.
    assert listeners(info.pid)
    assert all(address.startswith("0100007F:") for address in listeners(info.pid))
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert info.password.encode() not in b"".join(
        Path(f"/proc/{info.pid}/{name}").read_bytes() for name in ("cmdline", "environ")
    )
    assert os.getsid(info.pid) != os.getsid(0)
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        connection(replace(info, username="guest", password="guest"))

    node.stop(30)
    assert not alive(info.pid)
    assert node.running() is None
    assert gone(lambda: with_environment(directory)), "no helper process stays behind"
    node.stop(1)  # none is no error

    # Whoever is connected comes back by himself.
    restarted = node.start(60, same_port=True)
    assert (restarted.port, restarted.password) == (info.port, info.password)
    with contextlib.closing(connection(info)) as amqp:
        assert amqp.channel().queue_declare("kept", passive=True).method.message_count == 1
    node.stop(30)
    monkeypatch.setattr(rabbitmq, "_DYING_S", 0.2)
    with socket.create_server((info.host, info.port)), pytest.raises(RabbitMQError, match="taken by somebody else"):
        node.start(60, same_port=True)

    # It keeps its port and its data, even if our record is lost and the directory has moved.
    moved = directory.rename(directory.with_name("moved here"))
    (moved / "node.json").unlink()
    try:
        again = PrivateNode(moved, info.port).start(60)
        assert again.port == info.port
        assert again.password != info.password
        with contextlib.closing(connection(again)) as amqp:
            assert amqp.channel().queue_declare("kept", passive=True).method.message_count == 1
    finally:
        PrivateNode(moved).stop(10)


def test_a_node_that_still_dies_keeps_its_port_for_the_next(directory):
    """After a SIGKILL the kernel takes a process' memory, by which it is known, before it closes its sockets."""
    info = PrivateNode(directory).start(60)
    os.kill(info.pid, signal.SIGKILL)
    assert gone(lambda: PrivateNode(directory).running())
    assert gone(lambda: alive(info.pid))
    with socket.create_server((info.host, info.port)) as not_yet_closed:
        threading.Timer(0.3, not_yet_closed.close).start()
        assert PrivateNode(directory).start(60, same_port=True).port == info.port


def test_a_port_that_is_taken_is_replaced_and_the_log_says_so(directory, caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        info = PrivateNode(directory, port).start(60)
        assert info.port != port
        connection(info).close()
    assert f"port {port} is taken, using {info.port}" in caplog.text


def test_a_port_that_somebody_takes_while_the_node_starts_is_replaced_too(directory):
    taken = []

    def take_it():
        record = directory / "node.json"
        assert gone(lambda: not record.exists())
        taken.append(socket.create_server(("127.0.0.1", json.loads(record.read_text())["port"])))

    thief = threading.Thread(target=take_it)
    thief.start()
    try:
        info = PrivateNode(directory).start(60)
        assert info.port != taken[0].getsockname()[1]
        connection(info).close()
    finally:
        thief.join()
        taken[0].close()


def test_nodes_of_two_directories_live_side_by_side_and_a_copy_is_not_taken_for_the_original(directory, tmp_path):
    first = PrivateNode(directory).start(60)
    copy = shutil.copytree(directory, tmp_path / "copy")
    assert PrivateNode(copy).running() is None
    shutil.rmtree(copy / "data")  # was copied while in use
    try:
        second = PrivateNode(copy).start(60)
        assert (second.pid, second.port) != (first.pid, first.port)
        for info in (first, second):
            connection(info).close()
        PrivateNode(copy).stop(10)
        assert alive(first.pid)
        connection(first).close()
    finally:
        PrivateNode(copy).stop(10)


def test_a_node_that_does_not_answer_is_replaced(directory):
    node = PrivateNode(directory)
    first = node.start(60)
    os.kill(first.pid, signal.SIGSTOP)
    second = PrivateNode(directory).start(20)
    assert second.pid != first.pid
    assert not second.adopted
    assert not alive(first.pid)
    connection(second).close()


def test_a_node_whose_record_is_lost_is_found_by_its_own_pid_file_and_replaced(directory):
    first = PrivateNode(directory).start(60)
    (directory / "node.json").write_text("{")
    second = PrivateNode(directory).start(60)
    assert second.pid != first.pid
    assert not alive(first.pid)
    connection(second).close()


def test_a_killed_node_is_started_again_and_a_reused_pid_is_left_alone(directory):
    node = PrivateNode(directory)
    first = node.start(60)
    os.kill(first.pid, signal.SIGKILL)
    assert gone(lambda: alive(first.pid))
    assert node.running() is None
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        state = json.loads((directory / "node.json").read_text())
        (directory / "node.json").write_text(json.dumps({**state, "pid": sleeper.pid}))
        (directory / "rabbitmq.pid").write_text(str(sleeper.pid))
        assert node.running() is None
        node.stop(1)
        second = node.start(60)
        assert second.port == first.port
        connection(second).close()
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_node_that_does_not_stop_in_time_is_killed(directory, caplog):
    node = PrivateNode(directory)
    info = node.start(60)
    os.kill(info.pid, signal.SIGSTOP)
    node.stop(0.3)
    assert not alive(info.pid)
    assert f"pid {info.pid} did not stop within 0.3 s, killed" in caplog.text
    assert gone(lambda: with_environment(directory))


def test_a_start_that_takes_too_long_leaves_nothing_behind(directory):
    with pytest.raises(RabbitMQError, match="did not accept connections in time"):
        PrivateNode(directory).start(0.5)
    assert gone(lambda: with_environment(directory))


def test_a_start_that_fails_shows_the_end_of_the_log(directory):
    directory.mkdir()
    (directory / "data").write_text("no directory")
    with pytest.raises(RabbitMQError) as raised:
        PrivateNode(directory).start(60)
    text = str(raised.value)
    assert "ended while it started" in text
    assert str(directory) in text
    assert "failed_to_create_feature_flags_file_directory" in text
    assert gone(lambda: with_environment(directory))


def test_a_directory_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RabbitMQError, match=r"Not a directory.*; it needs a directory of its own"):
        PrivateNode(tmp_path / "file" / "node").start(5)


def test_a_missing_server_is_said_with_how_to_install_it(directory, monkeypatch):
    monkeypatch.setattr(rabbitmq, "_PROGRAMS", ("/none/rabbitmq-server",))
    with pytest.raises(RabbitMQMissing, match=r"no RabbitMQ server on this host.*apt-get install rabbitmq-server"):
        PrivateNode(directory).start(5)
    monkeypatch.setenv("PATH", "/none")
    with pytest.raises(RabbitMQMissing, match=r"Erlang \(erl\) is not on the PATH"):
        PrivateNode(directory).start(5)


def test_others_greenlets_run_while_a_gevent_process_starts_and_stops_a_node(directory):
    code = """
from gevent import monkey; monkey.patch_all()
import sys, time, gevent
from pathlib import Path
from richmond.rabbitmq import PrivateNode
longest, last = 0, time.monotonic()
def tick():
    global longest, last
    while True:
        gevent.sleep(0.02)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
gevent.spawn(tick)
node, began = PrivateNode(Path(sys.argv[1])), time.monotonic()
info = node.start(60)
took = time.monotonic() - began
assert PrivateNode(Path(sys.argv[1])).start(5).adopted
node.stop(30)
assert node.running() is None
print(info.pid, longest, took)
"""
    done = subprocess.run([sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE, timeout=100, check=True)
    pid, longest, took = done.stdout.split()
    assert not alive(int(pid))
    assert float(longest) < float(took) / 2


def test_rabbitmqctl_reaches_the_node_without_epmd(directory):
    PrivateNode(directory).start(60)
    done = subprocess.run(
        [directory / "rabbitmqctl", "-q", "list_vhosts"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
    )
    assert "/richmond" in done.stdout.decode().split()


@pytest.mark.timeout(200)
def test_the_epmd_that_rabbitmq_starts_after_a_minute_is_on_loopback_and_ends_with_the_node(directory):
    node = PrivateNode(directory)
    node.start(60)

    def epmds():
        names = {pid: Path(f"/proc/{pid}/comm") for pid in with_environment(directory)}
        return [pid for pid, name in names.items() if name.exists() and name.read_text() == "epmd\n"]

    # Where it does not know this message, it looks after its minute.
    subprocess.run([directory / "rabbitmqctl", "eval", "rabbit_epmd_monitor ! check."], check=True, capture_output=True)
    deadline = time.monotonic() + 100
    while not epmds():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    (epmd,) = epmds()
    listening = [c.laddr.ip for c in psutil.Process(epmd).net_connections() if c.status == psutil.CONN_LISTEN]
    assert set(listening) <= {"127.0.0.1", "::1"}
    node.stop(20)
    assert gone(lambda: alive(epmd))
