"""supervisord, Circus and gunicorn, each with what its manual recommends for the fault in question."""

from __future__ import annotations

import socket
import sys

from bench.supervision_probes import HttpProbe, QueueProbe
from bench.supervision_program import BIN, Program


class _QueueProgram(Program):
    probe: QueueProbe

    def make_probe(self) -> QueueProbe:
        return QueueProbe(self.node, f"bench.{self.name}")

    def environ(self) -> dict[str, str]:
        return {"RICHMOND_BENCH": f"{self.probe.url} {self.probe.requests} {self.probe.replies}"}


class Supervisord(_QueueProgram):
    """It knows nothing of hung workers: superlance's listeners, made apart from it, ask an HTTP server."""

    name = "supervisord"
    config = "supervisord.conf"
    misspelling = ("stopwaitsesc", "stopwaitsecs")
    broken_line = "[program:work\nnumprocs = two"
    reloads_file = "supervisorctl update"
    reloads_code = "supervisorctl restart all"
    rest_s = 1.2  # startsecs = 1

    def config_text(self) -> str:
        d = self.directory
        return (
            f"[supervisord]\nlogfile = {d}/supervisord.log\npidfile = {d}/supervisord.pid\nchildlogdir = {d}\n"
            f"[unix_http_server]\nfile = {d}/control.sock\n"
            f"[supervisorctl]\nserverurl = unix://{d}/control.sock\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[program:work]\ncommand = {sys.executable} site/work.py\nprocess_name = %(process_num)d\n"
            f"numprocs = {self.setup.workers}\nautorestart = true\n"
            + (f"{self.misspelling[0]} = 10\n" if self.setup.misspelt else "")
        )

    def command(self) -> list[str]:
        return [str(BIN / "supervisord"), "-n", "-c", self.config]

    def verb(self, *words: str) -> list[str]:
        return [str(BIN / "supervisorctl"), "-c", self.config, *words]

    def verdict(self) -> str:
        return (self.ask("status").split() or ["", "no answer"])[1]


class Circus(_QueueProgram):
    """With its plugins for the faults that they are for: flapping, and the watchdog, which workers send heartbeats."""

    name = "Circus"
    config = "circus.ini"
    misspelling = ("graceful_timeuot", "graceful_timeout")
    broken_line = "[watcher:work\nnumprocesses = two"
    reloads_file = "circusctl reloadconfig"
    reloads_code = "circusctl reload work"
    grows = "circusctl incr work"

    def config_text(self) -> str:
        d, setup = self.directory, self.setup
        text = (
            f"[circus]\nendpoint = ipc://{d}/endpoint\npubsub_endpoint = ipc://{d}/pubsub\n"
            f"[watcher:work]\ncmd = {sys.executable} site/work.py\nnumprocesses = {setup.workers}\ncopy_env = True\n"
        )
        if setup.misspelt:
            text += f"{self.misspelling[0]} = 10\n"
        if setup.mode.startswith("dies"):
            text += "[plugin:flapping]\nuse = circus.plugins.flapping.Flapping\n"
        if setup.timeout_s is not None:
            text += (
                "[plugin:watchdog]\nuse = circus.plugins.watchdog.WatchDog\nwatchers_regex = work\nloop_rate = 1\n"
                f"max_count = {setup.timeout_s}\nport = {self._watchdog_port}\nwatchers_graceful_timeout = 1\n"
            )
        return text

    def write(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self._watchdog_port = free.getsockname()[1]
        super().write()

    def environ(self) -> dict[str, str]:
        environ = super().environ()
        if self.setup.timeout_s is not None:
            environ["RICHMOND_BENCH"] += f" {self._watchdog_port}"
        return environ

    def command(self) -> list[str]:
        return [str(BIN / "circusd"), self.config]

    def verb(self, *words: str) -> list[str]:
        return [str(BIN / "circusctl"), "--endpoint", f"ipc://{self.directory}/endpoint", *words]

    def is_worker(self, command: str) -> bool:
        return "circus.plugins" not in command and "import plugins" not in command

    def verdict(self) -> str:
        return self.ask("status", "work").strip() or "no answer"


class Gunicorn(Program):
    """Its workers serve HTTP: a queue's consumer it has no place for."""

    name = "gunicorn"
    config = "gunicorn.conf.py"
    misspelling = ("graceful_timeuot", "graceful_timeout")
    broken_line = "workers = = two"
    grows = "SIGTTIN"

    probe: HttpProbe

    def make_probe(self) -> HttpProbe:
        return HttpProbe()

    def config_text(self) -> str:
        setup = self.setup
        return (
            f'bind = "127.0.0.1:{self.probe.port}"\nworkers = {setup.workers}\n'
            f'chdir = "{self.site}"\ncontrol_socket = "{self.directory}/control.sock"\n'
            + (f"timeout = {setup.timeout_s}\n" if setup.timeout_s is not None else "")
            + (f"{self.misspelling[0]} = 10\n" if setup.misspelt else "")
        )

    def code(self) -> str:
        return (
            "def app(environ, start_response):\n"
            '    start_response("200 OK", [("Content-Length", "5")])\n'
            '    return [b"here\\n"]\n'
        )

    def command(self) -> list[str]:
        return [str(BIN / "gunicorn"), "-c", self.config, "work:app"]

    def verb(self, *words: str) -> list[str]:
        raise NotImplementedError("signals only")

    def verdict(self) -> str:
        return "starts on"
