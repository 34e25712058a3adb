"""Starting, stopping and being killed: what is promised to callers, and that nothing is left behind."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from installation import Installation, until
from terminal import Terminal

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]

# Holds each message until the file `go` is there, and notes what it has taken.
HOLDING = """
import pathlib, time
from richmond.workers.ussd import USSDWorker, SessionType

class Holding(USSDWorker):
    def new_ussd_session(self, msisdn, message):
        here = pathlib.Path(self.options["here"])
        with (here / "taken").open("a") as taken:
            taken.write(msisdn + "\\n")
        while not (here / "go").exists():
            time.sleep(0.01)
        for n in range(int(self.options["before"])):
            self.reply(msisdn, f"wait {n}", SessionType.existing)
        self.reply(msisdn, "here you are", SessionType.end)
"""

HELD = """
[worker:Holding]
class = holding.Holding
here = {here}
before = {before}
workers = {workers}
prefetch = 1
stop-timeout = 60
"""


class Callers:
    """Telephones that dial over one connection, each once, and what they hear from then on."""

    def __init__(self, installation: Installation, *numbers: str, code: str = "*120*663#") -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(installation.settings.simulator.socket))
        for number in numbers:
            self._socket.sendall(json.dumps({"op": "dial", "msisdn": number, "code": code}).encode() + b"\n")

    def __enter__(self) -> "Callers":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def heard(self) -> dict[str, list[str]]:
        """number -> the texts that came, once the simulator has gone."""
        heard: dict[str, list[str]] = {}
        # killed with a request unread, the simulator resets the connection instead of ending it
        with self._socket.makefile("rb") as lines, contextlib.suppress(ConnectionResetError):
            for line in lines:
                event = json.loads(line)
                if event["event"] == "menu":
                    heard.setdefault(event["msisdn"], []).append(event["text"])
        return heard


def numbers(count: int) -> list[str]:
    return [f"2782{n:07}" for n in range(count)]


def holding(install, workers: int = 1, before: int = 0, **options) -> Installation:
    """`before`: replies of each handler, besides the last one."""
    installation = install(**options)
    installation.workers = HELD.format(here=installation.directory, workers=workers, before=before)
    (installation.site / "holding.py").write_text(HOLDING)
    installation.write()
    return installation


def taken(installation: Installation) -> list[str]:
    file = installation.directory / "taken"
    return file.read_text().split() if file.exists() else []


def go(installation: Installation) -> None:
    (installation.directory / "go").touch()


def left(installation: Installation) -> set[str]:
    """Names of what stands for a running master."""
    places = installation.settings.richmond
    files = {places.pid_file, places.socket, installation.settings.simulator.socket}
    return {file.name for file in files if file.exists()}


def node_pid(installation: Installation) -> int:
    return json.loads((installation.settings.richmond.directory / "rabbitmq" / "node.json").read_text())["pid"]


def kill_master(installation: Installation) -> None:
    installation.process.kill()
    installation.process.wait()
    installation.process = None


def gone(installation: Installation) -> None:
    until("the last process to go", lambda: not installation.processes())
    assert not left(installation)


def test_the_shipped_ini_runs_in_a_terminal_until_ctrl_c(install):
    installation = install(node=None)
    shutil.copytree(ROOT / "etc", installation.directory / "etc")
    installation.ini = installation.directory / "etc" / "richmond.ini"
    with Terminal(installation.command("start"), installation.directory, installation.environ, 200) as terminal:
        banner = terminal.expect("scale EchoWorker 8")
        snapshot = installation.status()
        assert f"gateway         {snapshot.simulator}, up, the built-in simulator" in banner
        assert f"rabbitmq        {snapshot.private_node}, up, a private node" in banner
        assert "EchoWorker      2 workers, every other code" in banner
        assert "FooBarWorker    1 worker, *120*666#" in banner
        assert f"log             {installation.settings.richmond.log}" in banner
        # what it says to try works as it stands there
        for verb in ("dial '*120*663#'", "dial '*120*666#'", "status"):
            line = next(x.strip() for x in banner.splitlines() if f" {verb}" in x)
            tried = subprocess.run(
                line, shell=True, cwd=installation.directory, capture_output=True, text=True, check=False
            )
            assert tried.returncode == 0, (line, tried)

        second = installation.run("start")
        assert second.returncode == 1
        assert f"already runs with pid {terminal.process.pid}" in second.stderr
        assert installation.run("dial", "*120*663#", "0").returncode == 0

        # a terminal signals the processes of its session: nobody but the master may be in it
        for pid in installation.processes():
            assert pid == terminal.process.pid or os.getsid(pid) != terminal.process.pid
        terminal.type("\x03")
        assert terminal.end() == 0
        assert terminal.text.endswith("richmond has stopped.\n")
    gone(installation)
    assert installation.run("status").returncode == 3
    story = [line for line in installation.log_text().splitlines() if " master  " in line]
    story = story[next(i for i, line in enumerate(story) if "SIGINT: stopping" in line) :]
    order = ["SIGINT: stopping", "EchoWorker:0", "SSMI link", "RabbitMQ link of richmond broker", "has stopped"]
    places = [max(i for i, line in enumerate(story) if part in line) for part in order]
    assert places == sorted(places), story


def test_ctrl_c_while_the_private_node_starts_leaves_nothing(install):
    installation = install(node=None)
    with Terminal(installation.command("start"), installation.directory, installation.environ) as terminal:
        node = installation.settings.richmond.directory / "rabbitmq" / "node.json"
        until("the node to be forked", lambda: node.exists() and node_pid(installation))
        assert installation.status().phase == "starting the private RabbitMQ node"
        terminal.type("\x03")
        assert terminal.end() == 0
    gone(installation)
    assert "did not stop" not in installation.log_text()  # it was asked, and listened


@pytest.mark.parametrize("how", ["SIGTERM", "richmond stop"])
def test_a_stop_answers_everybody_whose_message_was_taken(install, how):
    # the broker takes reply after reply, and so has most of them before it when the workers have ended
    installation = holding(install, workers=3, before=50, amqp="prefetch = 1\n").start()
    everybody, late = set(numbers(10)), numbers(10)[-1]
    with Callers(installation, *numbers(9)) as callers:
        until("three messages in hand", lambda: len(taken(installation)) == 3)
        installation.wait("the others to be queued", lambda s: s.queues[0].ready == 6)
        if how == "SIGTERM":
            installation.signal(signal.SIGTERM)
        else:
            stopping = installation.launch("stop")
        installation.wait("stopping", lambda s: s.phase == "stopping")
        with Callers(installation, late):  # what the gateway still says is read at the very end
            go(installation)
            heard = callers.heard()
    assert installation.wait_end() == 0
    if how == "richmond stop":
        assert stopping.wait(30) == 0
    gone(installation)
    first = taken(installation)
    assert len(first) < len(everybody)
    assert heard == {number: [*(f"wait {n}" for n in range(50)), "here you are"] for number in first}
    installation.start(wait=False)
    # what nobody had taken has waited in the queue
    until("the others to be taken", lambda: set(taken(installation)) == everybody)
    assert sorted(taken(installation)) == sorted(everybody)


def test_a_second_sigterm_ends_it_at_once(install):
    installation = holding(install).start()
    with Callers(installation, *numbers(1)):
        until("a message in hand", lambda: taken(installation))
        installation.signal(signal.SIGTERM)
        installation.wait("stopping", lambda s: s.phase == "stopping")
        asked = installation.launch("stop")  # asks for what goes on already, and waits for it
        until("it to wait", lambda: connected(installation, asked.pid))
        assert installation.status().phase == "stopping"
        installation.signal(signal.SIGTERM)
        assert installation.wait_end() == 0
        assert asked.wait(30) == 0
    assert installation.log_text().count("ending at once") == 1
    gone(installation)


def connected(installation: Installation, pid: int) -> bool:
    """Whether the process has a unix socket of its own open."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(fd.readlink()))
    return any(name.startswith("socket:") for name in found)


