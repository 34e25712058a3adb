"""txssmi, Praekelt's Twisted client for TruTeq's SSMI, must be able to work with the simulator."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from simulator_host import DEADLINE_S, running

PHONE = "27831112222"

if importlib.util.find_spec("txssmi") is None:
    if os.environ.get("CI"):
        raise ImportError("txssmi is missing: pip install -e '.[dev]'")
    pytest.skip("txssmi is missing: pip install -e '.[dev]'", allow_module_level=True)


class Application:
    def __init__(self, host, password="pa,ss"):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "txssmi_client.py"), str(host.port), password],
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate(timeout=DEADLINE_S)


@pytest.fixture
def host(tmp_path):
    with running(tmp_path) as host:
        yield host


def log_in(application):
    assert application.says() == {"what": "login", "command": "ACK", "authenticated": True}
    assert application.says() == {"what": "link-check", "command": "ACK", "ack_type": "2"}
    assert application.says() == {"what": "imsi", "imsi": "655017831112222", "spid": "65501"}


def test_it_logs_in_and_holds_a_session(host):
    with Application(host) as application, host.phone() as phone:
        log_in(application)
        phone.does("dial", msisdn=PHONE, code="*120*663#")
        assert application.says() == {
            "what": "ussd",
            "msisdn": PHONE,
            "type": "1",
            "phase": "2",
            "message": "*120*663#",
        }
        phone.event()
        assert phone.event()["text"] == "Hello\n1. Café"
        phone.does("answer", text="é, 1")
        assert application.says()["message"] == "é, 1"
        assert phone.event()["text"] == "Bye, é, 1"
        assert phone.event()["reason"] == "application"


def test_it_gets_and_sends_an_sms(host):
    with Application(host) as application, host.phone() as phone:
        log_in(application)
        phone.does("sms", msisdn=PHONE, text="hi, you")
        assert application.says() == {"what": "mo", "msisdn": PHONE, "message": "hi, you"}
        assert application.says() == {"what": "seq", "msisdn": PHONE, "sequence": "2"}
        assert application.says() == {"what": "dr", "msisdn": PHONE, "sequence": "2", "ret_code": "0"}
        assert phone.event()["text"] == "got it, thanks"


def test_it_hears_of_hang_ups_and_time_outs(host):
    with Application(host) as application, host.phone() as phone:
        log_in(application)
        for key, ussd_type in (("hangup", "3"), ("timeout", "4")):
            phone.does("dial", msisdn=PHONE, code="*1#")
            assert application.says()["type"] == "1"
            assert [phone.event()["event"], phone.event()["event"]] == ["begin", "menu"]
            phone.does(key)
            assert application.says()["type"] == ussd_type
            assert phone.event()["event"] == "end"


def test_it_works_with_an_extended_account(tmp_path):
    with running(tmp_path, extended=True) as host, Application(host) as application, host.phone() as phone:
        log_in(application)
        phone.does("dial", msisdn=PHONE, code="*1#")
        assert application.says() == {
            "what": "extended",
            "msisdn": PHONE,
            "type": "1",
            "genfields": "655017831112222:1:1:1:",
        }
        assert [phone.event()["event"] for _ in range(3)] == ["begin", "menu", "end"]


def test_it_is_told_of_a_wrong_password(host):
    with Application(host, "wrong") as application:
        assert application.says() == {"what": "login", "command": "NACK", "authenticated": False}
        assert application.says() == {"what": "lost"}


def test_it_is_pushed_out_by_a_second_login(host):
    with Application(host) as application:
        log_in(application)
        with host.client():
            assert application.says() == {"what": "remote-logout", "ip": "127.0.0.1"}
            assert application.says() == {"what": "lost"}
