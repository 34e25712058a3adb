"""The programs of 2010, one process each: only the broker, one worker; and the simulator. No supervisor."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import richmond.log
from richmond import config
from richmond.errors import InstallationError, NotRunning, UsageError
from richmond.linux import let_others_finish
from richmond.rabbitmq import PrivateNode
from richmond.settings import AmqpSettings, Settings, WorkerSettings
from richmond.supervisor.jobs import Failed, Ready, WorkerJob

log = logging.getLogger(__name__)


def run_broker(settings: Settings) -> int:
    """Gateway to RabbitMQ and back, until SIGTERM or Ctrl-C. The caller has patched the standard library for gevent."""
    from richmond.broker import Broker

    if not any(account.host for account in settings.accounts):
        raise UsageError(f"{settings.path} names no gateway: set host, port, username and password in [ssmi]")
    settings = replace(settings, amqp=_amqp(settings))
    let_others_finish()
    _log_to(settings, "broker")
    _make(settings.richmond.directory, "directory in [richmond]", settings)
    broker = Broker(settings)
    broker.start()
    _wait_for_a_signal()
    broker.stop_reading()
    broker.stop(settings.richmond.stop_timeout_s)
    return 0


def run_worker(settings: Settings, name: str) -> int:
    """One worker of the class `name`: a [worker:NAME] of the ini, its class, or any class, which takes the rest."""
    from richmond.workers import runtime
    from richmond.workers.chosen import runtime_of

    spec = _spec(settings, name)
    job = WorkerJob(
        slot=f"{spec.name}:0",
        generation=1,
        row=0,
        worker=spec,
        amqp=_amqp(settings),
        workers_path=settings.richmond.workers_path,
        orphan_timeout_s=settings.richmond.orphan_timeout_s,
        accounts=tuple(account.name for account in settings.accounts),
        log=None,
        log_level=settings.richmond.log_level,
        log_messages=settings.richmond.log_messages,
        otel=settings.otel if settings.otel.enabled else None,
    )

    def report(event: Ready | Failed) -> None:
        if isinstance(event, Ready):
            log.info("%s is ready, consuming %s", spec.class_path, spec.queue)

    let_others_finish()
    return runtime.run(job, report=report, runtime=runtime_of(job))


def run_simulator(settings: Settings) -> int:
    """The gateway simulator, until SIGTERM or Ctrl-C. The caller has patched the standard library for gevent."""
    from richmond.simulator.server import Simulator

    _log_to(settings, "simulator")
    _make(settings.simulator.socket.parent, "socket in [simulator]", settings)
    simulator = Simulator(
        settings.simulator,
        settings.accounts[0].encoding,
        accounts=dict(settings.simulated().values()) or None,
        encodings=settings.simulated_encodings(),
    )
    host, port = simulator.start()
    log.info("SSMI on %s:%d, user %s; telephones on %s", host, port, settings.simulator.username,
             settings.simulator.socket)  # fmt: skip
    _wait_for_a_signal()
    simulator.stop()
    return 0


def _make(place: Path, key: str, settings: Settings) -> None:
    """The first that ever ran here may be this one."""
    try:
        place.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as e:
        raise InstallationError(f"{place}: {e.strerror}; make it writable, or set {key} of {settings.path}") from e


def _log_to(settings: Settings, process: str) -> None:
    """These programs run in the foreground of a terminal or a container: they log to standard error."""
    richmond.log.setup(None, settings.richmond.log_level, settings.richmond.log_messages, process)


def _wait_for_a_signal() -> None:
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        _on_signal(number, done.set)
    done.wait()


def _on_signal(number: signal.Signals, call: Callable[[], None]) -> None:
    import gevent

    gevent.signal_handler(number, call)


def _amqp(settings: Settings) -> AmqpSettings:
    """Where RabbitMQ is: yours, or the private node that `richmond start` runs just now."""
    if not settings.rabbitmq.private:
        return settings.amqp
    node = PrivateNode(settings.richmond.directory / "rabbitmq", settings.rabbitmq.port).running()
    if node is None:
        raise NotRunning(
            f"no RabbitMQ: {settings.path} has a private node, which runs while richmond start does; "
            "start that first, or set host in [amqp]"
        )
    return node.apply(settings.amqp)


def _spec(settings: Settings, name: str) -> WorkerSettings:
    wanted = config.class_path(name)
    for spec in settings.workers:
        if name == spec.name or wanted == spec.class_path:
            return spec
    if "." not in wanted:
        names = ", ".join(spec.name for spec in settings.workers)
        raise UsageError(f"no worker class {name} in {settings.path}: there are {names}; or give a dotted path")
    template = settings.workers[0]
    return replace(
        template,
        name=wanted.rpartition(".")[2],
        class_path=wanted,
        codes=(),
        queue=settings.amqp.receive_queue,
        routing_key=settings.amqp.receive_routing_key,
    )
