"""The private RabbitMQ node of an installation: configure, start, adopt and stop it.

It outlives a killed master on purpose (the queues are in it) and the next start adopts it. Everything it opens is on
loopback, everything it writes lies below one directory, which may be moved as a whole while it is stopped. Plain
sockets and processes: works with and without gevent's monkey patching, and does not import it.

It needs no epmd, which would be one more port and one more process that stays behind: the Erlang distribution has a
fixed port on loopback (`-start_epmd false -erl_epmd_port`, OTP 23.1) instead of a registered name. That is also why
nodes of several installations can have the same name side by side.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
import select
import shlex
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from richmond.errors import RabbitMQError, RabbitMQMissing
from richmond.settings import AmqpSettings

HOST = "127.0.0.1"
USERNAME = "richmond"
VHOST = "/richmond"
NODE_NAME = "richmond@localhost"

# Debian's program itself: the wrapper in /usr/sbin insists on root or the user rabbitmq.
_PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server",)
_INSTALL = (
    "install it without letting Debian start a system-wide broker: `make rabbitmq` in Richmond's directory, "
    "or `apt-get install rabbitmq-server` and then `systemctl disable --now rabbitmq-server`; "
    "or put the host of a RabbitMQ of yours into [amqp] host"
)
# Below Linux's range of ephemeral ports (32768 up), so that no outgoing connection takes one between choice and use.
_PORTS = range(20000, 32768)
_LOG_PREFIX = re.compile(r"[0-9-]{10} [0-9:.]+\+")  # of what RabbitMQ also writes without it, and better readable
_PROBE_INTERVAL_S = 0.05
_TERM_AGAIN_S = 0.25
_ADOPT_TIMEOUT_S = 15  # its master may have died while it was still starting
_SILENT_GRACE_S = 2
_DYING_S = 5  # a killed process loses its memory, by which we know it, some time before it closes its sockets
_MEMORY_BYTES = 1 << 30
_DISK_FREE_BYTES = 50_000_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A running node and how to log in to it."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    vhost: str
    pid: int
    adopted: bool = False  # it was running already

    def apply(self, amqp: AmqpSettings) -> AmqpSettings:
        """`amqp` as whoever connects to this node needs it."""
        return replace(
            amqp,
            host=self.host,
            port=self.port,
            username=self.username,
            password=self.password,
            vhost=self.vhost,
            tls=False,
        )


class PrivateNode:
    """The node that lives in `directory`. One process at a time may start or stop it: see to that with a lock."""

    def __init__(self, directory: Path, port: int = 0) -> None:
        """`port`: the AMQP port wanted; 0: the one it had before, or a free one."""
        self.directory = directory.absolute()
        self.log = self.directory / "rabbitmq.log"
        self._port = port

    def start(self, timeout_s: float, *, same_port: bool = False) -> NodeInfo:
        """Return once the node accepts connections; adopt it if it already runs.

        The password is that of the start before. `same_port`: take no other one, since clients know it.
        RabbitMQMissing: there is no server program. RabbitMQError: it did not come up; nothing is left running then.
        """
        deadline = time.monotonic() + timeout_s
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            state = self._read_state()
            adopted = self._adopt(state, time.monotonic() + min(timeout_s / 2, _ADOPT_TIMEOUT_S))
            if adopted is not None:
                return adopted
            program = _find_program()
            return self._launch(program, state, deadline, same_port)
        except OSError as e:
            raise RabbitMQError(f"private RabbitMQ node: {e}; it needs a directory of its own to write to") from e

    def running(self) -> NodeInfo | None:
        """The node, if its process lives."""
        state = self._read_state()
        pid = self._living_pid(state)
        return _info(state, pid, adopted=True) if pid and _complete(state) else None

    def stop(self, timeout_s: float) -> None:
        """End the node: cleanly if it manages within `timeout_s`, by SIGKILL else. No node is no error."""
        state = self._read_state()
        pid = self._living_pid(state)
        if not pid:
            return
        if not self._end(pid, timeout_s):
            _log.warning("private RabbitMQ node: pid %d did not stop within %g s, killed", pid, timeout_s)
        self._end_epmd()
        with contextlib.suppress(OSError):  # a full disk: a pid that is gone is recognised as such anyway
            self._write_state({**state, "pid": 0})

    def _adopt(self, state: dict[str, object], deadline: float) -> NodeInfo | None:
        pid = self._living_pid(state)
        if not pid:
            return None
        if _complete(state):
            info = _info(state, pid, adopted=True)
            if self._await(pid, info.port, deadline):
                return info
            _log.warning("private RabbitMQ node: pid %d does not answer on port %d, replacing it", pid, info.port)
        else:
            _log.warning("private RabbitMQ node: pid %d runs, but its password is lost, replacing it", pid)
        self._end(pid, _SILENT_GRACE_S)
        return None

    def _launch(self, program: str, state: dict[str, object], deadline: float, same_port: bool) -> NodeInfo:
        before = _number(state.get("port"))
        wanted = before if same_port and before else self._port or before
        known = state.get("password")
        password = known if isinstance(known, str) else secrets.token_urlsafe(24)
        while True:
            port = wanted if wanted and _is_free(wanted, _DYING_S if wanted == before else 0) else _free_port()
            if wanted and port != wanted:
                if same_port:
                    raise RabbitMQError(f"private RabbitMQ node: its port {wanted} has been taken by somebody else")
                _log.warning("private RabbitMQ node: port %d is taken, using %d", wanted, port)
            dist_port = _free_port(without=port)
            self._write_files(port, dist_port, password)
            pid = self._spawn(program, port, dist_port)
            state = {"pid": pid, "host": HOST, "port": port, "username": USERNAME, "password": password, "vhost": VHOST}
            self._write_state(state)
            if self._await(pid, port, deadline):
                return _info(state, pid, adopted=False)
            died = not _alive(pid)
            self._end(pid, 0)
            self._write_state({**state, "pid": 0})
            log = self._log_tail()
            if not (died and "eaddrinuse" in log):  # else somebody took a port in the seconds since we chose it
                break
        what = "ended while it started" if died else "did not accept connections in time"
        raise RabbitMQError(
            f"private RabbitMQ node: it {what}; from start.log and rabbitmq.log in {self.directory}:\n{log}\n"
            f"If its data is damaged and its messages can go, move {self.directory} away and start again"
        )

    def _spawn(self, program: str, port: int, dist_port: int) -> int:
        here = self.directory
        schedulers = min(4, os.cpu_count() or 1)
        # Nothing of our own environment: RABBITMQ_*, ERL_* and NOTIFY_SOCKET there are meant for others.
        environment = {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(here),  # for the Erlang cookie
            "RABBITMQ_NODENAME": NODE_NAME,
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(dist_port),
            # RabbitMQ's epmd monitor starts an epmd after a minute, needed or not: then on loopback, and ended with it.
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(_free_port(without=dist_port)),
            "RABBITMQ_MNESIA_BASE": str(here / "data"),
            "RABBITMQ_LOG_BASE": str(here),
            "RABBITMQ_LOGS": str(self.log),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(here / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(here / "rabbitmq.pid"),
            "RABBITMQ_CONF_ENV_FILE": str(here / "rabbitmq-env.conf"),  # none; not the one of /etc
            "RABBITMQ_SCHEDULER_BIND_TYPE": "u",  # two nodes bound to the same cores would wait for each other
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-start_epmd false -erl_epmd_port {dist_port} -sname {NODE_NAME} "
                "-kernel inet_dist_use_interface {127,0,0,1} "
                f"+S {schedulers}:{schedulers} +sbwt none +sbwtdcpu none +sbwtdio none"
            ),
            "ERL_CRASH_DUMP": str(here / "erl_crash.dump"),
            "ERL_CRASH_DUMP_BYTES": "0",  # it would hold the messages
            "detached": "1",  # the script execs the VM, without a shell in between
        }
        # The shell in between ends at once, so the node is nobody's child: it may outlive this process, and nobody but
        # init has to reap it.
        shell = subprocess.run(
            ["/bin/sh", "-c", '"$0" >start.log 2>&1 </dev/null & echo $!', program],
            cwd=here,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            check=True,
        )
        return int(shell.stdout)

    def _write_files(self, port: int, dist_port: int, password: str) -> None:
        memory = min(_MEMORY_BYTES, int(0.4 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
        _write(
            self.directory / "rabbitmq.conf",
            f"listeners.tcp.1 = {HOST}:{port}\n"
            "load_definitions = definitions.json\n"
            f"vm_memory_high_watermark.absolute = {memory}\n"
            f"disk_free_limit.absolute = {_DISK_FREE_BYTES}\n"
            "log.console = false\n"
            "log.file.level = info\n"
            "log.file.rotation.size = 10485760\n"
            "log.file.rotation.count = 2\n",
        )
        # Definitions, unlike default_user, are applied at each start: whatever the data says, this password is right.
        permission = {"user": USERNAME, "vhost": VHOST, "configure": ".*", "write": ".*", "read": ".*"}
        user = {
            "name": USERNAME,
            "password_hash": _password_hash(password),
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": [],
        }
        definitions = {"vhosts": [{"name": VHOST}], "users": [user], "permissions": [permission]}
        _write(self.directory / "definitions.json", json.dumps(definitions))
        _write(self.directory / "enabled_plugins", "[].\n")
        cookie = self.directory / ".erlang.cookie"
        if not cookie.exists():
            _write(cookie, secrets.token_hex(20))
        _write(
            self.directory / "rabbitmqctl",
            "#!/bin/sh\n"
            "# rabbitmqctl for this node, e.g.: ./rabbitmqctl list_queues -p /richmond\n"
            f"export HOME={shlex.quote(str(self.directory))}\n"
            f'export RABBITMQ_CTL_ERL_ARGS="-start_epmd false -erl_epmd_port {dist_port} -dist_listen false"\n'
            f'exec /usr/lib/rabbitmq/bin/rabbitmqctl -n {NODE_NAME} "$@"\n',
            mode=0o700,
        )

    def _await(self, pid: int, port: int, deadline: float) -> bool:
        """Wait until the node speaks AMQP on `port`; False when `pid` has ended or at the deadline."""
        with contextlib.closing(_PidFd(pid)) as process:
            while not process.ended(_PROBE_INTERVAL_S):
                if _speaks_amqp(port):
                    return True
                if time.monotonic() >= deadline:
                    return False
        return False

    def _end(self, pid: int, grace_s: float) -> bool:
        """End `pid`; False if it had to be killed."""
        with contextlib.closing(_PidFd(pid)) as process:
            clean = process.ended(0)
            deadline = time.monotonic() + grace_s
            while not clean and (left_s := deadline - time.monotonic()) > 0:
                process.signal(signal.SIGTERM)  # more than once: a node that boots is deaf for a while
                clean = process.ended(min(_TERM_AGAIN_S, left_s))
            if not clean:
                process.signal(signal.SIGKILL)
                process.ended(10)
        return clean

    def _end_epmd(self) -> None:
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "comm").read_text() == "epmd\n" and self._is_ours(int(entry.name)):
                    os.kill(int(entry.name), signal.SIGTERM)

    def _is_ours(self, pid: int) -> bool:
        """Its environment names this directory, which neither a reused pid nor a copy of the directory can fake."""
        mark = b"RABBITMQ_MNESIA_BASE=" + os.fsencode(self.directory / "data")
        with contextlib.suppress(OSError):
            return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return False

    def _living_pid(self, state: dict[str, object]) -> int:
        """The pid of this directory's node, 0 if none."""
        recorded = [_number(state.get("pid"))]
        with contextlib.suppress(OSError, ValueError):  # written by the node: there even if our own record is lost
            recorded.append(int((self.directory / "rabbitmq.pid").read_text()))
        return next((pid for pid in recorded if pid and self._is_ours(pid)), 0)

    def _read_state(self) -> dict[str, object]:
        try:
            state = json.loads((self.directory / "node.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def _write_state(self, state: dict[str, object]) -> None:
        new = self.directory / "node.json.new"
        _write(new, json.dumps(state))
        new.replace(self.directory / "node.json")

    def _log_tail(self, lines: int = 15) -> str:
        """Why it did not start: what follows BOOT FAILED, else the last lines."""
        log: list[str] = []
        for path in (self.log, self.directory / "start.log"):
            with contextlib.suppress(OSError):
                log += path.read_text("utf-8", "replace")[-16384:].splitlines()
        log = [line for line in log if line.strip() and not _LOG_PREFIX.match(line)] or log
        failed = next((at for at, line in enumerate(log) if line.startswith("BOOT FAILED")), len(log) - lines)
        return "\n".join(f"  {line}" for line in log[max(0, failed) :][:lines]) or "  (empty)"


class _PidFd:
    """A process that may or may not be our child; safe against reuse of its pid."""

    def __init__(self, pid: int) -> None:
        try:
            self._fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._fd = -1

    def ended(self, timeout_s: float) -> bool:
        if self._fd < 0:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def signal(self, number: signal.Signals) -> None:
        if self._fd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fd, number)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _find_program() -> str:
    if not shutil.which("erl"):
        raise RabbitMQMissing(f"RabbitMQ's runtime Erlang (erl) is not on the PATH; {_INSTALL}")
    for program in _PROGRAMS:
        if os.access(program, os.X_OK):
            return program
    raise RabbitMQMissing(f"no RabbitMQ server on this host ({', '.join(_PROGRAMS)}); {_INSTALL}")


def _alive(pid: int) -> bool:
    with contextlib.closing(_PidFd(pid)) as process:
        return not process.ended(0)


def _complete(state: dict[str, object]) -> bool:
    return bool(_number(state.get("port"))) and isinstance(state.get("password"), str)


def _info(state: dict[str, object], pid: int, adopted: bool) -> NodeInfo:
    return NodeInfo(HOST, _number(state["port"]), USERNAME, str(state["password"]), VHOST, pid, adopted)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _password_hash(password: str) -> str:
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _write(path: Path, content: str, mode: int = 0o600) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        os.fchmod(fd, mode)
        file.write(content)


def _is_free(port: int, wait_s: float = 0) -> bool:
    """Whether a server may listen on `port`, now or within `wait_s`."""
    deadline = time.monotonic() + wait_s
    while not (free := _can_listen(port)) and time.monotonic() < deadline:
        time.sleep(_PROBE_INTERVAL_S)
    return free


def _can_listen(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as RabbitMQ does: TIME_WAIT is no hindrance
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError:
            return False
    return True


def _free_port(without: int = 0) -> int:
    for _ in range(1000):
        port = secrets.choice(_PORTS)
        if port != without and _is_free(port):
            return port
    raise RabbitMQError(f"private RabbitMQ node: no free port from {_PORTS.start} to {_PORTS.stop - 1} on {HOST}")


def _speaks_amqp(port: int) -> bool:
    """Whether somebody there answers the protocol header with Connection.Start (class 10, method 10)."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            answer = connection.recv(11, socket.MSG_WAITALL)
    except OSError:
        return False
    return answer[:1] == b"\x01" and answer[7:] == b"\x00\x0a\x00\x0a"
