"""`richmond gateway`: each verb against a simulator that runs, and what it does to an SSMI client of raw bytes."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading

import click
import pytest
from click.testing import CliRunner
from installation import until
from simulator_host import DEADLINE_S, running

from richmond import cli_gateway
from richmond.cli import cli

PHONE, OTHER = "27831112222", "27831113333"


class Gateway:
    """A simulator with an ini that names its socket, and the command for it."""

    def __init__(self, host, ini):
        self.host = host
        self.ini = ini

    def run(self, *args):
        """(exit code, standard output, standard error)"""
        done = CliRunner().invoke(cli, ["gateway", args[0], "-c", str(self.ini), *args[1:]])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return done.exit_code, done.stdout, done.stderr

    def does(self, *args):
        code, stdout, stderr = self.run(*args)
        assert (code, stderr) == (0, "")
        return stdout

    @contextlib.contextmanager
    def launch(self, *args):
        """In a process of its own, that the test ends."""
        with subprocess.Popen(
            [sys.executable, "-m", "richmond", "gateway", "-c", str(self.ini), *args],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()


def make(tmp_path, host):
    ini = tmp_path / "richmond.ini"
    ini.write_text(f"[richmond]\ndirectory = var\n[simulator]\nsocket = {host.socket}\n[worker:EchoWorker]\n")
    return Gateway(host, ini)


@pytest.fixture
def gateway(tmp_path):
    with running(tmp_path) as host:
        yield make(tmp_path, host)


@pytest.fixture
def two(tmp_path):
    with running(tmp_path, accounts="bank:one shop:two") as host:
        yield make(tmp_path, host)


@pytest.mark.parametrize(
    ("args", "said", "line"),
    [
        ((PHONE, "Hello, you"), f"sent from {PHONE}\n", f"SSMI,103,{PHONE},1,Hello, you"),
        ((PHONE, "WIN", "--to", "31022"), f"sent from {PHONE} to 31022\n", f"SSMI,107,{PHONE},1,31022,WIN"),
        ((PHONE, "--binary", "68656c"), f"sent from {PHONE}\n", f"SSMI,106,{PHONE},1,0,0,68656c"),
        (
            (PHONE, "--binary", "68", "--pid", "15", "--coding", "246", "--to", "31022"),
            f"sent from {PHONE} to 31022\n",
            f"SSMI,108,{PHONE},1,15,246,31022,68",
        ),
    ],
)
def test_sms_from_a_subscriber(gateway, args, said, line):
    with gateway.host.client() as client:
        assert gateway.does("sms", *args) == said
        assert client.line() == line


def test_sms_to_an_account(two):
    with two.host.client(user="bank", password="one"), two.host.client(user="shop", password="two") as shop:
        two.does("sms", PHONE, "hi", "--account", "shop")
        assert shop.line() == f"SSMI,103,{PHONE},1,hi"


def test_inbox_has_what_came(gateway):
    with gateway.host.client() as client:
        client.send(f"SSMI,2,0,{PHONE},foo, bar", f"SSMI,112,{PHONE},subject,http://foo/", "SSMI,3")
        while client.line() != "SSMI,101,2":
            pass
    assert gateway.does("inbox", PHONE) == "[SMS] foo, bar\n[wap-push] subject http://foo/\n"
    assert gateway.does("inbox", OTHER) == ""


def test_inbox_goes_on_until_ctrl_c(gateway):
    with gateway.host.client() as client, gateway.launch("inbox", PHONE, "-f") as inbox:
        client.send(f"SSMI,2,0,{PHONE},first")
        assert inbox.stdout.readline() == "[SMS] first\n"
        client.send(f"SSMI,2,0,{OTHER},not mine", f"SSMI,2,0,{PHONE},second")
        assert inbox.stdout.readline() == "[SMS] second\n"
        inbox.send_signal(signal.SIGINT)
        assert inbox.communicate(timeout=DEADLINE_S) == ("", "")
        assert inbox.returncode == 0


def test_report_says_what_becomes_of_sms(gateway):
    def submitted(client, msisdn):
        client.send(f"SSMI,2,0,{msisdn},hi", "SSMI,3")
        lines = []
        while (line := client.line()) != "SSMI,101,2":
            lines.append(line.split(",")[1:])
        return lines

    with gateway.host.client() as client:
        assert gateway.does("report", "2") == "delivery reports of all: report 2\n"
        said = gateway.does("report", "5", "--msisdn", PHONE, "--no-seq")
        assert said == f"delivery reports of all: report 2\ndelivery reports of {PHONE}: report 5 without sequence\n"
        assert submitted(client, PHONE) == [["104", PHONE, "1", "5"]]
        assert submitted(client, OTHER) == [["100", OTHER, "2"], ["104", OTHER, "2", "2"]]
        gateway.does("report", "--reset", "--msisdn", PHONE)
        gateway.does("report", "--none")
        assert submitted(client, PHONE) == [["100", PHONE, "3"]]
        assert gateway.does("report", "--reset") == "delivery reports: delivered, at once\n"
        gateway.does("report", "1", "--delay", "0.2")
        client.send(f"SSMI,2,0,{PHONE},hi")
        assert [client.line(), client.line()] == [f"SSMI,100,{PHONE},4", f"SSMI,104,{PHONE},4,1"]
    assert gateway.does("inbox", PHONE) == "[SMS] hi\n"


@pytest.mark.parametrize("name", ["mute", "no-login", "no-imsi", "crlf", "bytes", "chunks", "delay"])
def test_each_lasting_fault_begins_and_ends(gateway, name):
    value = ("2.5",) if name == "delay" else ()
    shown = "delay 2.5 s" if value else name
    for end in (("fault", name, "--off"), ("fault", "calm")):
        assert gateway.does("fault", name, *value) == f"{name}\n"
        assert json.loads(gateway.does("status", "--json"))["faults"] == [shown]
        gateway.does(*end)
        assert json.loads(gateway.does("status", "--json"))["faults"] == []


@pytest.mark.parametrize(
    ("args", "lines"),
    [
        (("drop",), [""]),
        (("garbage",), ["Garbage", "", "\n", "SSMI"]),
        (("long",), ["SSMI,105,".ljust(100_000, "x")]),
        (("long", "20"), ["SSMI,105,xxxxxxxxxxx"]),
    ],
)
def test_each_fault_that_happens_once(gateway, args, lines):
    with gateway.host.client() as client:
        gateway.does("fault", *args)
        assert [client.line() for _ in lines] == lines


def test_a_reset_link(gateway):
    with gateway.host.client() as client:
        gateway.does("fault", "reset")
        with pytest.raises(ConnectionResetError):
            client.line()


def test_a_fault_of_one_account(two):
    with two.host.client(user="bank", password="one") as bank, two.host.client(user="shop", password="two") as shop:
        assert two.does("fault", "mute", "--account", "shop") == "mute, for shop\n"
        for client, answer in ((bank, "SSMI,101,2"), (shop, f"SSMI,600,1,{PHONE},655017831112222,65501")):
            client.send("SSMI,3", f"SSMI,600,1,{PHONE},")
            assert client.line() == answer


def test_nack_refuses_the_next_login_or_lines(gateway):
    assert gateway.does("nack", "4") == "the next 1 login will be refused with 4\n"
    with gateway.host.client(login=False) as client:
        client.send("SSMI,1,richmond,pa,ss")
        assert [client.line(), client.line()] == ["SSMI,102,4", ""]
    with gateway.host.client() as client:
        assert gateway.does("nack", "3", "--times", "2") == "the next 2 lines will be refused with 3\n"
        client.send("SSMI,777", "SSMI,777", "SSMI,777")
        assert [client.line() for _ in range(3)] == ["SSMI,102,3", "SSMI,102,3", "SSMI,102,2"]


def test_logout_pushes_the_client_out(gateway):
    with gateway.host.client() as client:
        assert gateway.does("logout", "--ip", "10.9.8.7") == "logged out\n"
        assert [client.line(), client.line()] == ["SSMI,199,10.9.8.7", ""]


def test_extended_turns_111_on_and_off(gateway):
    with gateway.host.client() as client, gateway.host.phone() as phone:
        for state, id in (("on", "111"), ("off", "110")):
            assert gateway.does("extended", state) == f"USSD comes as {id}\n"
            phone.send("dial", code="*1#", msisdn=PHONE)
            phone.send("hangup")
            assert client.line().startswith(f"SSMI,{id},")
            assert client.line().startswith(f"SSMI,{id},")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("SSMI,105,free, text",), "SSMI,105,free, text"),
        ((f"SSMI,113,{PHONE},17,foo",), f"SSMI,113,{PHONE},17,foo"),
        (("--hex", b"SSMI,\xff\r".hex()), "SSMI,\xff"),
    ],
)
def test_inject_says_any_line(gateway, args, line):
    with gateway.host.client() as client:
        assert gateway.does("inject", *args) == "sent\n"
        assert client.line() == line


def test_log_has_the_lines_both_ways(gateway):
    with gateway.host.client() as client, gateway.launch("log", "-f") as log:
        seen = [re.sub(r"^\S+ ", "", log.stdout.readline()) for _ in range(3)]
        assert seen == [
            "#1 - -- connected from 127.0.0.1\n",
            "#1 - C> SSMI,1,richmond,***\n",
            "#1 richmond S> SSMI,101,1\n",
        ]
        client.send(f"SSMI,2,0,{PHONE},foo\nbar")
        assert log.stdout.readline().endswith(rf"#1 richmond C> SSMI,2,0,{PHONE},foo\nbar" + "\n")
        assert log.stdout.readline().endswith(f"#1 richmond S> SSMI,100,{PHONE},1\n")
        log.send_signal(signal.SIGINT)
        assert log.wait(DEADLINE_S) == 0
        assert log.stderr.read() == ""
    assert gateway.does("log").splitlines()[4].endswith(f"#1 richmond S> SSMI,100,{PHONE},1")


def test_status_for_people_and_for_programs(gateway):
    with gateway.host.client():
        gateway.does("fault", "mute")
        gateway.does("report", "2")
        text = gateway.does("status")
        assert f"gateway simulator at 127.0.0.1:{gateway.host.port}, for richmond" in text
        assert "client at 127.0.0.1, logged in as richmond" in text
        assert "fault: mute\ndelivery reports of all: report 2\n" in text
        facts = json.loads(gateway.does("status", "--json"))
        assert (facts["accounts"], facts["clients"][0]["account"]) == (["richmond"], "richmond")
        assert facts["counters"]["logins"] == 1


class Application(threading.Thread):
    """Ends every session with a menu and answers every SMS, but for what comes while `deaf`."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client = client
        self.deaf = False
        self.heard = 0
        self.callers = []
        self.hung_up = 0

    def run(self):
        while line := self.client.line():
            id, msisdn, kind, *_ = [*line.split(",")[1:], "", ""]
            if id not in ("110", "103"):
                continue
            self.heard += 1
            if id == "110" and kind == "1":
                self.callers.append(msisdn)
            self.hung_up += id == "110" and kind == "3"
            if self.deaf:
                continue
            if id == "110" and kind == "1":
                # One in two leaves the end of the session to the caller.
                self.client.send(f"SSMI,110,{msisdn},{2 + self.heard % 2},Hello")
            elif id == "103":
                self.client.send(f"SSMI,2,0,{msisdn},got it")


