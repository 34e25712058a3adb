"""The master: one inbox, one decider, and the hands that carry out what it decides.

Signals, exits, requests, samples and timers become events in one queue; the loop asks `plan.step` what they
mean and performs the answer. Nothing else changes the fleet.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.queue import Empty, Queue

import richmond.log
from richmond import linux
from richmond.errors import RichmondError
from richmond.log_files import LAST_WORDS_S, LogFiles
from richmond.scoreboard import Scoreboard
from richmond.sd_notify import Notifier
from richmond.settings import Settings
from richmond.supervisor import fleet as f
from richmond.supervisor import ini, jobs, leftovers, plan, protocol, reloading, scaling, status, watch, why
from richmond.supervisor.capture import Capture
from richmond.supervisor.control import ControlServer, Stream
from richmond.supervisor.dump import dump
from richmond.supervisor.event_feed import EventFeed
from richmond.supervisor.heartbeat import Heartbeat, Pulse
from richmond.supervisor.hooks import Hooks
from richmond.supervisor.lifecycle import State
from richmond.supervisor.pidfile import PidFile
from richmond.supervisor.poison import Deaths
from richmond.supervisor.processes import Spawner
from richmond.supervisor.report import Reporter
from richmond.supervisor.requests import Requests
from richmond.supervisor.services import Services
from richmond.web.server import WebServer

log = logging.getLogger(__name__)

LINKS_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class _Stop:
    """The first one drains; a signal after it, or the stop timeout, does not wait. `richmond stop` always does."""

    why: str
    patient: bool = False
    keep_node: bool = False


@dataclass(frozen=True, slots=True)
class _Reload:
    request: int | None = None  # None: a signal, nobody asks
    wait: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class _Broken:
    """A service could not be started, without which there is nothing to run; or on-fatal = exit."""

    error: RichmondError


class Master:
    """One running installation.

    `on_up` is called once, when everything answers for the first time; `on_stop` when it begins to stop, with why.
    """

    def __init__(
        self,
        settings: Settings,
        logs: LogFiles,
        on_up: Callable[[status.Snapshot], None] | None = None,
        on_stop: Callable[[str], None] | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._settings = settings  # as the ini gives them; the fleet has them resolved
        self._capture = Capture(logs, settings)
        self._on_up = on_up
        self._on_stop = on_stop
        self._inbox: Queue[Any] = Queue()
        self._fleet = plan.begin(settings)
        self._requests = Requests(self._inbox.put)
        self._stop_requests: set[int] = set()
        self._early: list[_Reload] = []  # asked for before the services were there
        self._hangup_waits = False
        self._stopping = False
        self._keep_node = False
        self._drain_deadline: float | None = None
        self._broken: RichmondError | None = None
        self._board = Scoreboard.create(f.ROWS, leftovers.name_of(settings.richmond.pid_file))
        self._deaths = Deaths()
        put = self._inbox.put
        self._services = Services(settings, lambda up: put(f.AmqpChanged(up)), lambda name: put(f.Woken(name)))
        self._reporter = Reporter(settings, self._board, self._services)
        self._feed = EventFeed(self._services, self._reporter)
        self._hooks = Hooks(lambda: self._fleet.settings, self._capture, self._end)
        self._feed.listeners.append(self._hooks.on_event)
        self._reporter.hook_events_dropped = lambda: self._hooks.dropped
        self._reporter.web = lambda: (self._web.address, self._web.problem)
        self._heart = Heartbeat(notifier or Notifier({}), self._services)
        self._web = WebServer(self._feed, self._reporter, lambda: self._fleet, self._handle, self._heart.stuck)
        self._control = ControlServer(settings.richmond.socket, self._handle)
        self._spawner: Spawner | None = None

    def run(self) -> int:
        """Until a signal or `richmond stop`. RichmondError if it cannot start; else the exit code."""
        # Before there is anything that a signal could leave behind.
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, self._inbox.put, _Stop(signal.Signals(number).name))
        gevent.signal_handler(signal.SIGHUP, self._hang_up)
        gevent.signal_handler(signal.SIGUSR1, richmond.log.reopen)
        gevent.signal_handler(signal.SIGUSR2, self._dump)
        pid_file = PidFile(self._settings.richmond.pid_file)
        if pid_file.acquire():
            log.warning("the last master died without cleaning up: taking over what it left")
            if woken := leftovers.wake(leftovers.name_of(self._settings.richmond.pid_file)):
                log.warning("workers of it that were stopped are woken, so that they end: pids %s", woken)
        try:
            self._reporter.restore()
            linux.become_subreaper()
            accepting = self._control.start()
            self._spawner = Spawner(self._board, self._inbox.put, lambda process: self._capture.open(process)[0])
            self._spawner.start()
            bring_up = gevent.spawn(self._bring_up)
            sampling = gevent.spawn(self._sample)
            looking = self._feed.start(lambda: self._fleet)
            self._heart.start(self._inbox.put, lambda: self._fleet, [sampling, looking, accepting])
            self._web.start()
            log.info("master %d started with %s", os.getpid(), self._settings.path)
            self._feed.tell("master", f"master {os.getpid()} started with {self._settings.path}", pid=os.getpid())
            try:
                self._loop()
            finally:
                gevent.killall([bring_up, sampling])
                self._tear_down(self._spawner)
        finally:
            self._control.refuse()
            self._web.stop()
            self._feed.stop()
            pid_file.release()
            # Only now, so that whoever has asked for the stop may start another one at once.
            text = "richmond has stopped"
            self._requests.close(
                lambda request: {"ok": True, "text": text} if request in self._stop_requests else protocol.failure(text)
            )
            self._control.stop()
        if self._broken is not None:
            raise self._broken
        return 0

    # The loop.

    def _loop(self) -> None:
        while not (self._stopping and plan.gone(self._fleet)):
            event = self._next()
            if isinstance(event, Pulse):
                event.turned()
            elif isinstance(event, _Stop):
                self._stop(event)
            elif isinstance(event, _Reload):
                self._reload(event)
            elif isinstance(event, _Broken):
                self._broken = self._broken or event.error
                self._stop(_Stop("start failed" if not self._fleet.started else str(event.error), patient=True))
            else:
                if isinstance(event, jobs.Exited):
                    self._reporter.count(self._fleet)  # before its row is used again
                    self._look_for_poison(event)
                self._step(event)
                if isinstance(event, f.Started):
                    for reload in self._early:
                        self._inbox.put(reload)
            self._announce()

    def _look_for_poison(self, event: jobs.Exited) -> None:
        """A message that kills its worker again and again would walk the pool to FATAL."""
        found = self._fleet.find(event.slot)
        if found is None or found[1].pid != event.pid or (found[1].state is State.STOPPING and not found[1].doomed):
            return
        reading = self._board.row(found[1].row).read()
        if reading.pid == event.pid and reading.message and self._deaths.count(reading.message):
            log.error(
                "%s: the message that it had in hand has killed workers before: it will not be tried again", event.slot
            )
            self._board.condemn(reading.message)

    def _condemn_in_time(self, name: str, pid: int) -> None:
        """Before we kill who hangs with it in hand: RabbitMQ gives it to another worker before we hear of the death."""
        found = self._fleet.find(name)
        if found is not None and found[1].doomed and found[1].pid == pid:
            reading = self._board.row(found[1].row).read()
            if reading.pid == pid and reading.message and self._deaths.is_last(reading.message):
                self._board.condemn(reading.message)

    def _next(self) -> Any:
        now, look_due = time.monotonic(), self._fleet.look_due
        if look_due is not None and look_due <= now:
            slots = (s for c in self._fleet.classes.values() for s in c.slots)
            return f.Looked(watch.look(self._board, slots))
        dues = [d for d in (plan.deadline(self._fleet), self._drain_deadline, look_due) if d is not None]
        timeout = max(0.0, min(dues) - now) if dues else None
        try:
            return self._inbox.get(timeout=timeout)
        except Empty:
            if self._drain_deadline is not None and time.monotonic() >= self._drain_deadline:
                return _Stop("stop-timeout")
            return f.Tick()

    def _step(self, event: f.Event) -> None:
        before = self._fleet
        self._fleet, actions = plan.step(before, event, time.monotonic(), random.random())  # noqa: S311
        self._feed.stepped(event, before, self._fleet)
        # Before anybody is told to leave: whoever still consumes takes what comes until then.
        self._services.listen(scaling.asleep(self._fleet))
        for action in actions:
            self._perform(action)

    def _perform(self, action: f.Action) -> None:
        assert self._spawner is not None
        match action:
            case f.Spawn():
                self._spawner.spawn(*self._capture.order(action, self._fleet.settings))
            case f.Kill(slot, pid, number):
                self._condemn_in_time(slot, pid)
                self._spawner.kill(slot, pid, number)
            case f.Log(level, text):
                log.log(logging.getLevelName(level.upper()), "%s", text)
            case f.Reply(request, ok, text, usage):
                self._requests.answer(request, {"ok": True, "text": text} if ok else protocol.failure(text, usage))
            case f.RestartSpawner():
                self._spawner.start()

    # Start, stop, reload.

    def _bring_up(self) -> None:
        try:
            self._inbox.put(f.Started(self._services.start()))
        except RichmondError as e:
            self._inbox.put(_Broken(e))

    def _announce(self) -> None:
        if self._on_up is None or self._stopping or not self._fleet.started:
            return
        if all(cls.settled or cls.count(State.FATAL) for cls in self._fleet.classes.values()):
            on_up, self._on_up = self._on_up, None
            gevent.spawn(self._say_up, on_up)

    def _say_up(self, on_up: Callable[[status.Snapshot], None]) -> None:
        """The links come up while the workers start; one that does not is worth to be seen in what is said."""
        with gevent.Timeout(LINKS_TIMEOUT_S, False):
            while not self._services.linked():
                gevent.sleep(0.02)
        self._feed.tell("master", "everything is up")
        self._heart.ready()
        on_up(self._reporter.snapshot(self._fleet))
        gc.collect()
        gc.freeze()  # else the collector walks over all of it again and again, while messages wait

    def _stop(self, event: _Stop) -> None:
        again, self._stopping = self._stopping, True
        self._keep_node = self._keep_node or event.keep_node
        if again and event.patient:
            return
        log.info("%s: %s", event.why, "ending at once" if again else "stopping, once what is in hand is done")
        if again:
            self._drain_deadline = None
        else:
            self._feed.tell("master", f"stopping: {event.why}", reason=event.why)
            self._heart.stopping(event.why)
            if self._on_stop is not None:
                self._on_stop(event.why)
            self._drain_deadline = time.monotonic() + self._settings.richmond.stop_timeout_s
            self._services.stop_reading()
        self._step(f.Shutdown(now=again))

    def _end(self, why: str) -> None:
        self._inbox.put(_Broken(RichmondError(why)))

    def _tear_down(self, spawner: Spawner) -> None:
        self._end_services()
        spawner.close(self._settings.richmond.orphan_timeout_s + 1.0)
        self._hooks.close(LAST_WORDS_S)
        self._capture.close(LAST_WORDS_S)
        self._reporter.save(self._fleet)
        log.info("master %d has stopped", os.getpid())

    def _end_services(self) -> None:
        """The loop has ended, but a signal still means that nobody waits any longer."""
        left = 1.0 if self._drain_deadline is None else max(1.0, self._drain_deadline - time.monotonic())
        hurried = False
        ending = gevent.spawn(self._services.stop, left, self._keep_node)
        ending.rawlink(self._inbox.put)
        while not ending.ready():
            event = self._inbox.get()
            if isinstance(event, Pulse):
                event.turned()
            if isinstance(event, _Stop) and not event.patient and not hurried:
                log.info("%s: ending at once", event.why)
                hurried = True
                ending.kill()
                ending = gevent.spawn(self._services.stop, 1.0, self._keep_node)
                ending.rawlink(self._inbox.put)

    def _hang_up(self) -> None:
        """SIGHUP. A burst of them is one reload, after the last."""
        if not self._hangup_waits:
            self._hangup_waits = True
            self._inbox.put(_Reload())

    def _reload(self, event: _Reload) -> None:
        if event.request is None:
            self._hangup_waits = False
        if self._stopping:
            self._requests.answer(event.request, protocol.failure("richmond is stopping"))
            return
        if not self._fleet.started:
            self._early.append(event)
            return
        if event.dry_run:
            answer = ini.rehearse(self._settings, self._fleet, self._services.resolve, time.monotonic())
            self._requests.answer(event.request, answer)
            return
        self._heart.reloading()
        self._take_over(event)
        self._heart.reloaded()

    def _take_over(self, event: _Reload) -> None:
        richmond.log.reopen()
        try:
            given, notes = ini.read(self._settings)
            self._capture.configure(given)
            resolved = self._services.reconfigure(given)
        except (RichmondError, OSError) as e:
            self._capture.configure(self._settings)
            self._reporter.last_reload_error = problem = ini.problem(e)
            for line in problem.splitlines():
                log.error("not reloaded, the running configuration stays: %s", line)
            self._feed.tell("reload", f"not reloaded: {problem}", "error", reason=problem)
            self._requests.answer(event.request, protocol.failure(f"nothing was changed:\n{problem}", usage=True))
            return
        self._reporter.last_reload_error = ""
        self._reporter.settings = self._settings = given
        before = self._fleet
        self._step(f.Reloaded(resolved, ini.hashes(before), event.request, event.wait, notes))
        self._web.start()
        self._feed.tell("reload", f"the ini is taken over: {reloading.changes(before, self._fleet, notes)}")

    def _dump(self) -> None:
        """SIGUSR2."""
        for text in dump(self._fleet, self._services, self._inbox.qsize()):
            log.info("%s", text)

    # Requests, in the greenlet of their connection.

    def _handle(self, request: protocol.Request) -> dict[str, Any] | Stream:
        match request:
            case protocol.Ping():
                return {"ok": True, "pid": os.getpid()}
            case protocol.GetStatus():
                return {"ok": True, "status": status.to_dict(self._reporter.snapshot(self._fleet))}
            case protocol.Scale(worker, count, wait):
                return self._requests.ask(lambda n: f.Scale(n, worker, count, wait, self._reporter.held(self._fleet)))
            case protocol.Why(name):
                return why.answer(self._fleet, name, time.monotonic())
            case protocol.Restart(name, wait):
                return self._requests.ask(lambda number: f.Restart(number, name, wait))
            case protocol.Reload(wait, dry_run):
                return self._requests.ask(lambda number: _Reload(number, wait, dry_run))
            case protocol.Trace(msisdn):
                return {"ok": True, "messages": self._services.trace(msisdn)}
            case protocol.Events():
                return self._feed.answer(request)
            case protocol.Stop(keep_node):
                # answered at the very end, so that `richmond stop` returns when all is over
                return self._requests.ask(lambda number: self._asked_to_stop(number, keep_node))

    def _asked_to_stop(self, number: int, keep_node: bool) -> _Stop:
        self._stop_requests.add(number)
        return _Stop("richmond stop", patient=True, keep_node=keep_node)

    # Samples.

    def _sample(self) -> None:
        while True:
            gevent.sleep(self._settings.richmond.sample_interval_s)
            if self._fleet.started and not self._stopping:
                self._inbox.put(f.Sampled(self._reporter.sample(self._fleet), self._reporter.held(self._fleet)))
