"""The telephone in the terminal: scripted and with a person at a real terminal."""

import contextlib
import io
import os
import pty
import select
import subprocess
import sys
import threading
import time

import pytest
from simulator_host import DEADLINE_S, running, wait_until

from richmond.errors import ControlError, NotRunning
from richmond.simulator import phone

PHONE = "27831112222"


@pytest.fixture
def host(tmp_path):
    with running(tmp_path) as host:
        yield host


class Application:
    """An SSMI client that greets, echoes, ends at 0, pushes an SMS at 7 and falls silent at 9."""

    def __init__(self, host):
        self.client = host.client()
        self.heard = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with contextlib.suppress(ConnectionResetError):  # a simulator that is killed
            while line := self.client.line():
                if line.startswith("SSMI,110,"):
                    self.received(*line.split(",", 5)[2:])

    def received(self, msisdn, ussd_type, _phase, text):
        self.heard.append((ussd_type, text))
        if ussd_type == "1":
            self.client.send(f"SSMI,110,{msisdn},2,Hello\n1. Café")
        elif ussd_type == "2" and text == "0":
            self.client.send(f"SSMI,110,{msisdn},3,Bye")
        elif ussd_type == "2" and text == "5":
            self.client.send(f"SSMI,110,{msisdn},5,*2#")
        elif ussd_type == "2" and text == "7":
            self.client.send(f"SSMI,2,0,{msisdn},ping", f"SSMI,110,{msisdn},2,sent")
        elif ussd_type == "2" and text != "9":
            self.client.send(f"SSMI,110,{msisdn},2,{text}")

    def close(self):
        self.client.send("SSMI,99")
        self.thread.join(DEADLINE_S)
        self.client.socket.close()


@pytest.fixture
def application(host):
    application = Application(host)
    yield application
    application.close()


def recite(host, *answers, timeout_s=DEADLINE_S, wait=False, stdin=None):
    out = io.StringIO()
    code = phone.run(
        host.socket,
        "*1#",
        msisdn=PHONE,
        answers=answers if stdin is None else None,
        stdin=stdin or io.StringIO(),
        stdout=out,
        interactive=False,
        timeout_s=timeout_s,
        wait=wait,
    )
    return code, out.getvalue()


def test_a_script_that_ends_the_session(host, application):
    assert recite(host, "é", "0") == (0, "> *1#\nHello\n1. Café\n> é\né\n> 0\nBye\n(session ended)\n")


def test_answers_may_come_from_a_pipe(host, application):
    assert recite(host, stdin=io.StringIO("a\n\n0\n")) == (
        0,
        "> *1#\nHello\n1. Café\n> a\na\n> \n\n> 0\nBye\n(session ended)\n",
    )


def test_after_the_last_answer_the_telephone_hangs_up(host, application):
    assert recite(host, "a") == (0, "> *1#\nHello\n1. Café\n> a\na\n(hung up)\n")
    wait_until(lambda: application.heard[-1] == ("3", "Done"), "the application hears of the end")


def test_a_session_that_ends_early_fails_and_says_what_was_left(host, application):
    code, out = recite(host, "0", "1", "2")
    assert code == 1
    assert out.endswith("Bye\n(session ended)\n(ended with 2 of the answers not given: 1, 2)\n")


def test_no_reply_in_time_fails(host, application):
    code, out = recite(host, "9", timeout_s=0.2)
    assert (code, out.splitlines()[-1]) == (1, "(no reply within 0.2 s)")


def test_a_redirect_is_followed(host, application):
    assert recite(host, "5", "0") == (
        0,
        "> *1#\nHello\n1. Café\n> 5\n(redirected)\nHello\n1. Café\n> 0\nBye\n(session ended)\n",
    )


def test_an_sms_during_the_session_is_shown(host, application):
    assert "> 7\n[SMS] ping\nsent\n" in recite(host, "7")[1]


def test_waiting_lets_the_session_time_out(tmp_path):
    with running(tmp_path, timeout_s=1.5) as host:
        application = Application(host)
        assert recite(host, "a", wait=True, timeout_s=1.0) == (0, "> *1#\nHello\n1. Café\n> a\na\n(timed out)\n")
        wait_until(lambda: application.heard[-1] == ("4", "Timeout"), "the application hears of the end")
        application.close()


def test_a_session_that_times_out_before_the_reply_fails(tmp_path):
    with running(tmp_path, timeout_s=0.5) as host:
        application = Application(host)
        code, out = recite(host, "9")
        assert (code, out.splitlines()[-1]) == (1, "(timed out)")
        application.close()