@pytest.fixture
def application(gateway):
    with gateway.host.client() as client:
        application = Application(client)
        application.start()
        yield application
        client.send("SSMI,99")
        application.join(DEADLINE_S)


def test_load_has_everything_answered_in_its_ledger(gateway, application):
    args = ("load", "--ussd", "40", "--sms", "20", "--seconds", "1", "--json")
    facts = json.loads(gateway.does(*args))
    assert {kind: (row["sent"], row["answered"], row["lost"]) for kind, row in facts.items()} == {
        "ussd": (40, 40, 0),
        "sms": (20, 20, 0),
    }
    assert all(0 < row["p50_ms"] <= row["p99_ms"] <= row["max_ms"] for row in facts.values())
    status = json.loads(gateway.does("status", "--json"))
    assert (status["sessions"], status["counters"]["dialled"], status["counters"]["sms_from_phones"]) == (0, 40, 20)
    table = gateway.does("load", "--ussd", "10", "--seconds", "0.5").splitlines()
    assert table[0].split() == ["sent", "answered", "lost", "p50", "ms", "p99", "ms", "max", "ms"]
    assert table[1].split()[:4] == ["ussd", "5", "5", "0"]


def test_load_counts_what_is_lost_with_the_reason(gateway, application):
    application.deaf = True
    code, stdout, stderr = gateway.run("load", "--ussd", "10", "--sms", "10", "--seconds", "0.5", "--timeout", "0.3")
    assert (code, stderr) == (1, "")
    assert stdout.splitlines()[3:] == ["5 ussd lost: no answer within 0.3 s", "5 sms lost: no answer within 0.3 s"]
    assert json.loads(gateway.does("status", "--json"))["sessions"] == 0


