"""What workers print is in the log, and no log is in anybody's way."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
from installation import until
from rabbit import Rabbit

from richmond.log_lines import join, parse

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

CHATTY = """
import os, subprocess, sys
from pathlib import Path

from richmond import log
from richmond.workers.ussd import SessionType, USSDWorker

print("imported")


class Chatty(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        if message == "*3#":
            self.floods()
        else:
            self.talks(msisdn)
        with (Path(__file__).parent / "done").open("a") as done:
            done.write(msisdn + "\\n")
        self.reply(msisdn, "done", SessionType.end)

    def talks(self, msisdn):
        print("printed for", msisdn)
        print("an error", file=sys.stderr)
        log.msg("logged")
        subprocess.run(["echo", "by a program"], check=True)
        print("the password is", os.environ["SECRET"])

    def floods(self):
        for number in range(50_000):
            print(number, "x" * 100)
"""

WORKER = """
[worker:Chatty]
class = chatty.Chatty
prefetch = 1
{more}
[[environment]]
SECRET = not-for-the-log
[worker:EchoWorker]
codes = *1#
"""


@pytest.fixture
def chatty(install):
    def make(more="", **options):
        installation = install(workers=WORKER.format(more=more), **options)
        (installation.site / "chatty.py").write_text(CHATTY)
        return installation.start()

    return make


def entries(path):
    return [entry for entry in map(parse, join(path.read_text().splitlines())) if entry] if path.exists() else []


def texts(path, process):
    return [entry.text for entry in entries(path) if entry.process == process]


def test_what_a_handler_prints_is_in_the_log_with_its_slot(chatty):
    richmond = chatty()
    log = richmond.settings.richmond.log
    assert richmond.run("dial", "*2#", "--msisdn", "27831112222").returncode == 0
    until("all that it said", lambda: "the password is ********" in texts(log, "Chatty:0"))
    said = texts(log, "Chatty:0")
    assert said[0] == "imported"
    assert said[-5:] == [
        "printed for 2783•••2222", "an error", "logged", "by a program", "the password is ********",
    ]  # fmt: skip
    assert "not-for-the-log" not in richmond.output()
    assert "27831112222" not in richmond.output()
    assert not list(richmond.directory.glob("start.out.*"))


def test_numbers_are_shown_to_who_wants_to_see_them(chatty):
    richmond = chatty(richmond="log-messages = yes\n")
    assert richmond.run("dial", "*2#", "--msisdn", "27831112222").returncode == 0
    until("the number", lambda: "printed for 27831112222" in richmond.log_text())


def test_each_class_in_a_file_and_as_json_and_back_with_a_reload(chatty):
    richmond = chatty(richmond="log-files = per-class\nlog-format = json\n")
    log = richmond.settings.richmond.log
    own = log.with_name("richmond.Chatty.log")
    assert richmond.run("dial", "*2#").returncode == 0
    until("what it said", lambda: "an error" in texts(own, "Chatty:0"))
    assert {entry.process for entry in entries(own)} == {"Chatty:0"}
    assert {entry.process for entry in entries(log.with_name("richmond.EchoWorker.log"))} == {"EchoWorker:0"}
    assert {entry.process for entry in entries(log)} == {"master"}
    first = json.loads(own.read_text().splitlines()[0])
    assert (first["class"], first["slot"], first["level"], first["text"]) == ("Chatty", 0, "OUTPUT", "imported")

    pid = richmond.slot("Chatty:0").pid
    richmond.sections["richmond"] = ""
    richmond.write()
    assert richmond.run("reload", "--wait").returncode == 0
    assert richmond.run("dial", "*2#").returncode == 0
    until("text again", lambda: re.search(r"^\d{4}-.* INFO    Chatty:\d  logged$", log.read_text(), re.MULTILINE))
    assert richmond.slot("Chatty:0").pid == pid, "how the log looks is the master's affair"


def test_sigusr1_opens_the_files_anew_and_nothing_is_lost(chatty):
    richmond = chatty()
    log = richmond.settings.richmond.log
    old = log.rename(log.with_name("old.log"))
    richmond.signal(signal.SIGUSR1)
    until("the new file", log.exists)
    assert richmond.run("dial", "*2#").returncode == 0
    until("what it said", lambda: "an error" in texts(log, "Chatty:0"))
    assert texts(old, "Chatty:0")[0] == "imported"


def test_files_rotate_under_load_and_together_hold_every_line(chatty):
    richmond = chatty(richmond="log-max-bytes = 1000000\nlog-backups = 20\n")
    log = richmond.settings.richmond.log
    assert richmond.run("dial", "*3#").returncode == 0
    assert richmond.run("dial", "*2#").returncode == 0
    until("what came after it", lambda: "logged" in texts(log, "Chatty:0"))
    files = [log.with_name(f"richmond.log.{n}") for n in range(20, 0, -1)] + [log]
    numbers = [int(text.split()[0]) for file in files for text in texts(file, "Chatty:0") if " xxx" in text]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + richmond.status().log_lines_dropped == 50_000
    assert all(file.stat().st_size <= 1_000_000 for file in files if file.exists())
    assert log.with_name("richmond.log.1").exists()


def test_a_worker_works_on_while_nobody_reads_what_it_prints(chatty):
    richmond = chatty()
    log = richmond.settings.richmond.log
    numbers = [f"2783000000{number}" for number in range(3)]
    done = richmond.site / "done"
    with Rabbit(richmond) as rabbit:
        os.kill(richmond.process.pid, signal.SIGSTOP)
        try:
            for number in numbers:
                message = {"msisdn": number, "ussd_type": "1", "ussd_phase": "2", "message": "*3#"}
                rabbit.publish(richmond.settings.amqp.receive_routing_key, json.dumps(message).encode())
            until("all messages to be handled", lambda: done.exists() and done.read_text().split() == numbers)
        finally:
            os.kill(richmond.process.pid, signal.SIGCONT)
    assert richmond.run("dial", "*2#").returncode == 0
    until("what was lost to be said", lambda: any("nobody read them in time" in t for t in texts(log, "Chatty:0")))
    lost = richmond.wait("the count", lambda s: s.log_lines_dropped).log_lines_dropped
    assert lost > 100_000
    assert any("log lines could not be written" in warning for warning in richmond.status().warnings)
    assert richmond.run("status").returncode == 0


def test_one_who_floods_the_log_keeps_nobody_else_from_being_answered(chatty):
    richmond = chatty("workers = 3\nmax = 3")
    calls = [richmond.launch("dial", "*3#") for _ in range(3)]
    assert [richmond.run("dial", "*1#", "0").returncode for _ in range(3)] == [0, 0, 0]
    assert [call.wait(90) for call in calls] == [0, 0, 0]


def test_workers_of_a_killed_master_say_their_last_words_in_the_file(chatty):
    richmond = chatty()
    log = richmond.settings.richmond.log
    richmond.process.kill()
    richmond.process.wait()
    richmond.process = None
    until("all to end", lambda: not richmond.processes())
    assert any("has died: finishing what is in hand" in text for text in texts(log, "Chatty:0"))


def test_nothing_is_left_open_by_workers_that_come_and_go(chatty):
    richmond = chatty()

    def open_now():
        return len(list(Path(f"/proc/{richmond.process.pid}/fd").iterdir()))

    before = open_now()
    for _ in range(5):
        assert richmond.run("restart", "Chatty", "--wait").returncode == 0
    until("the descriptors to be back", lambda: open_now() <= before)
