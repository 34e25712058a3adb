"""A worker process's main: takes messages from one queue and calls the class's `consume`, one after another.

The main thread reads from RabbitMQ, lets the class handle each message, and reads again:

    delivery -> consume(data) -> publish(...) -> RabbitMQ confirms each -> the delivery is acknowledged

While a handler takes its time the AMQP client's own thread stands in: it sends what was published, hears confirms,
acknowledges, and answers heartbeats.

So a message is lost by nobody's death: until its replies are safe it belongs to RabbitMQ, which gives it to another
worker. A message that cannot be handled goes to the dead-letter queue, confirmed too, before it is acknowledged.

Another thread sleeps until the spawner or the master has died.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from richmond import log, messages
from richmond.amqp.client import Client, LinkState
from richmond.amqp.frames import Delivery
from richmond.amqp.topology import DEAD_ROUTING_KEY, send_queues, topology
from richmond.errors import MessageError
from richmond.scoreboard import Row, Scoreboard, identity
from richmond.settings import DEFAULT_ACCOUNT
from richmond.supervisor.jobs import Failed, Ready, WorkerJob, shorten
from richmond.workers.base import RichmondWorker
from richmond.workers.inbox import Inbox
from richmond.workers.loading import load, site_files
from richmond.workers.prefetch import Prefetch

EXIT_PLANNED, EXIT_CRASHED, EXIT_CANNOT_IMPORT = 0, 1, 3

# A handler that publishes to thousands waits here for RabbitMQ instead of filling the memory.
MAX_UNCONFIRMED = 1000

# While messages wait, what was published leaves with what the next ones publish, but no later than this.
_LOOK_S = 0.001

PATIENT = 10  # with a lower prefetch, an acknowledgement is what RabbitMQ waits for

DEFAULT_LONG = "cut"  # what a broker does with a long text unless it is told
_NOTHING: dict[str, Any] = {}
_ANSWERS = {"session": "session", "in_reply_to": "id"}  # keys of a reply, from those of its message

logger = logging.getLogger(__name__)


def run(
    job: WorkerJob,
    *,
    report: Callable[[Ready | Failed], None] | None = None,
    row: Row | None = None,
    lifeline_fd: int | None = None,
    outlet: log.Sink | None = None,
    runtime: type[Runtime] | None = None,
) -> int:
    """Be this worker until told to end. Returns the process's exit code.

    Without `lifeline_fd` nobody supervises: Ctrl-C ends it too. SIGTERM: finish what is in the inbox, then end.
    `outlet`: where its log goes; None: standard error. `runtime`: a special one.
    """
    if job.worker.environment_file is not None:
        os.environ.update(job.worker.environment_file.variables)
    os.environ.update(job.worker.environment)
    time.tzset()
    log.setup(outlet, job.log_level, job.log_messages, process=job.slot)
    tell = report or (lambda _: None)
    before = set(sys.modules)
    try:
        worker_class = load(job.worker.class_path, job.workers_path)
        files = site_files(before)
    except BaseException:  # meant: whatever a site's module does when it is imported
        logger.exception("%s cannot be imported", job.worker.class_path)
        tell(Failed(job.slot, os.getpid(), shorten(traceback.format_exc()), handler=False))
        return EXIT_CANNOT_IMPORT
    try:
        (runtime or Runtime)(job, tell, row or Scoreboard.create(1).row(0)).run(worker_class, files, lifeline_fd)
    except BaseException:  # meant: what a site's set-up may raise
        logger.exception("the worker ends")
        tell(Failed(job.slot, os.getpid(), shorten(traceback.format_exc()), handler=False))
        return EXIT_CRASHED
    return EXIT_PLANNED


class Message(msgspec.Struct, eq=False):
    """A delivery, from the begin of its handler until it is acknowledged."""

    delivery: Delivery
    data: dict[str, Any] = _NOTHING
    subscriber: object = None
    answered: bool = False  # its subscriber got a reply
    open: int = 1  # the handler, and each publish that is not confirmed
    refused: str | None = None  # why RabbitMQ did not take one of them
    dead: str = ""  # why it goes to the dead-letter queue
    kept: bool = False  # even that was refused: it is not acknowledged


class Runtime:
    def __init__(self, job: WorkerJob, tell: Callable[[Ready | Failed], None], row: Row) -> None:
        self._job = job
        self._tell = tell
        self._row = row
        self._worker = RichmondWorker()
        self._looked = 0.0  # when the connection was last attended to
        self._prefetch = Prefetch(job.worker.prefetch)
        self._stopping = False
        self._in_hand: Message | None = None
        self._main = threading.get_ident()
        self._begun = 0  # messages
        self._lock = threading.Lock()  # guards the next three and each message's `open`
        self._room = threading.Condition(self._lock)
        self._done = 0  # messages of those begun: acknowledged, or given up
        self._unconfirmed = 0
        self._in_need_of_room = False
        self._keys = {account: send_queues(job.amqp, account) for account in job.accounts}
        topo = topology(job.amqp, [job.worker], job.accounts)
        self._client = Client(
            job.amqp, name=job.slot, topology=topo, on_state=self._link_changed, on_read=self._on_read
        )
        self._inbox = Inbox(self._attend)

    def run(self, worker_class: type[RichmondWorker], files: dict[str, str], lifeline_fd: int | None) -> None:
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop if lifeline_fd is None else signal.SIG_IGN)
        if lifeline_fd is not None:
            told, tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
            threading.Thread(target=self._await_the_end, args=(lifeline_fd, told), name="lifeline", daemon=True).start()
        worker = self._worker = worker_class()
        worker.options = self._job.worker.options
        worker._outlet = self._publish
        worker.setup_worker()
        self._client.consume(self._job.worker.queue, self._prefetch.value, self._inbox.put)
        self._client.start()
        self._loop(files)
        ends = time.monotonic() + self._job.worker.stop_timeout_s
        self._drain(ends)
        worker.teardown_worker()
        if self._client.state.name == "up":  # else there is nothing to wait for: RabbitMQ has what was not acknowledged
            self._client.close(max(0.0, ends - time.monotonic()))

    def _loop(self, files: dict[str, str]) -> None:
        """Until told to stop. Idle, it sleeps, but for a turn now and then that shows the master that it lives."""
        ready = False
        turn_s = self._job.worker.liveness_interval_s or None
        while not self._stopping:
            self._row.turn(time.monotonic())
            delivery = self._inbox.take(turn_s)
            # A first message may come before the news that the link is up, and take longer than any start-timeout.
            if not ready and (delivery is not None or self._client.state.name == "up"):
                ready = True
                logger.info("consuming %s", self._job.worker.queue)
                self._tell(Ready(self._job.slot, os.getpid(), files))
            if delivery is not None:
                self._handle(delivery)

    def _drain(self, ends: float) -> None:
        """Handle what we hold, and wait until all of it is acknowledged; what is not belongs to RabbitMQ again."""
        self._client.cancel(self._job.worker.queue, max(0.0, ends - time.monotonic()))
        while self._begun > self._done or self._inbox:
            left_s = ends - time.monotonic()
            if left_s <= 0 and not self._inbox:
                held = self._begun - self._done
                logger.warning("%d messages go back to RabbitMQ: their replies are not confirmed", held)
                return
            delivery = self._inbox.take(max(0.0, left_s))
            if delivery is not None:
                self._handle(delivery)

    def _handle(self, delivery: Delivery) -> None:
        message = Message(delivery)
        self._begun += 1
        ok = False
        message_id = identity(delivery.body)
        began = time.monotonic()
        self._row.began(began, message_id, len(self._inbox))
        try:
            data = self._worker._decode(delivery.body)
        except MessageError as e:
            logger.warning("a message is no use: %s", e)
            self._bury(message, e.reason)
        else:
            message.data = data
            message.subscriber = data.get("msisdn")
            wall = time.time()
            received = data.get("received")
            if type(received) is float and not delivery.retried:  # in the dead-letter queue it lay for a person
                self._row.waited(wall - received)
            if data.get("trace"):
                data["delivered"] = wall
            if delivery.redelivered and self._row.condemned(message_id):
                logger.error("a message has killed the workers that had it in hand: it goes to the dead-letter queue")
                self._bury(message, "poison", "its worker died with it in hand, more than once")
                self._apologise(message, data)
            else:
                ok = self._call(message, data)
        ended = time.monotonic()
        self._row.ended(ended, ok)
        self._settle(message)
        if self._prefetch.handled(ended - began) and not self._stopping:
            self._client.consume(self._job.worker.queue, self._prefetch.value, self._inbox.put)
        if self._inbox and ended - self._looked > _LOOK_S:
            self._looked = ended
            self._inbox.look()

    def _call(self, message: Message, data: dict[str, Any]) -> bool:
        self._in_hand = message
        try:
            self._worker._handle(data)
        except BaseException as e:  # meant: a handler's bug, or its sys.exit(), costs one message, not the worker
            self._in_hand = None
            self._handler_failed(message, data, e)
            return False
        self._in_hand = None
        return True

    def _handler_failed(self, message: Message, data: dict[str, Any], error: BaseException) -> None:
        """What it had published before it raised is on its way; if the subscriber got nothing, there is the apology."""
        text = log.conceal_traceback(error, data.get("msisdn"), data.get("message"))
        logger.error("a handler raised; its message goes to the dead-letter queue\n%s", text)
        self._tell(Failed(self._job.slot, os.getpid(), shorten(text), handler=True))
        line = " ".join("".join(traceback.format_exception_only(error)).split())
        self._bury(message, "handler-failed", line)
        self._apologise(message, data)

    def _apologise(self, message: Message, data: dict[str, Any]) -> None:
        """To a subscriber who waits for an answer and got none."""
        if isinstance(message.subscriber, str) and data.get("ussd_type") in ("1", "2") and not message.answered:
            apology = {"msisdn": message.subscriber, "message": self._job.worker.apology, "ussd_type": "3"}
            apology |= {key: data[known] for key, known in _ANSWERS.items() if data.get(known)}
            self._send(self._address(apology, message), messages.encode(apology), message)

    def _bury(self, message: Message, reason: str, exception: str = "") -> None:
        """Publish to the dead-letter queue. The queue itself knows nothing of that: it has no arguments."""
        message.dead = reason
        headers = {
            "x-richmond-reason": reason,
            "x-richmond-worker": self._job.worker.name,
            "x-richmond-slot": self._job.slot,
            "x-richmond-queue": self._job.worker.queue,
            "x-richmond-time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "x-richmond-attempts": _attempts(message.delivery.headers) + 1,
        }
        if exception:
            headers["x-richmond-exception"] = exception[:500].encode("utf-8", "backslashreplace").decode()
        self._send(DEAD_ROUTING_KEY, message.delivery.body, message, headers)

    def _publish(self, data: dict[str, Any]) -> None:
        """What the class's `publish` comes to. In a thread of the class's own, it belongs to no message."""
        message = self._in_hand if threading.get_ident() == self._main else None
        key = self._address(data, message)
        body = messages.encode(data)  # MessageError, and then the subscriber has not been answered
        if message is not None and data["msisdn"] == message.subscriber and _is_ussd(data) == _is_ussd(message.data):
            message.answered = True
        self._send(key, body, message)

    def _address(self, data: dict[str, Any], message: Message | None) -> str:
        """Complete `data` for its way back, and say with which routing key it goes."""
        asked = message.data if message is not None else _NOTHING
        account = data.get("account") or asked.get("account") or DEFAULT_ACCOUNT
        queues = self._keys.get(account)
        if queues is None:
            raise MessageError("unknown-account", f"no account is called {account!r}; there is {', '.join(self._keys)}")
        if account != DEFAULT_ACCOUNT:
            data["account"] = account
        if asked.get("trace"):
            data["times"] = {"delivered": asked["delivered"], "replied": time.time()}
        worker = self._job.worker
        data.setdefault("worker", worker.name)
        if _is_ussd(data):
            if worker.long_text != DEFAULT_LONG:
                data.setdefault("long", worker.long_text)
            return queues.ussd.routing_key
        if data["kind"] == "sms":
            data.setdefault("long", worker.sms_long)
        data.setdefault("created", time.time())
        data.setdefault("report_to", worker.routing_key)
        return queues.sms.routing_key

    def _send(self, key: str, body: bytes, message: Message | None, headers: dict[str, Any] | None = None) -> None:
        if self._unconfirmed >= MAX_UNCONFIRMED:
            self._client.flush()
            with self._room:
                self._in_need_of_room = True
                self._room.wait_for(lambda: self._unconfirmed < MAX_UNCONFIRMED)
                self._in_need_of_room = False
        with self._lock:
            self._unconfirmed += 1
            if message is not None:
                message.open += 1
        done = partial(self._confirmed, message, key)
        self._client.publish(self._job.amqp.exchange, key, body, headers=headers, on_done=done, hold=True)
        # From the main thread it leaves at once if nothing waits, else with what the next messages publish.
        if not self._inbox or self._client.stands_in or threading.get_ident() != self._main:
            self._client.flush()

    def _confirmed(self, message: Message | None, key: str, error: str | None) -> None:
        """RabbitMQ has taken a publish, or not. In whichever thread reads."""
        if error:
            logger.error("RabbitMQ did not take a message for %s: %s", key, error)
            if message is not None and key == DEAD_ROUTING_KEY:
                message.kept = True
            elif message is not None:
                message.refused = error
        self._settle(message, 1)

    def _settle(self, message: Message | None, confirmed: int = 0) -> None:
        """One thing less that the message waits for. After the last one it is acknowledged."""
        with self._lock:
            self._unconfirmed -= confirmed
            if self._in_need_of_room:
                self._room.notify_all()
            if message is None:
                return
            message.open -= 1
            if message.open:
                return
            to_bury = message.refused is not None and not message.dead
            if to_bury:
                message.open = 1
            else:
                self._done += 1
                if not message.kept:
                    self._row.acknowledged(
                        answered=message.answered,
                        dead=message.dead,
                        redelivered=message.delivery.redelivered,
                        retried=message.delivery.retried,
                    )
        if to_bury:
            self._bury(message, f"reply-{message.refused}")
            self._settle(message)
            return
        if not message.kept:
            self._client.ack(message.delivery, hold=True)
        if self._stopping:
            self._inbox.ring()

    def _stop(self, number: int, frame: object) -> None:
        """The signal handler: it only tells the loop."""
        self._stopping = True
        self._inbox.ring()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C means at once

    def _attend(self, inbox: Inbox, timeout_s: float | None) -> bool | None:
        # Where RabbitMQ may deliver more all the same, acknowledgements wait for the next replies: half the packets.
        return self._client.attend(inbox, timeout_s, patient=self._prefetch.value >= PATIENT)

    def _on_read(self) -> None:
        self._inbox.read()

    def _link_changed(self, state: LinkState) -> None:
        self._inbox.ring()

    def _await_the_end(self, lifeline_fd: int, told: int) -> None:
        """Nobody but the master has the pipe's other end, so it is closed when the master has died, however it did.

        `told`: signals. The main thread hears of them when its handler returns, but who is to leave takes no more from
        then on: it would have to wait behind what is in hand, while others are idle.
        """
        poll = select.poll()
        poll.register(lifeline_fd, select.POLLIN)
        poll.register(os.pidfd_open(os.getppid()), select.POLLIN)
        poll.register(told, select.POLLIN)
        while (ready := {fd for fd, _ in poll.poll()}) == {told}:
            if signal.SIGTERM in os.read(told, 4096):
                self._client.cancel(self._job.worker.queue, self._job.worker.stop_timeout_s)
        if lifeline_fd in ready and self._job.log_mark:
            log.go_on_in(self._job.log, as_json=self._job.log_format == "json")
        logger.warning("the master or the spawner has died: finishing what is in hand")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self._job.orphan_timeout_s)
        logger.error("not finished after %g s", self._job.orphan_timeout_s)
        os._exit(EXIT_CRASHED)


def _is_ussd(data: dict[str, Any]) -> bool:
    return bool(data.get("kind", "ussd") == "ussd")


def _attempts(headers: dict[str, Any]) -> int:
    before = headers.get("x-richmond-attempts", 0)
    return before if isinstance(before, int) else 0