def test_the_stop_timeout_ends_a_handler_that_hangs(install):
    installation = holding(install, richmond="stop-timeout = 1\n").start()
    with Callers(installation, *numbers(1)):
        until("a message in hand", lambda: taken(installation))
        assert installation.run("stop").returncode == 0
    installation.wait_end()
    assert "stop-timeout: ending at once" in installation.log_text()
    gone(installation)
    # the message was not acknowledged: the next one gets it
    installation.start(wait=False)
    until("the message to be taken again", lambda: len(taken(installation)) == 2)
    go(installation)


def test_a_second_sigterm_ends_a_stop_that_waits_for_a_frozen_rabbitmq(install, node):
    installation = install(
        workers="[worker:EchoWorker]\nworkers = 0\nmin = 0\n", richmond="stop-timeout = 600\n"
    ).start()
    os.kill(node.pid, signal.SIGSTOP)
    try:
        installation.signal(signal.SIGTERM)
        # without workers that have to end, it is the broker who asks how many replies wait
        until("the stop to begin", lambda: "SIGTERM: stopping" in installation.log_text())
        installation.signal(signal.SIGTERM)
        assert installation.wait_end() == 0
    finally:
        os.kill(node.pid, signal.SIGCONT)
    assert "SIGTERM: ending at once" in installation.log_text()
    gone(installation)


