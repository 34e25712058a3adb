"""A simulator in a process of its own, an SSMI client of raw bytes and a telephone, for tests.

The client is written from the protocol page and knows nothing of Richmond's codec.
"""

import contextlib
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

DEADLINE_S = 15.0

PROGRAM = """
import signal, sys
from pathlib import Path
from gevent import signal_handler
from gevent.event import Event
from richmond.settings import SimulatorSettings
from richmond.simulator.server import serve

path, port, timeout_s, extended, accounts = sys.argv[1:]
until = Event()
signal_handler(signal.SIGTERM, until.set)
settings = SimulatorSettings(True, int(port), Path(path), "richmond", "pa,ss", float(timeout_s), extended == "1")
serve(
    settings,
    on_ready=lambda host, port: print(port, flush=True),
    until=until,
    accounts=dict(account.split(":") for account in accounts.split()),
    encodings={"bank": "utf-8"},
    first_sequence=1,
)
"""


class Host:
    """`accounts`: "user:password user:password"; without any it has one, richmond with pa,ss."""

    def __init__(self, directory, *, timeout_s=20.0, extended=False, port=0, accounts=""):
        self.socket = Path(directory) / "simulator.sock"
        arguments = [str(self.socket), str(port), str(timeout_s), "1" if extended else "0", accounts]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        if not line:
            _, self.stderr = self.process.communicate(timeout=DEADLINE_S)
            raise ChildProcessError(self.stderr)
        self.port = int(line)

    def close(self):
        """SIGTERM; what it wrote to standard error must be nothing."""
        self.process.terminate()
        try:
            _, stderr = self.process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        assert self.process.returncode == 0
        assert stderr == ""

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def client(self, password="pa,ss", login=True, user="richmond"):
        return Client(self.port, password, login, user)

    def phone(self):
        return Phone(self.socket)


class Client:
    def __init__(self, port, password, login, user):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        self._half = b""
        if login:
            self.send(f"SSMI,1,{user},{password}")
            assert self.line() == "SSMI,101,1"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *lines):
        self.socket.sendall(b"".join(line.encode("iso-8859-1") + b"\r" for line in lines))

    def line(self):
        """The next line, without its carriage return; "" at end of file."""
        while b"\r" not in self._half:
            data = self.socket.recv(65536)
            if not data:
                assert self._half == b""
                return ""
            self._half += data
        line, _, self._half = self._half.partition(b"\r")
        return line.decode("iso-8859-1")


class Phone:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(str(path))
        self._lines = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._lines.close()
        self.socket.close()

    def send(self, op, **rest):
        self.socket.sendall(json.dumps({"op": op, **rest}).encode() + b"\n")

    def event(self):
        line = self._lines.readline()
        return json.loads(line) if line else None

    def asks(self, op, **rest):
        self.send(op, **rest)
        return self.event()

    def does(self, op, **rest):
        answer = self.asks(op, **rest)
        assert answer["event"] == "ok", answer
        return answer


@contextlib.contextmanager
def running(directory, **options):
    host = Host(directory, **options)
    try:
        yield host
    except BaseException:
        host.kill()
        raise
    if host.process.returncode is None:
        host.close()


def wait_until(claim, what):
    deadline = time.monotonic() + DEADLINE_S
    while not claim():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.01)
