"""`richmond start` with a socket in systemd's place."""

import os
import signal
import socket
from pathlib import Path

import pytest
from installation import ECHO, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


class Systemd:
    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(60)
        self.told = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def hears(self, word):
        """The next time that it is told this, whatever comes before."""
        while True:
            self.told += self._socket.recv(4096).decode().split("\n")
            if any(line.startswith(word) for line in self.told):
                at = next(i for i, line in enumerate(self.told) if line.startswith(word))
                passed, self.told = self.told[: at + 1], self.told[at + 1 :]
                return passed


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    with Systemd(tmp_path / "notify") as here:
        yield here


def test_it_is_told_of_start_reload_and_stop_and_that_all_makes_progress(systemd, install):
    richmond = install()
    richmond.start(wait=False)
    before = systemd.hears("READY=1")
    assert "STOPPING=1" not in before
    assert {slot.state for cls in richmond.status().classes for slot in cls.slots} == {"RUNNING"}
    systemd.hears("STATUS=3 of 3 workers run")
    for _ in range(3):
        systemd.hears("WATCHDOG=1")
    for pid, name in richmond.processes().items():
        if pid != richmond.process.pid:
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes(), name

    richmond.signal(signal.SIGHUP)
    systemd.hears("RELOADING=1")
    systemd.hears("MONOTONIC_USEC=")
    systemd.hears("READY=1")
    richmond.ini.write_text("nonsense")
    richmond.signal(signal.SIGHUP)
    systemd.hears("RELOADING=1")
    systemd.hears("READY=1")  # nothing has changed, and it is no longer about it
    richmond.write()

    richmond.signal(signal.SIGTERM)
    systemd.hears("STOPPING=1")
    systemd.hears("STATUS=stopping: SIGTERM")
    assert richmond.wait_end() == 0


def test_a_class_that_cannot_be_imported_keeps_nobody_waiting_for_the_others(systemd, install):
    richmond = install(workers=ECHO + "[worker:Bad]\nclass = nowhere.Bad\ncodes = *8#\n")
    richmond.start(wait=False)
    systemd.hears("READY=1")
    systemd.hears("STATUS=3 of 4 workers run; FATAL: Bad")
    systemd.hears("WATCHDOG=1")


def test_progress_goes_on_while_rabbitmq_is_frozen_and_the_gateway_away(systemd, install, node):
    richmond = install(ssmi="host = 127.0.0.1\nport = 1\nusername = u\n", amqp="heartbeat = 1\n")
    richmond.start(wait=False)
    systemd.hears("READY=1")
    os.kill(node.pid, signal.SIGSTOP)
    try:
        richmond.wait("rabbitmq to be missed", lambda s: next(x for x in s.links if x.name == "rabbitmq").state != "up")
        for _ in range(5):
            systemd.hears("WATCHDOG=1")
    finally:
        os.kill(node.pid, signal.SIGCONT)
    assert "watchdog" not in richmond.log_text()
    until("it to be back", lambda: next(x for x in richmond.status().links if x.name == "rabbitmq").state == "up")