def test_without_a_client_it_says_so(host):
    with pytest.raises(ControlError, match="the gateway has no client logged in"):
        recite(host)


def test_without_a_simulator_it_says_how_to_start_one(tmp_path):
    with pytest.raises(NotRunning, match=r"no simulator answers at .*richmond start"):
        phone.run(
            tmp_path / "nobody.sock", "*1#", answers=[], stdin=io.StringIO(), stdout=io.StringIO(), interactive=False
        )


def test_a_simulator_that_goes_in_mid_call_is_an_error(tmp_path):
    with running(tmp_path) as host:
        application = Application(host)
        failures = []

        def call():
            try:
                recite(host, "9")
            except ControlError as e:
                failures.append(str(e))

        caller = threading.Thread(target=call)
        caller.start()
        wait_until(lambda: ("2", "9") in application.heard, "the application has the answer")
        host.kill()
        caller.join(DEADLINE_S)
        application.client.socket.close()
        assert len(failures) == 1
        assert failures[0].startswith("the simulator has gone")


PROGRAM = """
import fcntl, sys, termios
from pathlib import Path
from richmond.simulator.phone import run
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal
sys.exit(run(Path(sys.argv[1]), "*1#", msisdn=sys.argv[2], stdin=sys.stdin, stdout=sys.stdout, interactive=True))
"""


class Terminal:
    """A person at a pseudo-terminal."""

    def __init__(self, host):
        self.fd, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, str(host.socket), PHONE],
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)
        self.screen = ""

    def types(self, keys):
        os.write(self.fd, keys.encode())

    def sees(self, text):
        """Everything up to and with `text`; what was seen is gone from the screen."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.screen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} not on the screen: {self.screen!r}"
            if select.select([self.fd], [], [], left)[0]:
                try:
                    data = os.read(self.fd, 4096)
                except OSError:
                    data = b""
                assert data, f"{text!r} not on the screen at the end: {self.screen!r}"
                self.screen += data.decode().replace("\r\n", "\n")
        seen, _, self.screen = self.screen.partition(text)
        return seen + text

    def exit_code(self):
        return self.process.wait(DEADLINE_S)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


@pytest.fixture
def terminal(host, application):
    terminal = Terminal(host)
    yield terminal
    terminal.close()


def test_a_person_talks_until_the_session_ends(terminal):
    assert terminal.sees("> ") == "Hello\n1. Café\n> "
    terminal.types("hi\n")
    assert terminal.sees("hi\nhi\n> ")
    terminal.types("0\n")
    terminal.sees("Bye\n(session ended)\n")
    assert terminal.exit_code() == 0


@pytest.mark.parametrize("key", ["\x04", "\x03"], ids=["Ctrl-D", "Ctrl-C"])
def test_a_person_hangs_up(terminal, application, key):
    terminal.sees("> ")
    terminal.types(key)
    terminal.sees("(hung up)\n")
    assert terminal.exit_code() == 0
    wait_until(lambda: application.heard[-1] == ("3", "Done"), "the application hears of the end")


def test_a_person_hangs_up_while_waiting_for_a_reply(terminal, application):
    terminal.sees("> ")
    terminal.types("9\n")
    wait_until(lambda: ("2", "9") in application.heard, "the application has the answer")
    terminal.types("\x03")
    terminal.sees("(hung up)\n")
    assert terminal.exit_code() == 0


def test_a_person_sees_the_session_time_out_while_thinking(host, terminal):
    terminal.sees("> ")
    with host.phone() as other:
        other.does("timeout", msisdn=PHONE)
    terminal.sees("\n(timed out)\n")
    assert terminal.exit_code() == 0


def test_lines_pasted_together_are_answers_one_by_one(terminal):
    terminal.sees("> ")
    terminal.types("a\nb\n0\n")
    seen = terminal.sees("(session ended)\n")
    assert seen.endswith("Bye\n(session ended)\n")
    assert terminal.exit_code() == 0


def test_lines_piped_to_a_person_s_prompt_are_answers_one_by_one(host, application):
    reading, writing = os.pipe()
    os.write(writing, b"a\nb\n0\n")
    out = io.StringIO()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "w"):  # not closed: select must not wait for more
        assert phone.run(host.socket, "*1#", stdin=stdin, stdout=out, interactive=True, timeout_s=DEADLINE_S) == 0
    assert out.getvalue() == "Hello\n1. Café\n> a\n> b\n> Bye\n(session ended)\n"
