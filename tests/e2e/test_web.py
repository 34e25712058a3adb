"""The web server of a whole installation, as programs see it: what it shows to whom, and what it takes to change it."""

import contextlib
import http.client
import json
import os
import signal
import stat
import threading
from urllib.parse import urlsplit

import amqpstorm
import pytest
from installation import until

from richmond.web import token

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

SECRET = "27831112222"


class Browser:
    """Asks as one would, with the token or without."""

    def __init__(self, address, secret=""):
        self.where = urlsplit(address)
        self.secret = secret

    def ask(self, method, path, body=None, **headers):
        """Status, headers, body."""
        connection = http.client.HTTPConnection(self.where.hostname, self.where.port, timeout=30)
        given = {"Authorization": f"Bearer {self.secret}"} if self.secret else {}
        sent = None if body is None else json.dumps(body)
        connection.request(method, path, sent, given | {name.replace("_", "-"): v for name, v in headers.items()})
        answer = connection.getresponse()
        found = answer.status, answer.headers, answer.read().decode()
        connection.close()
        return found

    def post(self, path, **body):
        status, _, text = self.ask("POST", path, body)
        return status, json.loads(text)


class Page:
    """The stream of events, put together as the dashboard does."""

    def __init__(self, address):
        where = urlsplit(address)
        self.connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
        self.connection.request("GET", "/events")
        self.answer = self.connection.getresponse()
        self.parts = {}
        self.events = []
        self.frames = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.connection.sock.shutdown(2)
        self._reader.join(30)
        self.answer.close()
        self.connection.close()

    def _read(self):
        kind = ""
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException, AttributeError):
            while line := self.answer.fp and self.answer.readline().decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    self._take(kind, json.loads(value))

    def _take(self, kind, data):
        self.frames.append((kind, data))
        if kind == "state":
            self.parts |= data
        elif kind == "happened":
            self.events += data

    def slot(self, name):
        found = self.parts.get(f"class {name.partition(':')[0]}") or {"slots": []}
        return next((slot for slot in found["slots"] if slot["name"] == name), None)


@pytest.fixture
def address(richmond):
    return richmond.status().web