def test_load_hangs_up_where_no_answer_comes_and_takes_that_number_no_more(gateway, application):
    application.deaf = True
    with gateway.launch("load", "--ussd", "20", "--seconds", "3600", "--timeout", "0.1") as load:
        until("lost calls, and more after them", lambda: application.hung_up > 3 and len(application.callers) > 10)
        load.send_signal(signal.SIGINT)
        assert load.wait(DEADLINE_S) == 1
    assert len(set(application.callers)) == len(application.callers)


def test_load_dials_again_from_numbers_that_were_answered(gateway, application):
    gateway.does("load", "--ussd", "40", "--seconds", "1")
    assert len(set(application.callers)) < len(application.callers) == 40


def test_load_of_sms_that_nobody_answers(gateway, application):
    application.deaf = True
    stdout = gateway.does("load", "--sms", "10", "--seconds", "0.5", "--one-way", "--to", "31022")
    assert stdout.splitlines()[1].split()[:4] == ["sms", "5", "5", "0"]


def test_load_without_a_client_loses_everything_and_says_why(gateway):
    code, stdout, stderr = gateway.run("load", "--ussd", "10", "--seconds", "0.5")
    assert (code, stderr) == (1, "")
    assert stdout.splitlines()[2] == "5 ussd lost: the gateway has no client logged in"


