"""`richmond dial`: a telephone for people and for scripts, and what the worker hears of a caller who leaves."""

import json

import pytest
from installation import until
from terminal import Terminal

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

GREETING = "Hello, this is an echo service for testing. Reply with whatever. Reply '0' to end session."

NOTING = """
import json, pathlib
from richmond.workers.ussd import USSDWorker, SessionType

class Noting(USSDWorker):
    def note(self, *what):
        with pathlib.Path(self.options["notes"]).open("a") as notes:
            notes.write(json.dumps(what) + "\\n")

    def new_ussd_session(self, msisdn, message):
        self.note("new", msisdn, message)
        self.reply(msisdn, "Your name?", SessionType.existing)

    def existing_ussd_session(self, msisdn, message):
        self.note("existing", msisdn, message)
        if message != "nobody":
            self.reply(msisdn, f"And then, {message}?", SessionType.existing)

    def end_ussd_session(self, msisdn, message):
        self.note("end", msisdn, message)

    def timed_out_ussd_session(self, msisdn, message):
        self.note("timed out", msisdn, message)
"""


@pytest.fixture
def noting(install):
    """Its subscribers have two seconds to answer."""
    installation = install(simulator="session-timeout = 2\n")
    notes = installation.directory / "notes"
    installation.workers = f"[worker:Noting]\nclass = noting.Noting\nnotes = {notes}\n"
    (installation.site / "noting.py").write_text(NOTING)
    installation.write()
    return installation.start()


def noted(installation, msisdn: str, last: str) -> list[list[str]]:
    """What the class noted of a caller, once `last` is among it."""
    file = installation.directory / "notes"

    def read():
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        mine = [[kind, text] for kind, number, text in lines if number == msisdn]
        return mine if any(kind == last for kind, _ in mine) else None

    return until(f"{last} of {msisdn}", read)


def test_who_hangs_up_or_lets_it_time_out_is_told_to_the_class(noting):
    def at_the_terminal(msisdn: str) -> Terminal:
        command = noting.command("dial", "*120*663#", "--msisdn", msisdn)
        return Terminal(command, noting.directory, noting.environ)

    with at_the_terminal("27820000001") as phone:
        phone.expect("Your name?\n> ")
        phone.type("Sipho\n")
        phone.expect("And then, Sipho?\n> ")
        phone.type("\x04")
        assert phone.end() == 0
        assert phone.text.endswith("(hung up)\n")
    assert [kind for kind, _ in noted(noting, "27820000001", "end")] == ["new", "existing", "end"]

    with at_the_terminal("27820000002") as phone:
        phone.expect("Your name?\n> ")
        phone.type("\x03")
        assert phone.end() == 0
    assert [kind for kind, _ in noted(noting, "27820000002", "end")] == ["new", "end"]

    with at_the_terminal("27820000003") as phone:
        phone.expect("Your name?\n> ")
        phone.expect("(timed out)")
        assert phone.end() == 0
    assert [kind for kind, _ in noted(noting, "27820000003", "timed out")] == ["new", "timed out"]

    piped = noting.run("dial", "*120*663#", "--msisdn", "27820000004", stdin="Thandi\n")
    assert (piped.returncode, piped.stdout) == (
        0,
        "> *120*663#\nYour name?\n> Thandi\nAnd then, Thandi?\n(hung up)\n",
    )
    assert [kind for kind, _ in noted(noting, "27820000004", "end")] == ["new", "existing", "end"]

    waited = noting.run("dial", "*120*663#", "--msisdn", "27820000005", "--wait", "Zola")
    assert (waited.returncode, waited.stdout.splitlines()[-1]) == (0, "(timed out)")
    assert noted(noting, "27820000005", "timed out")[:2] == [["new", "*120*663#"], ["existing", "Zola"]]

    unanswered = noting.run("dial", "*120*663#", "--timeout", "0.5", "nobody")
    assert (unanswered.returncode, unanswered.stdout.splitlines()[-1]) == (1, "(no reply within 0.5 s)")


def test_scripts_get_the_conversation_and_an_exit_code(richmond):
    whole = f"> *120*663#\n{GREETING}\n> hello\nhello\n> 0\nquitting, goodbye!\n(session ended)\n"
    arguments = richmond.run("dial", "*120*663#", "hello", "0")
    assert (arguments.returncode, arguments.stdout, arguments.stderr) == (0, whole, "")
    piped = richmond.run("dial", "*120*663#", stdin="hello\n0\n")
    assert (piped.returncode, piped.stdout, piped.stderr) == (0, whole, "")
    # the session is over before the script is
    early = richmond.run("dial", "*120*663#", "0", "one", "two")
    assert early.returncode == 1
    assert early.stdout.endswith("(session ended)\n(ended with 2 of the answers not given: one, two)\n")
    # a text with the marks of the protocol in it
    odd = richmond.run("dial", "*120*663#", "a,b,,c", "é £", "0")
    assert odd.returncode == 0
    assert "> a,b,,c\na,b,,c\n> é £\né £\n" in odd.stdout
    # on the line already
    with Terminal(
        richmond.command("dial", "*120*663#", "--msisdn", "27820000001"), richmond.directory, richmond.environ
    ) as phone:
        phone.expect("> ")
        busy = richmond.run("dial", "*120*663#", "--msisdn", "27820000001", "0")
        assert (busy.returncode, busy.stdout) == (1, "> *120*663#\n")
        assert "27820000001 is in use by another telephone" in busy.stderr
        phone.type("0\n")
        phone.expect("(session ended)")
        assert phone.end() == 0


def test_where_nobody_can_be_dialled_it_says_so(install):
    stopped = install()
    call = stopped.run("dial", "*120*663#", "0")
    assert (call.returncode, call.stdout) == (3, "")
    assert "no simulator answers" in call.stderr
    assert "richmond start" in call.stderr
    real = install(ssmi="host = 127.0.0.1\nport = 1\nusername = u\npassword = p\n")
    call = real.run("dial", "*120*663#", "0")
    assert call.returncode == 2
    assert "has no simulator" in call.stderr
    assert "Traceback" not in call.stderr


def test_a_richmond_that_ends_in_the_middle_of_a_call_is_no_traceback(richmond):
    command = richmond.command("dial", "*120*663#")
    with Terminal(command, richmond.directory, richmond.environ) as phone:
        phone.expect("end session.\n> ")
        assert richmond.run("stop").returncode == 0
        assert phone.end() in (0, 1)
        assert "Traceback" not in phone.text
        assert phone.text.splitlines()[-1].strip(), phone.text
    richmond.wait_end()