def test_what_is_shown_needs_nothing_and_what_changes_something_the_token(richmond, address):
    file = richmond.settings.web.token_file
    secret = token.read(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret not in richmond.output()
    assert richmond.run("web").stdout == f"{address}#token={secret}\n"
    assert richmond.run("web", "--token").stdout == f"{secret}\n"
    stranger, owner = Browser(address), Browser(address, secret)

    status, headers, page = stranger.ask("GET", "/")
    assert (status, headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == (200, "nosniff", "no-referrer")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert " style=" not in page
    assert "<script>" not in page
    for name in ("dashboard.js", "dashboard.css", "uplot/uPlot.iife.min.js", "uplot/LICENSE"):
        assert stranger.ask("GET", f"/static/{name}")[0] == 200
    for path in ("/static/../server.py", "/static/%2e%2e/server.py", "/static//etc/passwd", "/nothing"):
        status, headers, text = stranger.ask("GET", path)
        assert status in (403, 404)
        assert headers["Content-Security-Policy"] == policy
        assert "root:" not in text

    assert stranger.ask("POST", "/classes/EchoWorker/scale", {"count": 1})[0] == 401
    assert Browser(address, "x" * len(secret)).ask("POST", "/restart", {})[0] == 401
    assert owner.ask("POST", "/classes/EchoWorker/scale", {"count": 1}, Origin="https://evil.example")[0] == 403
    assert owner.ask("POST", "/restart", {}, Sec_Fetch_Site="cross-site")[0] == 403
    assert owner.ask("GET", "/events", Host="evil.example")[0] == 421
    assert {cls.target for cls in richmond.status().classes} == {1, 2}

    assert owner.post("/classes/EchoWorker/scale", count=3)[0] == 200
    richmond.wait("three workers", lambda s: s.classes[0].running == 3)
    assert owner.post("/classes/Nobody/scale", count=3) == (
        400,
        {"ok": False, "error": "no worker class Nobody; there are: EchoWorker, FooBarWorker"},
    )
    assert owner.post("/classes/EchoWorker/scale", count="many")[0] == 400
    assert owner.post("/reload", dry_run=True) == (200, {"ok": True, "text": "nothing has changed"})

    token_was = file.read_text()
    file.unlink()
    assert richmond.run("reload").returncode == 0  # which makes a new one
    assert file.read_text() != token_was
    assert owner.ask("POST", "/restart", {})[0] == 401


def test_a_page_sees_what_happens_as_it_happens(richmond, address):
    owner = Browser(address, token.read(richmond.settings.web.token_file))
    with Page(address) as page:
        slot = until("the first state", lambda: page.slot("EchoWorker:0"))
        assert page.parts["overview"]["problems"] == []
        os.kill(slot["pid"], signal.SIGKILL)
        until("the crash", lambda: [e for e in page.events if e["kind"] == "crash" and "EchoWorker:0" in e["text"]])
        until("another process", lambda: page.slot("EchoWorker:0")["pid"] not in (None, slot["pid"]))
        until("it to run", lambda: page.slot("EchoWorker:0")["state"] == "RUNNING")

        owner.post("/classes/EchoWorker/scale", count=5)
        until("five workers", lambda: page.parts["class EchoWorker"]["running"] == 5)
        assert page.parts["class EchoWorker"]["pinned"]

        bury(richmond, queue=richmond.settings.workers[0].queue, reason="handler-failed")
        bury(richmond, queue="no-such-queue", reason="no-route")
        until("two dead letters", lambda: page.parts["dead"]["waiting"] == 2)
        status, _, text = Browser(address).ask("GET", "/dead")
        assert (status, json.loads(text)["total"]) == (200, 2)
        assert SECRET not in text
        assert owner.post("/dead/retry", reason="handler-failed") == (
            200,
            {"ok": True, "text": "1 dead letter went back to where they came from"},
        )
        _, answer = owner.post("/dead/retry")
        assert answer["text"].endswith("1 stay: its queue does not exist any more")
        until("the row of a chart", lambda: [data for kind, data in page.frames if kind == "row"])
        marks = json.loads(Browser(address).ask("GET", "/history")[2])["marks"]
        assert {"crash", "scale"} <= {mark["kind"] for mark in marks}
    assert SECRET not in json.dumps(page.frames)


def test_a_port_that_is_taken_is_a_warning_and_taken_over_once_it_is_free(richmond, address, install):
    port = urlsplit(address).port
    second = install(web=f"port = {port}\n")
    second.ini.write_text(second.ini.read_text().replace("port = 0\n", ""))
    second.start()
    snapshot = second.status()
    assert (snapshot.web, snapshot.problems) == ("", ())
    assert f"the dashboard cannot be at 127.0.0.1:{port}: Address already in use" in snapshot.warnings[0]
    assert "Address already in use" in second.run("web").stderr
    richmond.ini.write_text(richmond.ini.read_text().replace("[web]\nport = 0\n", "[web]\nenabled = no\n"))
    assert richmond.run("reload").returncode == 0
    assert richmond.status().web == ""
    assert second.wait("the port", lambda s: s.web).web == address


def bury(richmond, queue, reason):
    amqp = richmond.settings.amqp
    body = json.dumps({"msisdn": SECRET, "ussd_type": "1", "ussd_phase": "1", "message": "secret", "kind": "ussd"})
    to = {"port": amqp.port, "virtual_host": amqp.vhost}
    with amqpstorm.Connection(amqp.host, amqp.username, amqp.password, **to) as connection:
        headers = {"x-richmond-reason": reason, "x-richmond-queue": queue}
        connection.channel().basic.publish(body, amqp.dead_queue, properties={"headers": headers})
