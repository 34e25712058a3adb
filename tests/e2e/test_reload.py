"""Reload by SIGHUP and by command: what has changed is taken over, what is wrong changes nothing."""

import signal
import socket
from pathlib import Path

import psutil
import pytest
from installation import settled, until
from phones import Phones

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

TALK = """
from richmond.workers.ussd import SessionType, USSDWorker
import words

class TalkWorker(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        self.reply(msisdn, f"{words.GREETING} one", SessionType.existing)

    def existing_ussd_session(self, msisdn, message):
        self.reply(msisdn, f"{words.GREETING} one {message}", SessionType.existing)
"""
TALK_INI = "[worker:TalkWorker]\nclass = talk.TalkWorker\nworkers = 3\nmin = 3\nmax = 3\n"


def pids(installation, name=None):
    return {s.name: s.pid for c in installation.status().classes if name in (None, c.name) for s in c.slots}


def cls(snapshot, name):
    return next((c for c in snapshot.classes if c.name == name), None)


def ports(installation, pid, remote):
    """Local ports of the process's connections to a port."""
    return {c.laddr.port for c in psutil.Process(pid).net_connections("tcp") if c.raddr and c.raddr.port == remote}


def link(snapshot, name):
    return next(found for found in snapshot.links if found.name == name)


@pytest.fixture
def talk(install):
    installation = install(workers=TALK_INI)
    (installation.site / "talk.py").write_text(TALK)
    (installation.site / "words.py").write_text('GREETING = "Hello"\n')
    return installation


def test_new_bounds_keep_the_workers_and_classes_come_and_go(richmond):
    before = pids(richmond)
    echo = richmond.workers.split("[worker:FooBarWorker]")[0]
    old, richmond.workers = (
        richmond.workers,
        echo.replace("workers = 2", "workers = 3").replace("max = 8", "max = 9")
        + ("[worker:Other]\nclass = FooBarWorker\ncodes = *120*555#\nworkers = 1\n"),
    )
    richmond.write()
    done = richmond.run("reload")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "EchoWorker: 2 -> 3 workers",
        "EchoWorker: changed (workers, max), its workers stay",
        "FooBarWorker: removed",
        "Other: new, 1 worker",
    ]
    snapshot = richmond.wait("the classes of the ini", lambda s: len(s.classes) == 2 and settled(s))
    assert [(c.name, c.running, c.max) for c in snapshot.classes] == [("EchoWorker", 3, 9), ("Other", 1, 1)]
    assert {n: p for n, p in before.items() if n.startswith("Echo")}.items() <= pids(richmond).items()
    assert before["FooBarWorker:0"] not in richmond.processes()
    assert "foo?" in richmond.run("dial", "*120*555#").stdout
    assert "echo service" in richmond.run("dial", "*120*666#").stdout  # nobody's code any more

    richmond.workers = old
    richmond.write()
    richmond.signal(signal.SIGHUP)
    richmond.wait("the old classes", lambda s: cls(s, "FooBarWorker") and not cls(s, "Other") and settled(s))
    assert "foo?" in richmond.run("dial", "*120*666#").stdout
    assert richmond.run("reload").stdout == "nothing has changed\n"


def test_changed_code_takes_over_one_by_one_and_no_reply_is_lost(talk):
    talk.start()
    with Phones(talk) as phones:
        phones.wait("a conversation", lambda reply: reply.startswith("Hello one"))
        for file, old, new in (("words.py", "Hello", "Hi"), ("talk.py", "one", "two")):
            before = set(pids(talk).values())
            path = talk.site / file
            path.write_text(path.read_text().replace(old, new))
            if file == "words.py":
                talk.signal(signal.SIGHUP)
            else:
                why = f"its code has changed ({path})"
                assert talk.run("reload").stdout == f"TalkWorker: its workers are replaced one by one: {why}\n"
            serving = []

            def replaced(snapshot, before=before, serving=serving):
                found = cls(snapshot, "TalkWorker")
                serving.append(found.running)
                return settled(snapshot) and not before & {s.pid for s in found.slots}

            talk.wait("new workers", replaced)
            assert min(serving) >= 3
            assert max(serving) <= 4
            phones.wait("the new text", lambda reply, new=new: new in reply)
        start = len(phones.replies)
        phones.wait("more conversations", bool)
        assert all(reply.startswith("Hi two") for reply in phones.replies[start:])
    assert f"its code has changed ({talk.site / 'words.py'})" in talk.log_text()


