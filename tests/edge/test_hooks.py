"""Hooks: real commands, run by a host that does as the master does."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from fleet import is_running, wait_until

HERE = Path(__file__).parent

pytestmark = pytest.mark.timeout(60)


class Host:
    def __init__(self, directory, on_event="", on_fatal="none", **keys):
        self.directory = directory
        lines = "".join(f"{key.replace('_', '-')} = {value}\n" for key, value in keys.items())
        (directory / "r.ini").write_text(
            f"[richmond]\ndirectory = .\nworkers-path = .\non-event = {on_event}\n{lines}\n"
            f"[worker:EchoWorker]\non-fatal = {on_fatal}\n"
        )
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "hooks_host.py"), "r.ini"], cwd=directory, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**os.environ, "NOTIFY_SOCKET": "/nowhere"},
        )  # fmt: skip

    def send(self, count=1, kind="slot", name="EchoWorker", running=0):
        self.process.stdin.write(f"{count} {kind} {name} {running}\n")
        self.process.stdin.flush()

    @property
    def log(self):
        path = self.directory / "richmond.log"
        return path.read_text() if path.exists() else ""

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def dropped(self):
        return int(self.line())

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(30) == 0

    def children(self):
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def host(tmp_path):
    hosts = []

    def make(*args, **keys):
        hosts.append(Host(tmp_path, *args, **keys))
        return hosts[-1]

    yield make
    for made in hosts:
        made.process.kill()
        made.process.wait()
        made.process.stdin.close()
        made.process.stdout.close()


def python(code):
    return f"{sys.executable} -c {shlex.quote(f'exec({code!r})')}"


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_hook_gets_the_event_as_one_line_of_json(host, tmp_path):
    note = "import sys; open('noted', 'a').write(sys.stdin.read())"
    made = host(python(note))
    made.send(2)
    wait_until(lambda: len(records(tmp_path / "noted")) == 2, "both events")
    found = sorted(records(tmp_path / "noted"), key=lambda event: event["number"])
    assert found[0] == {
        "number": 1, "kind": "slot", "level": "error", "text": "EchoWorker ü", "class": "EchoWorker", "count": 0,
    }  # fmt: skip


def test_it_stands_beside_the_ini_with_none_of_our_descriptors_and_a_session_of_its_own(host, tmp_path):
    facts = (
        "import json, os, sys\n"
        "print(json.dumps({'cwd': os.getcwd(), 'fds': sorted(int(f) for f in os.listdir('/proc/self/fd')),"
        "'session': os.getsid(0) == os.getpid(), 'ini': os.environ['RICHMOND_INI'],"
        "'event': os.environ['RICHMOND_EVENT'], 'notify': 'NOTIFY_SOCKET' in os.environ}), file=open('facts', 'w'))"
    )
    (tmp_path / "hook").write_text(f"#!{sys.executable}\n{facts}\n")
    (tmp_path / "hook").chmod(0o755)
    host("./hook").send(1, "fatal")
    (found,) = wait_until(lambda: records(tmp_path / "facts"), "the facts")
    assert found["fds"][:3] == [0, 1, 2]
    assert len(found["fds"]) <= 5, "facts and the listing itself"
    assert (found["cwd"], found["session"], found["notify"]) == (str(tmp_path), True, False)
    assert (found["ini"], found["event"]) == (str(tmp_path / "r.ini"), "fatal")


def test_what_it_prints_and_how_it_fails_is_in_the_log(host):
    made = host(python("import sys; print('hello'); sys.exit('no cake')"))
    made.send(20)
    wait_until(lambda: made.log.count("no cake\n") == 20, "all of them")
    made.end()
    assert re.search(r" OUTPUT  hook  hello$", made.log, re.MULTILINE)
    assert made.log.count("has failed: exit code 1") == 1, "once in a while"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sh -c 'read event && echo \"got $event\" | cut -c1-16'", 'got {"number":1,'),
        ("sh -c read event && echo \"got $event\" | cut -c1-16", 'got {"number":1,'),  # all behind it is the script
        ("echo $HOME && echo *", "$HOME && echo *"),  # no shell
        ("echo 'two  words' \"x\"", "two  words x"),
    ],
)  # fmt: skip
def test_only_sh_c_is_a_shell(host, command, words):
    made = host(command)
    made.send()
    wait_until(lambda: f"OUTPUT  hook  {words}\n" in made.log, words)


def test_one_that_takes_too_long_is_killed_with_all_that_it_has_started(host):
    made = host("sh -c 'sleep 1000 & sleep 1000'", hook_timeout=0.3)
    made.send()
    pids = [process.pid for process in wait_until(lambda: [c for c in made.children() if c.name() == "sleep"], "it")]
    wait_until(lambda: "took longer than hook-timeout = 0.3 s" in made.log, "its end")
    wait_until(lambda: not any(is_running(pid) for pid in pids), "its children's end")
    made.send()
    assert made.dropped() == 0


def test_many_events_wait_for_a_few_hooks_and_what_finds_no_room_is_counted(host, tmp_path):
    code = "import time, pathlib\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)"
    made = host(python(code), hook_timeout=30)
    made.send(4)
    assert made.dropped() == 0
    wait_until(lambda: len(made.children()) == 4, "four of them")
    made.send(1000)
    assert made.dropped() == 900, "at once: nobody waits for a hook"
    made.send(0)
    assert made.dropped() == 900
    assert len(made.children()) == 4
    (tmp_path / "go").touch()
    made.end()
    assert "events have not reached their hooks" in made.log


def test_a_class_has_a_hook_of_its_own_for_fatal(host, tmp_path):
    made = host("", python("import sys; open('noted', 'a').write(sys.stdin.read())"))
    made.send(1, "crash")
    made.send(1, "fatal", "Other")
    made.send(1, "fatal", running=1)
    made.send(1, "fatal", running=0)
    wait_until(lambda: len(records(tmp_path / "noted")) == 2, "both")
    assert {(event["kind"], event["class"]) for event in records(tmp_path / "noted")} == {("fatal", "EchoWorker")}


def test_on_fatal_exit_ends_the_master_once_no_worker_of_the_class_runs(host):
    made = host("", "exit")
    made.send(1, "fatal", running=1)
    assert made.line() == "0"
    made.send(1, "fatal", running=0)
    assert made.line() == "END on-fatal = exit of [worker:EchoWorker]: EchoWorker ü"


@pytest.mark.parametrize(("command", "words"), [("/no/such/program x", "No such file"), (".", "Permission denied")])
def test_one_that_cannot_be_run_is_said_and_harms_nothing(host, command, words):
    made = host(command)
    made.send(3)
    wait_until(lambda: f"cannot be run: {words}" in made.log, "the complaint")
    assert made.dropped() == 0
    made.end()


def test_one_that_does_not_read_and_one_that_leaves_a_child_keep_nobody(host, tmp_path):
    made = host("sh -c 'exec <&-; sleep 1000 >/dev/null 2>&1 & echo left'", hook_timeout=30)
    made.send(8)
    wait_until(lambda: made.log.count("hook  left") == 8, "all of them")
    left = [p for p in psutil.process_iter(["cmdline", "ppid"]) if p.info["cmdline"] == ["sleep", "1000"]]
    made.end()
    for process in left:  # the hook wanted them to go on
        if process.cwd() == str(tmp_path):
            process.kill()


def test_at_the_end_those_that_run_are_killed(host):
    made = host("sleep 1000", hook_timeout=100)
    made.send(4)
    wait_until(lambda: len(made.children()) == 4, "four of them")
    pids = [process.pid for process in made.children()]
    made.end()
    wait_until(lambda: not any(map(psutil.pid_exists, pids)), "their end")
