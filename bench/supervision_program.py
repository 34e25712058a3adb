"""What the supervisors under comparison have in common: a directory, a configuration, a process, verbs, a probe.

Each is run in the foreground, with the working directory that marks all its processes, in a session of its own, so
that Ctrl-C reaches the bench alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench import supervision_observer as observer
from bench.processes import ROOT, Ended
from bench.supervision_observer import Seen
from bench.supervision_probes import Probe
from richmond.rabbitmq import NodeInfo

START_S = 60.0
STOP_S = 10.0
VERB_S = 30.0
BIN = Path(sys.executable).parent

# What the site's code begins with, so that its workers misbehave.
MODES = {
    "well": "",
    "dies at once": "os._exit(1)\n",
    "dies after 1.2 s": "threading.Timer(1.2, os._exit, [1]).start()\n",
    "cannot be imported": "def broken(:\n",
}
COUNT = "import os, threading\nwith open({!r}, 'a') as file:\n    file.write('.')\n"


@dataclass(slots=True)
class Setup:
    workers: int = 1
    timeout_s: int | None = None  # after which a worker that does nothing hangs; None: the program's own default
    mode: str = "well"
    misspelt: bool = False  # a key of the configuration


class Program:
    name: str
    config: str  # name of the file
    misspelling: tuple[str, str]  # of the key, and what it should be
    broken_line: str  # makes the configuration unreadable
    reloads_file: str = ""  # the verb as the manual has it; empty: only SIGHUP
    reloads_code: str = "SIGHUP"
    grows: str = ""  # from 2 workers to 3 without the file
    rest_s = 0.25  # that a new worker has to live until its death is a first one again

    def __init__(self, directory: Path, node: NodeInfo, setup: Setup) -> None:
        self.directory = directory
        self.node = node
        self.setup = setup
        self.site = directory / "site"
        self.site.mkdir(parents=True)
        self.output = directory / "output"
        self.probe = self.make_probe()
        self.write()
        self.process: subprocess.Popen[bytes] | None = None

    # What a program is.

    def make_probe(self) -> Probe:
        raise NotImplementedError

    def config_text(self) -> str:
        raise NotImplementedError

    def code(self) -> str:
        """The site's code, in work.py."""
        return "from bench.supervision_worker import main\n\nmain()\n"

    def command(self) -> list[str]:
        raise NotImplementedError

    def verb(self, *words: str) -> list[str]:
        """The command line of one of its verbs."""
        raise NotImplementedError

    def forker(self) -> int | None:
        """Who forks workers."""
        return self.process.pid if self.process else None

    def is_worker(self, command: str) -> bool:
        """Of the forker's children."""
        return True

    def verdict(self) -> str:
        """What it says itself of the only worker."""
        raise NotImplementedError

    # What is done with it.

    def write(self) -> None:
        (self.directory / self.config).write_text(self.config_text())
        count = COUNT.format(str(self.directory / "starts"))
        (self.site / "work.py").write_text(count + MODES[self.setup.mode] + self.code())

    def start(self) -> None:
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **self.environ()}
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(
                self.command(), cwd=self.directory, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip

    def environ(self) -> dict[str, str]:
        return {}

    def wait_serving(self, workers: int | None = None) -> set[Seen]:
        """Until so many workers run and one of them answers; Ended if that does not come."""
        wanted = workers or self.setup.workers
        if observer.until(lambda: self.ended or len(self.workers()) == wanted, START_S, 0.01) and not self.ended:
            deadline = observer.clock() + START_S
            while observer.clock() < deadline and not self.ended:
                if self.serves(1.0):
                    return self.workers()
        raise Ended(f"{self.name} does not serve with {wanted} workers:\n{self.output.read_text()[-2000:]}")

    def workers(self) -> set[Seen]:
        forker = self.forker()
        found = observer.children(forker) if forker else set()
        return {seen for seen in found if self.is_worker(seen.command)}

    def starts(self) -> int:
        """How often the site's code has been run."""
        file = self.directory / "starts"
        return file.stat().st_size if file.exists() else 0

    def serves(self, timeout_s: float) -> bool:
        return self.probe.answered(self.probe.ask(), timeout_s) is not None

    @property
    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def run(self, verb: str) -> bool:
        """One of the verbs above, to its end, or a signal; whether it claims success."""
        if verb.startswith("SIG"):
            self.signal(signal.Signals[verb])
            return True
        done = subprocess.run(
            self.verb(*verb.split()[1:]), cwd=self.directory, timeout=VERB_S, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return done.returncode == 0 and "ERROR" not in done.stdout

    def ask(self, *words: str) -> str:
        """What a verb prints."""
        return subprocess.run(
            self.verb(*words), cwd=self.directory, timeout=VERB_S, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ).stdout  # fmt: skip

    def close(self) -> None:
        """End it; what is left then is killed."""
        if self.process is not None:
            if not self.ended:
                self.process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(STOP_S)
            kill(observer.inhabitants(self.directory))
            self.process.wait()
        self.probe.close()


def kill(processes: Iterable[Seen]) -> None:
    for process in processes:
        if process.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