def test_code_that_cannot_be_imported_leaves_the_old_workers_serving_until_it_is_mended(talk):
    talk.start()
    before = pids(talk)
    path = talk.site / "words.py"
    path.write_text('GREETING = "Hi\n')
    with Phones(talk) as phones:
        assert talk.run("reload").returncode == 0  # the ini is right; what becomes of the code, status says
        snapshot = talk.wait("the new one to fail", lambda s: s.classes[0].rolled_back)
        assert "SyntaxError" in snapshot.classes[0].rolled_back_traceback
        talk.wait("none but the old ones", settled)
        assert pids(talk) == before
        shown = talk.run("status")
        assert shown.returncode == 150
        assert "rolled back, the old workers serve on" in shown.stdout
        assert 'GREETING = "Hi\n' in shown.stdout  # the line, in the traceback
        assert "rolled back, the old workers serve on" in talk.log_text()

        waited = talk.run("reload", "--wait")
        assert (waited.returncode, waited.stdout) == (1, "")
        assert "TalkWorker was rolled back: its code has changed" in waited.stderr
        assert pids(talk) == before
        phones.wait("the old text", lambda reply: reply.startswith("Hello"))

        path.write_text('GREETING = "Hi"\n')
        assert talk.run("reload").returncode == 0
        talk.wait("the mended ones", lambda s: settled(s) and not s.problems)
        assert not set(before.values()) & set(pids(talk).values())
        phones.wait("the new text", lambda reply: reply.startswith("Hi"))
    assert talk.run("status").returncode == 0


def test_only_the_link_whose_settings_changed_connects_again(richmond):
    master, amqp_port = richmond.process.pid, richmond.settings.amqp.port
    snapshot = richmond.status()

    def gateway(s):
        return ports(richmond, master, int(link(s, "gateway").address.rpartition(":")[2]))

    workers, amqp, ssmi = pids(richmond), ports(richmond, master, amqp_port), gateway(snapshot)
    assert amqp
    assert ssmi
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
    richmond.sections["ssmi"] = "link-check-interval = 0.2\n"
    richmond.write()
    assert richmond.run("reload").stdout == "[ssmi]: changed (link-check-interval)\n"
    snapshot = richmond.wait("link checks in quick succession", lambda s: s.counters["link-link-checks"] >= 4)
    assert gateway(snapshot) == ssmi  # a new time is no reason to end the link, and with it the sessions

    richmond.sections["simulator"] = f"port = {free}\n"
    richmond.write()
    assert "[simulator]: changed" in richmond.run("reload").stdout
    snapshot = richmond.wait("the gateway at its new port", lambda s: gateway(s) and not s.problems)
    ssmi = gateway(snapshot)
    assert richmond.run("dial", "*120*663#", "0").returncode == 0
    assert link(snapshot, "gateway").address.endswith(f":{free}")
    assert (pids(richmond), ports(richmond, master, amqp_port)) == (workers, amqp)

    with Phones(richmond) as phones:
        phones.wait("a conversation", bool)
        richmond.sections["amqp"] = "heartbeat = 7\n"
        richmond.write()
        assert "[amqp]: changed" in richmond.run("reload").stdout
        richmond.wait(
            "all on new connections", lambda s: settled(s) and not set(workers.values()) & set(pids(richmond).values())
        )
        until(
            "the master on new connections",
            lambda: ports(richmond, master, amqp_port) and not ports(richmond, master, amqp_port) & amqp,
        )
        phones.wait("a conversation over the new ones", bool)
    assert gateway(richmond.status()) == ssmi
    assert richmond.run("status").returncode == 0
    assert richmond.run("dial", "*120*663#", "0").returncode == 0


def test_a_rotated_log_goes_on_in_a_new_file(richmond):
    log = richmond.settings.richmond.log
    old = log.with_suffix(".1")
    log.rename(old)
    richmond.signal(signal.SIGHUP)
    until("a new log", lambda: log.exists() and "reloaded" in log.read_text())
    kept = old.read_text()
    richmond.run("dial", "*120*663#")  # hangs up, of which the worker tells
    until("a worker's line", lambda: " EchoWorker:" in log.read_text())
    assert " master " in log.read_text()
    assert old.read_text() == kept


def test_a_broken_ini_changes_nothing_and_says_what_would_be_valid(richmond):
    started, log = pids(richmond), richmond.settings.richmond.log
    good = richmond.ini.read_text()
    number = 1 + good.splitlines().index("workers = 2")

    def mistakes(line, *words):
        """Both ways to reload; each has to leave all as it is and to say what is wrong."""
        richmond.ini.write_text(good.replace("workers = 2", line))
        for reload in ("reload", signal.SIGHUP):
            before = len(log.read_text())
            if reload == "reload":
                refused = richmond.run("reload")
                assert (refused.returncode, refused.stdout) == (2, "")
                assert all(word in refused.stderr for word in words), refused.stderr
            else:
                richmond.signal(reload)
            until("a line in the log", lambda start=before: "ERROR" in log.read_text()[start:])
            logged = log.read_text()[before:]
            assert all(word in logged for word in words), logged
            table = richmond.run("status")
            assert table.returncode == 150
            assert all(word in table.stdout for word in words), table.stdout

    where = [str(richmond.ini), f"line {number}", "[worker:EchoWorker]"]
    mistakes("worksers = 2", *where, "worksers", "did you mean workers?")
    mistakes("workers = many", *where, "workers", "'many' is not a whole number from 0 to 10000")
    assert pids(richmond) == started
    assert richmond.run("dial", "*120*663#", "0").returncode == 0

    richmond.ini.write_text(good)
    assert richmond.run("reload").returncode == 0
    assert richmond.status().problems == ()
    assert richmond.run("status").returncode == 0

    away = richmond.ini.with_suffix(".away")
    richmond.ini.rename(away)
    richmond.signal(signal.SIGHUP)
    until("the missing file to be told", lambda: "not reloaded" in log.read_text().splitlines()[-1])
    away.rename(richmond.ini)
    assert pids(richmond) == started


