"""Commands that hear of events: `on-event` of the ini, `on-fatal` of a class. Greenlets; nobody waits for a command.

They are run by gevent's subprocess. A fork of this process is safe where exec follows at once: until then the child
runs a few lines that never switch to another greenlet (only its hub would), and so nothing of what the others were
about to write. A worker, which goes on without exec, must not be forked so: that is why there is a spawner.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable

import gevent

from richmond.config_checks import command_line
from richmond.settings import Settings
from richmond.supervisor.capture import Capture
from richmond.supervisor.events import Event, to_json

log = logging.getLogger(__name__)

AT_ONCE = 4
WAITING = 100  # more than that wait for nobody: an event that finds no room is told to the log only
BURST_S = 10.0  # the same trouble is worth a line so often
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class Hooks:
    """`settings`: the present ones. `end`: ends the master, with the reason."""

    def __init__(self, settings: Callable[[], Settings], capture: Capture, end: Callable[[str], None]) -> None:
        self.dropped = 0
        self._settings = settings
        self._capture = capture
        self._end = end
        self._waiting: deque[tuple[str, Event]] = deque()
        self._runners: set[gevent.Greenlet] = set()
        self._complained: dict[str, float] = {}

    def on_event(self, event: Event) -> None:
        """Neither blocks nor raises."""
        settings = self._settings()
        if settings.richmond.on_event:
            self._put(settings.richmond.on_event, event)
        if event.kind == "fatal":
            on_fatal = next((w.on_fatal for w in settings.workers if w.name == event.worker), "none")
            if on_fatal == "exit" and not event.count:
                self._end(f"on-fatal = exit of [worker:{event.worker}]: {event.text}")
            elif on_fatal not in ("none", "exit"):
                self._put(on_fatal, event)

    def close(self, timeout_s: float) -> None:
        """Those that run may take so long; then they are killed."""
        self._waiting.clear()
        gevent.joinall(list(self._runners), timeout=timeout_s)
        gevent.killall(list(self._runners))

    def _put(self, command: str, event: Event) -> None:
        if len(self._waiting) >= WAITING:
            self.dropped += 1
            self._complain("busy", "%d events have not reached their hooks: these take too long", self.dropped)
            return
        self._waiting.append((command, event))
        if len(self._runners) < AT_ONCE:
            runner = gevent.spawn(self._run_all)
            self._runners.add(runner)
            runner.rawlink(self._runners.discard)

    def _run_all(self) -> None:
        while self._waiting:
            command, event = self._waiting.popleft()
            try:
                self._run(command, event)
            except OSError as e:
                self._complain(command, "the hook %s cannot be run: %s", command, e.strerror or e)

    def _run(self, command: str, event: Event) -> None:
        settings = self._settings()
        output, _ = self._capture.open("hook")
        try:
            process = subprocess.Popen(
                command_line(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL if output is None else output,
                stderr=subprocess.STDOUT,
                cwd=settings.path.parent,
                env=_environment(settings, event),
                start_new_session=True,  # a group to be killed, and no Ctrl-C
            )
        finally:
            if output is not None:
                os.close(output)
        seconds = settings.richmond.hook_timeout_s
        try:
            with gevent.Timeout(seconds):
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # it does not want to know
                    process.stdin.write(to_json(event) + b"\n")
                    process.stdin.close()
                process.wait()
        except gevent.Timeout:
            self._complain(command, "the hook %s was killed: it took longer than hook-timeout = %g s", command, seconds)
        else:
            if process.returncode:
                self._complain(command, "the hook %s has failed: exit code %d", command, process.returncode)
        finally:
            self._kill(process)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """Also if this greenlet is killed."""
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def _complain(self, about: str, text: str, *args: object) -> None:
        now = time.monotonic()
        if now - self._complained.get(about, -BURST_S) >= BURST_S:
            self._complained[about] = now
            log.warning(text, *args)


def _environment(settings: Settings, event: Event) -> dict[str, str]:
    """Ours, without what is between systemd and us; `richmond status` in a hook finds this installation."""
    found = {key: value for key, value in os.environ.items() if key not in _OURS}
    return {**found, "RICHMOND_INI": str(settings.path), "RICHMOND_EVENT": event.kind}
