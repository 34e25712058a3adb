"""A whole Richmond in a directory of its own, driven as its users drive it: commands, signals, a telephone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

from richmond import config
from richmond.errors import RichmondError
from richmond.settings import send_suffixes
from richmond.supervisor import protocol
from richmond.supervisor.control import call
from richmond.supervisor.status import Snapshot, from_dict

DEADLINE_S = 60.0
ECHO = """
[worker:EchoWorker]
workers = 2
min = 1
max = 8
[worker:FooBarWorker]
codes = *120*666#
workers = 1
"""


def until(what, condition, timeout_s=DEADLINE_S):
    """The first true value of `condition()`; AssertionError, saying `what` was waited for, after a generous time."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.02)
    return value


class Installation:
    """`node`: None for a private one. Names on RabbitMQ are unique, so that tests can share a node."""

    def __init__(self, directory: Path, node=None, workers=ECHO, **sections: str) -> None:
        """`sections`: more lines for [richmond], [ssmi], [amqp], [rabbitmq], [simulator], [web]."""
        self.directory = directory
        self.mark = uuid.uuid4().hex
        self.ini = directory / "richmond.ini"
        self.site = directory / "workers"
        self.site.mkdir(exist_ok=True)
        self.workers = workers
        self.sections = sections
        self.node = node
        self.process: subprocess.Popen[str] | None = None
        self.write()

    @property
    def amqp(self) -> str:
        name = f"t{self.mark[:12]}"
        if self.node is None:
            return ""
        return (
            f"host = {self.node.host}\nport = {self.node.port}\nusername = {self.node.username}\n"
            f"password = {self.node.password}\nvhost = {self.node.vhost}\n"
            f"exchange = {name}\nreceive-queue = {name}.receive\nsend-queue = {name}.send\n"
            f"dead-queue = {name}.dead\nevents-exchange = {name}.events\n"
        )

    def write(self) -> None:
        """The ini, from what it consists of."""
        parts = {"richmond": "directory = var\nsample-interval = 0.5\n", "amqp": self.amqp}
        parts |= dict.fromkeys(("ssmi", "rabbitmq", "simulator"), "") | {"web": "port = 0\n"}
        text = "".join(f"[{name}]\n{part}{self.sections.get(name, '')}\n" for name, part in parts.items())
        self.ini.write_text(text + self.workers)

    @property
    def settings(self):
        return config.load_anyhow(self.ini, {})

    # Commands.

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "richmond", args[0], "-c", str(self.ini), *args[1:]]

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "RICHMOND_TEST": self.mark, "NO_COLOR": "1"}

    def run(self, *args: str, stdin: str = "", timeout_s: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
        """`richmond ARGS`, to its end."""
        return subprocess.run(
            self.command(*args), input=stdin, text=True, capture_output=True, timeout=timeout_s, env=self.environ,
            cwd=self.directory, check=False,
        )  # fmt: skip

    def launch(self, *args: str) -> subprocess.Popen[str]:
        """`richmond ARGS`, left running; its output goes to a file beside the ini."""
        with (self.directory / f"{args[0]}.out").open("a") as out:
            return subprocess.Popen(
                self.command(*args), stdin=subprocess.DEVNULL, stdout=out, stderr=out, text=True, env=self.environ,
                cwd=self.directory, start_new_session=True,
            )  # fmt: skip

    def start(self, wait: bool = True) -> Installation:
        self.process = self.launch("start")
        if wait:
            self.wait_up()
        return self

    def wait_up(self) -> Snapshot:
        return self.wait("everything to run", lambda s: s.phase == "running" and not s.problems and settled(s))

    def wait(self, what: str, condition, timeout_s=DEADLINE_S) -> Snapshot:
        """The first status of which `condition` is true."""

        def look():
            assert self.process is None or self.process.poll() is None, f"richmond ended:\n{self.output()}"
            snapshot = self.status()
            return snapshot if snapshot is not None and condition(snapshot) else None

        try:
            return until(what, look, timeout_s)
        except AssertionError as e:
            raise AssertionError(f"{e}\nstatus: {self.status()}\n{self.output()}") from None

    def status(self) -> Snapshot | None:
        try:
            return from_dict(call(self.settings.richmond.socket, protocol.GetStatus(), 10)["status"])
        except RichmondError:
            return None

    def slot(self, name: str):
        """The slot `name` in the present status; None if it is not there."""
        return next((s for c in self.status().classes for s in c.slots if s.name == name), None)

    def output(self) -> str:
        """What it printed, and its log."""
        log = self.settings.richmond.log
        files = [*self.directory.glob("*.out"), *([log] if log else [])]
        return "\n".join(f"--- {file.name}\n{file.read_text()}" for file in files if file.exists())

    def log_text(self) -> str:
        return self.settings.richmond.log.read_text()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait_end(self, timeout_s: float = DEADLINE_S) -> int:
        assert self.process is not None
        code = self.process.wait(timeout_s)
        self.process = None
        return code

    # What is left.

    def processes(self) -> dict[int, str]:
        """pid -> command line of every process of this installation, zombies left out.

        They carry its mark, or, where a process title has overwritten the environment, they are in its directory; a
        private node gets nothing of our environment, but its own names the directory.
        """
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    environ = (entry / "environ").read_bytes()
                    marked = self.mark.encode() in environ or f"{self.directory}/".encode() in environ
                    if marked or (entry / "cwd").readlink() == self.directory:
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def close(self) -> None:
        """End it, whatever state it is in, and see that nothing is left."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        if self.node is None:
            self.run("stop")
        left = self.processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(10)
        if self.node is not None:
            self._delete_names()
        assert not left, f"left over: {left}\n{self.output()}"

    def _delete_names(self) -> None:
        """On a node that other tests use too."""
        import amqpstorm

        amqp = self.settings.amqp
        queues = {w.queue for w in self.settings.workers} | {amqp.receive_queue, amqp.dead_queue}
        queues |= {amqp.send_queue + s for account in self.settings.accounts for s in send_suffixes(account.name)}
        to = {"port": amqp.port, "virtual_host": amqp.vhost}
        with amqpstorm.Connection(amqp.host, amqp.username, amqp.password, **to) as c:
            channel = c.channel()
            for queue in queues:
                channel.queue.delete(queue)
            channel.exchange.delete(amqp.exchange)
            channel.exchange.delete(amqp.events_exchange)


def settled(snapshot: Snapshot) -> bool:
    return all(c.running == c.target == len(c.slots) for c in snapshot.classes)