def test_load_that_is_interrupted_accounts_for_what_it_sent(gateway, application):
    with gateway.launch("load", "--ussd", "50", "--seconds", "3600") as load:
        until("some calls", lambda: application.heard > 20)
        load.send_signal(signal.SIGINT)
        stdout, stderr = load.communicate(timeout=DEADLINE_S)
        assert (load.returncode, stderr) == (0, "")
        _, sent, answered, lost, *_ = stdout.splitlines()[1].split()
        assert int(sent) == int(answered) > 10
        assert lost == "0"


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("sms", PHONE), 2, "either a TEXT or --binary HEX"),
        (("sms", PHONE, "hi", "--binary", "68"), 2, "either a TEXT or --binary HEX"),
        (("sms", PHONE, "hi"), 1, "the gateway has no client logged in"),
        (("sms", "+2783", "hi"), 1, "'+2783' is not a telephone number"),
        (("sms", PHONE, "hi", "--account", "bank"), 1, "the gateway has no account bank: there is richmond"),
        pytest.param(("sms", PHONE, "x" * 70_000), 1, "a line is longer than 65536 bytes", id="too long"),
        (("sms", PHONE, "\udcff"), 2, "the text is not UTF-8"),
        (("inbox", "nobody"), 1, "'nobody' is not a telephone number"),
        (("report", "a,b"), 1, "'a,b' is no return code"),
        (("report", "--delay", "nan"), 2, "--delay nan: from 0 to 86400 seconds"),
        (("report", "--msisdn", "nobody"), 1, "'nobody' is not a telephone number"),
        (("fault", "sleep"), 2, "'sleep' is not one of"),
        (("fault", "mute", "2"), 2, "mute takes no number"),
        (("fault", "drop", "--off"), 2, "drop is over at once"),
        (("fault", "mute", "--off"), 1, "mute is not on"),
        (("fault", "delay"), 2, "say how long"),
        (("fault", "delay", "inf"), 2, "say how long"),
        (("fault", "long", "nan"), 2, "long nan: from 16 to 1000000 bytes"),
        (("nack", "5"), 2, "'5' is not one of"),
        (("nack", "4", "--times", "0"), 2, "--times"),
        (("logout",), 1, "the gateway has no client logged in"),
        (("extended", "maybe"), 2, "'maybe' is not one of"),
        (("inject",), 2, "either a LINE or --hex"),
        (("inject", "SSMI,105,x"), 1, "the gateway has no client logged in"),
        (("inject", "--hex", "5"), 1, "hex digits"),
        (("load",), 2, "say --ussd RATE or --sms RATE"),
        (("load", "--ussd", "nan"), 2, "--ussd nan: from 0 to 10000 a second"),
        (("load", "--ussd", "1", "--seconds", "0"), 2, "--seconds 0: more than 0"),
    ],
)
def test_mistakes_are_said_in_one_plain_line(gateway, args, code, words):
    got, stdout, stderr = gateway.run(*args)
    assert (got, stdout) == (code, "")
    assert words in stderr
    assert "Traceback" not in stderr
    assert len(stderr.splitlines()) == 1 or "Usage:" in stderr


