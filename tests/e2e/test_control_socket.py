"""The control socket by hand, and in the hands of those who mean no good: others are still served."""

import contextlib
import json
import socket
import stat
from pathlib import Path

import pytest

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

OPS = ("ping", "status", "scale", "restart", "reload", "stop")


class Hand:
    """`nc -U var/richmond.sock`."""

    def __init__(self, richmond):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(richmond.settings.richmond.socket))
        self._answers = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._answers.close()
        self.socket.close()

    def asks(self, line):
        self.socket.sendall(line.encode("utf-8", "surrogateescape") + b"\n")
        return self.answer()

    def answer(self):
        """None: it hung up."""
        with contextlib.suppress(ConnectionResetError):
            line = self._answers.readline()
            return json.loads(line) if line else None
        return None


def test_it_is_used_by_hand_with_one_json_object_a_line(richmond):
    mode = richmond.settings.richmond.socket.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    with Hand(richmond) as hand:
        assert hand.asks('{"op": "ping"}') == {"ok": True, "pid": richmond.process.pid}
        snapshot = hand.asks('{"op": "status"}')["status"]
        assert snapshot["phase"] == "running"
        assert hand.asks('{"op": "scale", "class": "EchoWorker", "count": 3, "wait": true}')["ok"]
        assert richmond.status().classes[0].running == 3
        assert hand.asks('{"op": "scale", "class": "EchoWorker", "count": null}')["ok"]
        assert hand.asks('{"op": "reload"}') == {"ok": True, "text": "nothing has changed"}
        hand.socket.sendall(b'{"op": "ping"}\n{"op": "ping"}\n{"op": "pi')  # together, and in halves
        assert hand.answer()["ok"]
        assert hand.answer()["ok"]
        assert hand.asks('ng"}')["ok"]
        assert hand.asks('{"op": "stop"}') == {"ok": True, "text": "richmond has stopped"}
    assert richmond.wait_end() == 0
    assert not richmond.settings.richmond.socket.exists()


def test_junk_is_answered_with_what_would_be_valid_and_changes_nothing(richmond):
    with Hand(richmond) as hand:
        for op in ("dance", ""):
            answer = hand.asks(json.dumps({"op": op}))
            assert answer["ok"] is False
            assert all(name in answer["error"] for name in OPS), answer
        for line, words in (
            ("", "not a request"),
            ("junk", "not a request"),
            ("\udcff\udcfe\0", "not a request"),
            ("[]", "not a request"),
            ("{}", "not a request"),
            ("[" * 60_000, "not a request"),
            ('{"op": "ping", "deep": ' + "[" * 60_000, "not a request"),
            ('{"op": "scale"}', "class"),
            ('{"op": "scale", "class": "EchoWorker"}', "count"),
            ('{"op": "scale", "class": "EchoWorker", "count": "8"}', "count"),
            ('{"op": "scale", "class": "EchoWorker", "count": 1e400}', "count"),
            ('{"op": "scale", "class": "EchoWorker", "count": -1}', "-1"),
            ('{"op": "scale", "class": "EchoWorker", "count": 65}', "max-workers"),
            ('{"op": "scale", "class": "Ecko", "count": 1}', "Ecko"),
            ('{"op": "scale", "class": "EchoWorker", "count": 8, "wiat": true}', "wiat"),
            ('{"op": "restart", "class": "Ecko"}', "Ecko"),
        ):
            answer = hand.asks(line)
            assert answer["ok"] is False, line[:80]
            assert answer["usage"] is True, line[:80]
            assert words in answer["error"], line[:80]
    assert [(c.target, c.running) for c in richmond.status().classes] == [(2, 2), (1, 1)]
    assert "Traceback" not in richmond.log_text()


def test_a_line_of_100_mb_is_cut_off_and_kept_by_nobody(richmond):
    before = high_water(richmond.process.pid)
    with Hand(richmond) as hand:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(100):
                hand.socket.sendall(1_000_000 * b"x")
        answer = hand.answer()
        assert answer is None or "too long" in answer["error"]
    assert high_water(richmond.process.pid) - before < 10_000_000
    assert richmond.run("status").returncode == 0


def test_a_thousand_half_open_clients_keep_nobody_out(richmond):
    files = open_files(richmond.process.pid)
    path = str(richmond.settings.richmond.socket)
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            half_open = stack.enter_context(socket.socket(socket.AF_UNIX))
            half_open.connect(path)
            with contextlib.suppress(BrokenPipeError):  # it gave way to a newer one already
                half_open.sendall(b'{"op": "sta')
        assert richmond.run("status").returncode == 0
        assert richmond.run("scale", "EchoWorker", "3", "--wait").returncode == 0
        assert open_files(richmond.process.pid) < files + 100
        call = richmond.run("dial", "*120*663#", "0")
        assert call.returncode == 0, call.stderr
    richmond.wait("the descriptors to be back", lambda _: open_files(richmond.process.pid) <= files + 2)


SLOW = """
import pathlib
import time

from richmond.workers.ussd import USSDWorker


class Slow(USSDWorker):
    def setup_worker(self):
        while not (pathlib.Path(__file__).parent / "go").exists():
            time.sleep(0.01)
"""


def test_who_waits_for_an_answer_is_not_pushed_out_by_half_open_clients(install):
    richmond = install(workers="[worker:Slow]\nclass = slow.Slow\nworkers = 0\nmax = 2\n")
    (richmond.site / "slow.py").write_text(SLOW)
    richmond.start()
    with contextlib.ExitStack() as stack:
        patient = stack.enter_context(Hand(richmond))
        patient.socket.sendall(b'{"op": "scale", "class": "Slow", "count": 1, "wait": true}\n')
        richmond.wait("the worker to be started", lambda s: s.classes[0].slots)
        for _ in range(100):
            half_open = stack.enter_context(socket.socket(socket.AF_UNIX))
            half_open.connect(str(richmond.settings.richmond.socket))
        assert stack.enter_context(Hand(richmond)).asks('{"op": "ping"}')["ok"]
        (richmond.site / "go").touch()
        assert patient.answer()["ok"]


def high_water(pid):
    """Bytes that the process ever had in memory at once."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def open_files(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
