"""The web server, with clients that are slow, half-open, too many or too long: others are still served."""

import contextlib
import http.client
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fleet import wait_until

HERE = Path(__file__).parent
MOST = 8

pytestmark = pytest.mark.timeout(60)


class Host:
    def __init__(self, patience_s):
        command = [sys.executable, str(HERE / "web_host.py"), str(MOST), str(patience_s)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.clients = []

    def close(self):
        """What it had to complain of."""
        for client in self.clients:
            client.close()
        self.process.kill()
        return self.process.communicate()[1]

    def client(self, said=b"", receive_bytes=None):
        client = socket.socket()
        self.clients.append(client)
        if receive_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.settimeout(30)
        client.connect(("127.0.0.1", self.port))
        client.sendall(said)
        return client

    def files(self):
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def ask(self, method="GET", path="/", body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


@pytest.fixture
def host():
    made = []

    def make(patience_s=30.0):
        made.append(Host(patience_s))
        return made[-1]

    yield make
    for one in made:
        assert "Traceback" not in one.close()


def read_to_end(client):
    """What it was sent until it was hung up on."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(1 << 20):
            found += data
    return found


def test_of_too_many_that_ask_for_nothing_the_oldest_are_closed(host):
    server = host()
    half_open = [server.client(b"GET / HTTP/1.1\r\nHost: x\r\n") for _ in range(3 * MOST)]
    assert server.ask() == (200, b"ok")
    assert [read_to_end(client) for client in half_open[: 2 * MOST]] == [b""] * 2 * MOST


def test_one_who_listens_stays_while_others_come_and_ask_for_nothing(host):
    server = host()
    listener = server.client(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
    assert listener.recv(1000).startswith(b"HTTP/1.1 200")
    for _ in range(3 * MOST):
        server.client(b"GET")
    assert server.ask() == (200, b"ok")
    for _ in range(100):
        assert listener.recv(1 << 20)


def test_a_request_that_takes_too_long_is_not_waited_for(host):
    server = host(patience_s=0.3)
    slow_head = server.client(b"GET / HTTP/1.1\r\nHost: x\r\n")
    slow_body = server.client(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    assert read_to_end(slow_head).startswith(b"HTTP/1.1 400")
    assert read_to_end(slow_body).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nX: ", b"POST /echo HTTP/1.1\r\nContent-Length: 9000\r\n\r\n", b"G"]
)
def test_one_byte_at_a_time_is_no_way_to_stay(host, said):
    client = host(patience_s=0.5).client(said)
    client.settimeout(0.05)
    while True:
        try:
            client.sendall(b"x")
            assert not client.recv(1000).startswith(b"HTTP/1.1 200")
            break
        except TimeoutError:
            continue
        except OSError:
            break


def test_a_client_that_takes_nothing_is_cut_off(host):
    server = host(patience_s=0.3)
    before = server.files()
    server.client(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n", receive_bytes=4096)
    others = [server.ask() for _ in range(3)]
    assert others == [(200, b"ok")] * 3
    wait_until(lambda: server.files() == before, "the connection to be gone")


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n" + b"X: %s\r\n" % (b"y" * 20_000),
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000,
        b"GET /" + b"y" * 10_000,
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",  # TLS
        b"\r\n\r\n",
    ],
    ids=["long header", "many headers", "long path", "long body", "negative", "chunked", "TLS", "nothing"],
)
def test_what_is_too_long_or_no_request_is_refused(host, said):
    server = host()
    assert read_to_end(server.client(said)).startswith((b"HTTP/1.1 400", b"HTTP/1.1 414"))
    assert server.ask("POST", "/echo", b"hello") == (200, b"hello")