def test_where_no_simulator_runs_it_says_so(tmp_path):
    ini = tmp_path / "richmond.ini"
    ini.write_text("[richmond]\ndirectory = var\n[worker:EchoWorker]\n")
    gateway = Gateway(None, ini)
    for verb in (("status",), ("log", "-f"), ("load", "--ussd", "1"), ("fault", "calm")):
        code, _, stderr = gateway.run(*verb)
        assert (code, "no simulator answers" in stderr) == (3, True), verb
    ini.write_text("[ssmi]\nhost = 127.0.0.1\nusername = u\npassword = p\n[worker:EchoWorker]\n")
    code, _, stderr = gateway.run("status")
    assert code == 2
    assert "has no simulator ([simulator] enabled): this is for the built-in gateway only" in stderr


def test_a_simulator_that_goes_ends_what_follows_it(gateway):
    with gateway.launch("log", "-f") as log, gateway.host.client():
        assert log.stdout.readline()
        gateway.host.close()
        _, stderr = log.communicate(timeout=DEADLINE_S)
        assert (log.returncode, stderr.startswith("richmond: the simulator has gone")) == (1, True)


@pytest.mark.parametrize("name", cli_gateway.group.commands)
def test_every_verb_has_help_with_an_example(name):
    command = cli_gateway.group.commands[name]
    text = command.get_help(click.Context(command, info_name=name)).split("Options:")[0]
    assert f"richmond gateway {name}" in text.split("\n\n", 1)[1]


@pytest.mark.services
@pytest.mark.timeout(120)
def test_a_whole_richmond_under_load_loses_its_link_and_comes_back(richmond):
    def verb(*args):
        done = richmond.run("gateway", *args)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    facts = json.loads(verb("load", "--ussd", "20", "--seconds", "2", "--json"))
    assert (facts["ussd"]["sent"], facts["ussd"]["answered"]) == (40, 40)
    verb("fault", "drop")
    richmond.wait("the link to come back", lambda s: s.phase == "running" and not s.problems)
    until("a second login", lambda: json.loads(verb("status", "--json"))["counters"]["logins"] == 2)
    verb("fault", "chunks")
    verb("fault", "crlf")
    facts = json.loads(verb("load", "--ussd", "20", "--seconds", "1", "--json"))
    assert (facts["ussd"]["sent"], facts["ussd"]["answered"]) == (20, 20)
    assert "C> SSMI,110," in verb("log")