def test_a_killed_master_leaves_workers_that_drain_and_a_node_for_the_next_one(install):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        installation = holding(install, workers=2, node=None, rabbitmq=f"port = {port}\n").start()
        assert not installation.status().private_node.endswith(f":{port}")  # it is taken: another one
        assert f"port {port} is taken" in installation.log_text()
    node = node_pid(installation)
    everybody = set(numbers(6))
    with Callers(installation, *numbers(6)) as callers:
        until("two messages in hand", lambda: len(taken(installation)) == 2)
        kill_master(installation)
        dead = installation.run("status")
        assert (dead.returncode, "is dead" in dead.stdout) == (1, True)
        go(installation)
        until("the workers to end", lambda: "richmond:" not in str(installation.processes().values()))
        assert callers.heard() == {}
    assert node in installation.processes()

    installation.start(wait=False)
    until("what was queued to be taken", lambda: set(taken(installation)) == everybody)
    assert node_pid(installation) == node
    kill_master(installation)
    until("the workers to end", lambda: "richmond:" not in str(installation.processes().values()))
    stop = installation.run("stop")
    assert stop.returncode == 0
    assert "its private RabbitMQ node has been stopped" in stop.stdout
    until("the node to go", lambda: not installation.processes())


def test_workers_of_a_killed_master_end_even_if_a_handler_hangs(install):
    installation = holding(install, richmond="orphan-timeout = 1\n").start()
    with Callers(installation, *numbers(1)):
        until("a message in hand", lambda: taken(installation))
        kill_master(installation)
        until("all to end", lambda: not installation.processes())
    assert left(installation) == {"richmond.pid", "richmond.sock", "simulator.sock"}
    go(installation)
    installation.start(wait=False)
    until("the message to be handled", lambda: len(taken(installation)) == 2)
    assert "taking over what it left" in installation.log_text()


def policies(installation):
    """Of each thread of the master, the spawners and the workers, how the kernel schedules it."""
    ours = [pid for pid, title in installation.processes().items() if title.startswith("richmond: ")]
    assert len(ours) >= 4
    found = set()
    for pid in ours:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it ends meanwhile
            found |= {os.sched_getscheduler(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()}
    return found


def test_a_killed_spawner_is_replaced_and_no_message_lost(install):
    installation = holding(install, workers=2).start()
    with Callers(installation, *numbers(4)) as callers:
        until("two messages in hand", lambda: len(taken(installation)) == 2)
        old = {slot.pid for slot in installation.status().classes[0].slots}
        spawner = next(pid for pid, name in installation.processes().items() if "richmond: spawner" in name)
        os.kill(spawner, signal.SIGKILL)
        installation.wait(
            "others", lambda s: s.classes[0].running == 2 and not old & {x.pid for x in s.classes[0].slots}
        )
        assert policies(installation) == {os.SCHED_BATCH}
        go(installation)
        until("the old workers to end", lambda: not old & set(installation.processes()))
        until("everything to be taken", lambda: set(taken(installation)) == set(numbers(4)))
        installation.signal(signal.SIGTERM)
        heard = callers.heard()
    assert installation.wait_end() == 0
    assert heard == {number: ["here you are"] for number in numbers(4)}
    gone(installation)


def test_a_stale_pid_file_with_the_number_of_a_foreign_process_harms_nobody(install):
    installation = install()
    places = installation.settings.richmond
    places.directory.mkdir()
    foreign = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], cwd="/")
    try:
        places.pid_file.write_text(f"{foreign.pid}\n")
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(places.socket))
        assert installation.run("status").returncode == 1
        stop = installation.run("stop")
        assert (stop.returncode, foreign.poll()) == (0, None), stop
        installation.start()
        assert places.pid_file.read_text() == f"{installation.process.pid}\n"
        # over when it returns, so that the next start needs no pause
        assert installation.run("stop").returncode == 0
        again = installation.launch("start")
        assert installation.wait_end() == 0
        installation.process = again
        installation.wait_up()
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()
