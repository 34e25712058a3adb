"""The master's side of the spawner: starts it, sends it orders, hands on what it and its workers say."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from richmond.scoreboard import Scoreboard
from richmond.supervisor import jobs

ORPHAN_GRACE_S = 1.0


class Spawner:
    """One spawner process at a time, and the workers that it and its dead predecessors forked.

    `on_event` gets every jobs.Event, from threads (greenlets, in the master) of this object, or from within `spawn`.
    For each `spawn` there comes one Forked or SpawnFailed, for each Forked one Exited. If the spawner is killed, its
    workers drain, this process adopts them (linux.become_subreaper), and their Exited has neither code nor signal.
    `spawn` and `kill` are for one thread.
    """

    def __init__(
        self,
        scoreboard: Scoreboard,
        on_event: Callable[[jobs.Event], None],
        open_output: Callable[[str], int | None] = lambda _process: None,
    ) -> None:
        """`open_output`: a descriptor for what the spawner itself prints; None: that of this process."""
        self._scoreboard = scoreboard
        self._on_event = on_event
        self._open_output = open_output
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._starting: list[str] = []  # slots ordered, and not yet heard of
        self._workers: dict[int, str] = {}  # pid to slot: the spawner's own
        self._early: list[jobs.Ready | jobs.Failed] = []  # from workers whose Forked is on its way
        self._orphans: dict[int, int] = {}  # pid to pidfd: of a spawner that died
        self._orphan_timeout_s = 0.0
        self._awaiting: list[threading.Thread] = []  # the end of an orphan each
        # Both outlive a spawner: its workers go on draining with them.
        self._reports, self._workers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lifeline_read, self._lifeline = os.pipe2(os.O_CLOEXEC)
        self._reports.setblocking(False)
        self._reader: threading.Thread | None = None
        self._closing = False

    @property
    def pid(self) -> int | None:
        """Of the spawner process; None while there is none."""
        return self._process.pid if self._process and self._control else None

    def start(self) -> None:
        """Run a spawner. Again after SpawnerDied, as often as wanted. OSError if it cannot be run."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = {
            "control": theirs.fileno(),
            "reports": self._workers_end.fileno(),
            "scoreboard": self._scoreboard.fd,
            "lifeline": self._lifeline_read,
        }
        command = [sys.executable, "-P", "-m", "richmond.supervisor.spawner"]
        output = self._open_output("spawner")
        for name, value in {**fds, "rows": self._scoreboard.rows}.items():
            command += [f"--{name}", str(value)]
        with theirs:
            try:
                # A session of its own: a terminal's Ctrl-C is for the master alone.
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=tuple(fds.values()),
                    start_new_session=True,
                )  # fmt: skip
            except OSError:
                ours.close()
                raise
            finally:
                if output is not None:
                    os.close(output)
        self._control = ours
        self._reader = threading.Thread(target=self._read, args=(ours, self._process), name="spawner", daemon=True)
        self._reader.start()

    def spawn(self, job: jobs.WorkerJob, output: int | None = None) -> None:
        """Order a worker; Forked or SpawnFailed tells what came of it.

        `output`: the pipe for all that it says, closed here once it is on its way; None: that of the spawner.
        """
        control = self._control
        try:
            if control is None:
                self._on_event(jobs.SpawnFailed(job.slot, "the spawner has ended"))
                return
            self._starting.append(job.slot)
            self._orphan_timeout_s = job.orphan_timeout_s
            _order(control, jobs.Spawn(job), [] if output is None else [output])
        finally:
            if output is not None:
                os.close(output)

    def kill(self, slot: str, pid: int, number: int) -> None:
        """Signal a worker of ours. Nothing happens if it has ended, whoever has its pid now."""
        if pid in self._orphans:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._orphans[pid], number)
        elif (control := self._control) is not None:
            _order(control, jobs.Kill(slot, pid, number))

    def close(self, timeout_s: float) -> None:
        """End the spawner, which first sees its workers out, for their orphan_timeout_s; after `timeout_s` kill all."""
        self._closing = True
        os.close(self._lifeline)
        if self._control is not None and self._process is not None:
            self._control.shutdown(socket.SHUT_WR)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                for pid in self._workers:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self._process.kill()
                self._process.wait()
        for thread in (self._reader, *self._awaiting):
            if thread is not None:
                thread.join()
        self._reports.close()
        self._workers_end.close()
        os.close(self._lifeline_read)

    def _read(self, control: socket.socket, process: subprocess.Popen[bytes]) -> None:
        """Until the spawner has ended. Of one worker come Forked, its reports, Exited, in this order."""
        # A worker that is stopped right after the fork keeps the control socket open: its end says less than this.
        pidfd = _open_pidfd(process.pid)
        poll = select.poll()
        for fd in (control.fileno(), self._reports.fileno(), pidfd):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            with contextlib.suppress(BlockingIOError):
                while True:
                    self._take_report(jobs.decode_event(self._reports.recv(jobs.MAX_PACKET_BYTES)))
            if control.fileno() in ready:
                packet = _receive(control)
                if not packet:
                    break
                self._take_event(jobs.decode_event(packet))
            elif pidfd in ready:
                break
        if pidfd is not None:
            os.close(pidfd)
        self._end(control, process)

    def _take_report(self, report: jobs.Event) -> None:
        assert isinstance(report, jobs.Ready | jobs.Failed)
        if report.pid in self._workers or report.pid in self._orphans:
            self._on_event(report)
        else:
            self._early.append(report)

    def _take_event(self, event: jobs.Event) -> None:
        self._on_event(event)
        match event:
            case jobs.Forked(slot, pid):
                self._starting.remove(slot)
                self._workers[pid] = slot
                early, self._early = self._early, []
                for report in early:
                    self._take_report(report)
            case jobs.SpawnFailed(slot):
                self._starting.remove(slot)
            case jobs.Exited(_, pid):
                del self._workers[pid]

    def _end(self, control: socket.socket, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        self._control = None
        control.close()
        self._orphans |= {pid: pidfd for pid in self._workers if (pidfd := _open_pidfd(pid)) is not None}
        for pidfd in self._orphans.values():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)  # the kernel has missed who was about to stop
        workers, self._workers = self._workers, {}
        lost, self._starting = self._starting, []
        self._early.clear()
        if self._closing:
            return
        self._on_event(jobs.SpawnerDied(status))
        for slot in lost:
            self._on_event(jobs.SpawnFailed(slot, "the spawner ended before it could fork"))
        for pid, slot in workers.items():
            if pid in self._orphans:
                thread = threading.Thread(
                    target=self._await_orphan, args=(slot, pid), name=f"orphan {pid}", daemon=True
                )
                self._awaiting = [*(t for t in self._awaiting if t.is_alive()), thread]
                thread.start()
            else:
                self._on_event(jobs.Exited(slot, pid))

    def _await_orphan(self, slot: str, pid: int) -> None:
        poll = select.poll()
        poll.register(self._orphans[pid], select.POLLIN)
        if not poll.poll((self._orphan_timeout_s + ORPHAN_GRACE_S) * 1000):
            # It ends itself after its orphan_timeout_s, unless it is stopped, or stuck in C.
            self.kill(slot, pid, signal.SIGKILL)
            poll.poll()
        # gevent's loop reaps every child of its process, and may have done so already.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        os.close(self._orphans.pop(pid))
        self._on_event(jobs.Exited(slot, pid))


def _order(control: socket.socket, order: jobs.Order, fds: Sequence[int] = ()) -> None:
    with contextlib.suppress(OSError):  # the spawner has ended: _end says what follows from it
        socket.send_fds(control, [jobs.encode(order)], fds)


def _open_pidfd(pid: int) -> int | None:
    """None if it has ended, and been reaped, already."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _receive(end: socket.socket) -> bytes:
    """One packet; empty when the other end has gone."""
    try:
        return end.recv(jobs.MAX_PACKET_BYTES)
    except ConnectionResetError:
        return b""
