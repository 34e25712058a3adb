"""The process that forks the workers: `python -m richmond.supervisor.spawner`, run once by the master.

Why it exists: a child of a gevent process inherits its greenlets and runs them, repeating whatever they were about to
write. So the master execs this small process, in which no hub, no thread and no connection ever was, and it forks a
worker for every request. It has imported what workers need, and they share that memory with it. It never imports site
code: only its children do.

Its life: until the master closes the control socket, or dies. Then it stays until its workers have drained, and ends
those that cannot (stopped, or stuck in C) when their time is up, so that nothing outlives a master that was killed.
"""

from __future__ import annotations

import argparse
import contextlib
import encodings.idna  # noqa: F401  (else each child imports it, to look up RabbitMQ's host)
import errno
import faulthandler
import gc
import os
import select
import signal
import socket
import sys
import time
import traceback

import setproctitle

import richmond.workers.ussd  # noqa: F401  (its children share it)
from richmond import linux, log_pipe
from richmond.errors import InstallationError
from richmond.scoreboard import Scoreboard
from richmond.supervisor import jobs
from richmond.supervisor.confine import confine
from richmond.workers import runtime
from richmond.workers.chosen import runtime_of

# Those which end the master, or the whole terminal or container with it, must not end the one who outlives it to
# see its workers out.
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Spawner:
    """The loop. Everything is done one at a time: a fork takes a few milliseconds."""

    def __init__(self, control: socket.socket, reports: socket.socket, scoreboard: Scoreboard, lifeline: int) -> None:
        self._control = control
        self._reports = reports
        self._scoreboard = scoreboard
        self._lifeline = lifeline
        self._pid = os.getpid()
        self._children: dict[int, jobs.WorkerJob] = {}  # unreaped
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)  # the byte in the pipe is the message
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        # A stopped process does not read that the socket is closed.
        linux.signal_on_parents_death(signal.SIGCONT)
        gc.collect()
        gc.freeze()  # else the collector of each child writes to, and so copies, all that it shares with us
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._wake_read:
                    self._reap()
                elif not self._take_order():
                    self._see_children_out()
                    return

    def _take_order(self) -> bool:
        """False: the master has gone."""
        try:
            packet, fds, _, _ = socket.recv_fds(self._control, jobs.MAX_PACKET_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:  # it died with our events unread
            return False
        if not packet:
            return False
        order = jobs.decode_order(packet)
        if isinstance(order, jobs.Spawn):
            self._spawn(order.job, fds)
        elif order.pid in self._children:
            os.kill(order.pid, order.signal)
            if order.signal == signal.SIGTERM:
                os.kill(order.pid, signal.SIGCONT)  # one that is stopped would not hear it; systemd does so too
        return True

    def _spawn(self, job: jobs.WorkerJob, output: list[int]) -> None:
        """`output`: the pipe for what it says. Empty: nothing came with the order, or no descriptor was left here."""
        with contextlib.suppress(ImportError):  # else the child says so
            runtime_of(job)  # its children share what it imports
        # Held back, not ignored: what comes for the child before it has made itself ready is delivered then.
        signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
        try:
            pid = os.fork()
            if not pid:
                self._be_worker(job, *output)
        except OSError as e:
            self._tell(jobs.SpawnFailed(job.slot, f"fork: {e}"))
        else:
            self._children[pid] = job
            self._tell(jobs.Forked(job.slot, pid))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED)
            for fd in output:
                os.close(fd)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            job = self._children.pop(pid)
            if code < 0:
                self._tell(jobs.Exited(job.slot, pid, signal=-code))
            else:
                self._tell(jobs.Exited(job.slot, pid, code=code))

    def _tell(self, event: jobs.Event) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the master has gone: the next read says so
            self._control.send(jobs.encode(event))

    def _see_children_out(self) -> None:
        """They drain by themselves: the lifeline has told them."""
        ends = time.monotonic() + max((job.orphan_timeout_s for job in self._children.values()), default=0.0)
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        while self._children and (left_s := ends - time.monotonic()) > 0:
            poll.poll(left_s * 1000)
            self._reap()
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        while self._children:
            poll.poll()
            self._reap()

    def _be_worker(self, job: jobs.WorkerJob, output: int | None = None) -> None:
        """The child's life. Never returns: not one of the parent's frames, buffers or exit functions may run again."""
        code = 1
        outlet: log_pipe.Outlet | None = None
        try:
            if output is not None:
                outlet = log_pipe.take_over(output, job.log_mark)
            os.setpgid(0, 0)  # in the session of the spawner: after its death the kernel wakes whoever is stopped
            signal.set_wakeup_fd(-1)
            # Ctrl-C and a reload are for the master, whoever they are sent to: they stay ignored.
            for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            self._follow_parent()
            self._control.close()
            os.close(self._wake_read)
            os.close(self._wake_write)
            setproctitle.setproctitle(f"richmond: {job.slot}")
            row = self._scoreboard.row(job.row)
            row.reset(os.getpid())
            try:
                if confine(job.worker):
                    self._follow_parent()
            except InstallationError as e:
                self._report(jobs.Failed(job.slot, os.getpid(), f"{job.worker.name} cannot be run: {e}", handler=False))
                code = runtime.EXIT_CANNOT_IMPORT
                return
            chosen = runtime_of(job)
            code = runtime.run(
                job, report=self._report, row=row, lifeline_fd=self._lifeline, outlet=outlet, runtime=chosen
            )
        except BaseException:  # the process's top: whatever it was, it ends here
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
                if outlet is not None:
                    outlet.close()
            finally:
                os._exit(code)

    def _follow_parent(self) -> None:
        linux.signal_on_parents_death(signal.SIGTERM)
        if os.getppid() != self._pid:
            os._exit(0)  # it died before we could ask to be told

    def _report(self, event: jobs.Ready | jobs.Failed) -> None:
        """In the worker. A report on one message is dropped where the master does not keep up; others wait for it."""
        flags = socket.MSG_DONTWAIT if isinstance(event, jobs.Failed) and event.handler else 0
        try:
            self._reports.send(jobs.encode(event), flags)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
        except OSError as e:
            if e.errno != errno.EMSGSIZE or not isinstance(event, jobs.Ready):
                raise
            # Over a thousand site files: readiness matters more than noticing that one of them changed.
            self._reports.send(jobs.encode(jobs.Ready(event.slot, event.pid)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="richmond.supervisor.spawner")
    for name in ("control", "reports", "scoreboard", "rows", "lifeline"):
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args()
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    setproctitle.setproctitle("richmond: spawner")
    faulthandler.enable()
    control = socket.socket(fileno=args.control)
    reports = socket.socket(fileno=args.reports)
    for end in (control, reports):
        end.setblocking(True)  # gevent made both ends of its pairs non-blocking
        end.set_inheritable(False)
    for fd in (args.scoreboard, args.lifeline):
        os.set_inheritable(fd, False)
    Spawner(control, reports, Scoreboard.attach(args.scoreboard, args.rows), args.lifeline).run()


if __name__ == "__main__":
    main()