def test_what_cannot_be_had_is_an_error_of_the_reload_and_changes_nothing(richmond):
    before = pids(richmond)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for section, line, words in (
            ("simulator", f"port = {taken.getsockname()[1]}\n", ["[simulator] port", "in use"]),
            ("richmond", "log = /proc/nowhere/richmond.log\n", ["/proc/nowhere/richmond.log", "No such"]),
        ):
            richmond.sections[section] = line
            richmond.write()
            refused = richmond.run("reload")
            assert refused.returncode == 2
            assert all(word in refused.stderr for word in words), refused.stderr
            richmond.sections[section] = ""
            richmond.write()
            assert any(words[0] in problem for problem in richmond.status().problems)
            assert richmond.run("reload").returncode == 0
    richmond.wait_up()
    assert pids(richmond) == before
    assert richmond.run("dial", "*120*663#", "0").returncode == 0


def test_a_hundred_hangups_in_a_burst_lose_nothing_and_leak_nothing(talk):
    talk.start()

    def open_files():
        return {pid: len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in talk.processes()}

    before = pids(talk)
    with Phones(talk) as phones:
        phones.wait("a conversation", bool)
        talk.run("reload")
        files = open_files()
        for i in range(100):
            talk.signal(signal.SIGHUP)
            if i % 10 == 0:
                phones.wait("replies between the signals", bool, 3)
        assert talk.run("reload").stdout == "nothing has changed\n"
        phones.wait("a conversation afterwards", bool)
        assert pids(talk) == before
        until("all files to be closed", lambda: open_files() == files)


def test_a_hangup_during_the_start_waits_for_it(install):
    richmond = install(node=None).start(wait=False)
    richmond.wait("the node's start", lambda s: "RabbitMQ" in s.phase)
    richmond.signal(signal.SIGHUP)
    richmond.wait_up()
    until("the reload", lambda: "reloaded: nothing has changed" in richmond.log_text())
    master = psutil.Process(richmond.process.pid)
    gateway = int(link(richmond.status(), "gateway").address.rpartition(":")[2])
    assert len(ports(richmond, master.pid, gateway)) == 1  # one broker, not two
    assert richmond.run("dial", "*120*663#", "0").returncode == 0


def test_a_rehearsal_says_what_a_reload_will_do_and_changes_nothing(talk):
    talk.start()
    before, status = pids(talk), talk.status()
    assert talk.run("reload", "--dry-run").stdout == "nothing has changed\n"
    (talk.site / "words.py").write_text('GREETING = "Hi"\n')
    talk.workers = TALK_INI.replace("max = 3", "max = 4") + "[worker:EchoWorker]\ncodes = *120*1#\n"
    talk.sections["simulator"] = "session-timeout = 7\n"
    talk.write()
    told = talk.run("reload", "--dry-run")
    assert told.returncode == 0
    assert "EchoWorker: new, 1 worker" in told.stdout.splitlines()
    assert f"its code has changed ({talk.site / 'words.py'})" in told.stdout
    assert "[simulator]: changed (session-timeout)" in told.stdout
    assert pids(talk) == before
    assert "reload" not in talk.log_text()
    assert [cls.generation for cls in slots(talk.status())] == [cls.generation for cls in slots(status)]

    done = talk.run("reload", "--wait")
    assert done.stdout == told.stdout
    assert settled(talk.status())  # it has waited
    until("the log to tell of it", lambda: "reload" in talk.log_text())
    assert not set(before.values()) & set(pids(talk).values())

    talk.workers = "[worker:TalkWorker]\nworksers = 1\n"
    talk.write()
    for option in ("--dry-run", "--wait"):
        refused = talk.run("reload", option)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "worksers: is an unknown key" in refused.stderr
    assert "it would change nothing" in talk.run("reload", "--dry-run").stderr


def slots(snapshot):
    return [slot for cls in snapshot.classes for slot in cls.slots]
