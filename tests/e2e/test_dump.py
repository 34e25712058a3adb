"""SIGUSR2: what the master is about, in its log."""

import signal

import pytest
from gateway import RawGateway
from installation import until
from rabbit import Rabbit

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


@pytest.fixture
def gateway():
    with RawGateway("gateway-secret") as gateway:
        yield gateway


def test_it_tells_of_fleet_links_and_every_greenlet_but_no_secret_and_no_text(gateway, install):
    richmond = install(ssmi=gateway.section).start()
    with Rabbit(richmond):
        gateway.send("SSMI,110,27831112222,1,0,*120*663#", "SSMI,110,27831112222,2,0,a secret answer")
        until("an answer", lambda: len(gateway.lines) >= 2)
        for _ in range(3):
            richmond.signal(signal.SIGUSR2)
            until("the dump", lambda: "Gateway._drive" in richmond.log_text())
    log = richmond.log_text()
    pid = richmond.slot("EchoWorker:0").pid
    assert "state: running, 0 events in the inbox" in log
    assert f"gateway default 127.0.0.1:{gateway.port}: up, 1 sessions" in log
    assert "EchoWorker: target 2 (" in log
    assert "EchoWorker:0 RUNNING for" in log
    assert f"pid {pid}, row 0" in log
    for name in ("Gateway._read", "ControlServer._accept", "Master._sample", "Capture._read", "in _loop", "in _next"):
        assert name in log, name
    for secret in ("gateway-secret", richmond.node.password, "a secret answer", "27831112222"):
        assert secret not in log
    assert gateway.linked
    assert richmond.status().problems == ()


def test_it_may_be_asked_for_at_any_time(install):
    richmond = install().start(wait=False)
    until("the pid file", richmond.settings.richmond.pid_file.exists)
    richmond.signal(signal.SIGUSR2)
    until("the first", lambda: "state: " in richmond.log_text())
    richmond.wait_up()
    richmond.signal(signal.SIGTERM)
    richmond.signal(signal.SIGUSR2)
    assert richmond.wait_end() == 0
    assert "Traceback" not in richmond.log_text()
