"""What the master runs beside the workers: the private node, the simulator, the broker and a look at the queues.

It hands readings from one to the other: the node's port to whoever connects, the simulator's to the broker.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import gevent
import msgspec

from richmond.amqp.client import Client, LinkState
from richmond.broker import Broker, whole_topology
from richmond.errors import AMQPError, RichmondError, UsageError
from richmond.rabbitmq import PrivateNode
from richmond.settings import Settings, SsmiSettings
from richmond.simulator.server import Simulator
from richmond.supervisor.node import NodeKeeper

log = logging.getLogger(__name__)

NODE_GRACE_S = 3.0  # it takes one to close its files; killed, it would have to recover them at the next start


class Services:
    """`on_amqp` is told when RabbitMQ comes and goes, `wake` of the first message for who is asleep."""

    def __init__(self, settings: Settings, on_amqp: Callable[[bool], None], wake: Callable[[str], None]) -> None:
        self._given = settings
        self._on_amqp = on_amqp
        self._wake = wake
        self._asleep: dict[str, Callable[[], object]] = {}
        self._node: NodeKeeper | None = None
        self._simulator: Simulator | None = None
        self._gateway: tuple[str, int] | None = None  # where the simulator listens
        self.broker: Broker | None = None
        self.totals: dict[str, int] = {}  # of the last broker, for the next one to count on from
        self.queues: Client | None = None
        self._wanted: Settings | None = None  # reloaded, and not yet taken over
        self._applying: gevent.Greenlet | None = None
        self.step = ""  # what start() is about, in plain words

    @property
    def simulator_address(self) -> str:
        return "{}:{}".format(*self._gateway) if self._gateway else ""

    @property
    def node_address(self) -> str:
        info = self._node.info if self._node is not None else None
        return f"{info.host}:{info.port}" if info is not None else ""

    @property
    def node_problem(self) -> str:
        return self._node.problem if self._node is not None else ""

    def start(self) -> Settings:
        """Start all of it, in order; the settings with every address filled in. RichmondError if it cannot be."""
        given = self._given
        if given.simulator.enabled:
            self._start_simulator(given)
        if given.rabbitmq.private:
            self.step = "starting the private RabbitMQ node"
            node = PrivateNode(given.richmond.directory / "rabbitmq", given.rabbitmq.port)
            self._node = NodeKeeper(node, given.rabbitmq.start_timeout_s)
            self._node.start()
        self.step = ""
        settings = self.resolve(given)
        self.queues = Client(
            settings.amqp,
            name="richmond queues",
            topology=whole_topology(settings),
            on_state=self._on_state,
        )
        self.queues.start()
        self._start_broker(settings)
        return settings

    def resolve(self, settings: Settings) -> Settings:
        """`settings` as the workers and the broker need them: where the node and the simulator really are."""
        if settings.rabbitmq.private and self._node is not None and self._node.info is not None:
            settings = replace(settings, amqp=self._node.info.apply(settings.amqp))
        if settings.simulator.enabled and self._gateway is not None:
            host, port = self._gateway
            simulated = settings.simulated()

            def where(account: SsmiSettings) -> SsmiSettings:
                if account.name not in simulated:
                    return account
                username, password = simulated[account.name]
                return replace(account, host=host, port=port, username=username, password=password)

            settings = replace(settings, accounts=tuple(map(where, settings.accounts)))
        return settings

    def reconfigure(self, given: Settings) -> Settings:
        """Take over a changed ini: only what has changed reconnects. Returns it resolved; connecting goes on alone.

        RichmondError if the simulator cannot be as the ini says: then all is as before.
        """
        old = self._given
        if _simulation(given) != _simulation(old):
            self._change_simulator(old, given)
        if given.rabbitmq != old.rabbitmq:
            log.warning("[rabbitmq] has changed: that needs richmond stop and richmond start")
            given = replace(given, rabbitmq=old.rabbitmq)
        self._given = given
        settings = self._wanted = self.resolve(given)
        if self._applying is None or self._applying.dead:  # one at a time, so that the last one counts
            self._applying = gevent.spawn(self._apply_all)
        return settings

    def _apply_all(self) -> None:
        while self._wanted is not None:
            settings, self._wanted = self._wanted, None
            self._apply(settings)

    def _apply(self, settings: Settings) -> None:
        if self.queues is not None:
            self.queues.reconfigure(settings.amqp, whole_topology(settings))
        if self.broker is None:
            self._start_broker(settings)
        elif _needs_broker(settings):
            self.broker.reconfigure(settings)
        else:
            broker, self.broker = self.broker, None
            broker.stop(settings.richmond.stop_timeout_s)
            self.totals = broker.totals()

    def linked(self) -> bool:
        """Every link is up, as far as there are to be any."""
        if self.broker is None:
            return self.queues is not None and self.queues.state.name == "up"
        status = self.broker.status()
        return status.amqp.state == "up" and all(account.link.state == "up" for account in status.accounts)

    def stuck(self) -> str:
        """For a watchdog: what makes no progress although it should; empty: nothing."""
        parts = [self.broker.stuck()] if self.broker is not None else []
        if self.queues is not None and not self.queues.alive:
            parts.append("the look at the queues")
        return ", ".join(filter(None, parts))

    def depths(self, names: list[str], timeout_s: float) -> dict[str, tuple[int, int]]:
        """name -> (ready, consumers); empty while RabbitMQ does not answer."""
        if self.queues is None or self.queues.state.name not in ("up", "blocked"):
            return {}
        try:
            with gevent.Timeout(timeout_s):
                return self.queues.depths(names)
        except (AMQPError, gevent.Timeout):
            return {}

    def trace(self, msisdn: str) -> list[dict[str, Any]]:
        """UsageError where nothing is traced."""
        if self.broker is None:
            raise UsageError("no broker runs here: messages are traced by the master that has the link to the gateway")
        records = self.broker.trace(msisdn)
        if records is None:
            raise UsageError(f"nothing is traced; set trace = yes in [richmond] of {self._given.path}, then reload")
        found: list[dict[str, Any]] = msgspec.to_builtins(records)
        return found

    def listen(self, asleep: Mapping[str, str]) -> None:
        """`wake` is called once with a name, when the broker has a message for its routing key."""
        self._asleep.clear()
        self._asleep.update((key, partial(self._wake, name)) for key, name in asleep.items())

    def stop_reading(self) -> None:
        if self.broker is not None:
            self.broker.stop_reading()

    def stop(self, timeout_s: float, keep_node: bool) -> None:
        """Send what is on its way to the gateway, then end everything, RabbitMQ last. May be called again."""
        deadline = time.monotonic() + timeout_s
        try:
            if self.broker is not None:
                self.broker.stop(timeout_s)
            if self.queues is not None:
                self.queues.close(max(0.0, deadline - time.monotonic()))
            self._stop_simulator()
        except Exception:  # broad on purpose: whatever is wrong with those, the node must not be left behind
            log.exception("a service could not be stopped")
        if self._node is not None and keep_node:
            self._node.leave()
        elif self._node is not None:
            self._node.stop(max(NODE_GRACE_S, deadline - time.monotonic()))

    def _on_state(self, state: LinkState) -> None:
        self._on_amqp(state.name in ("up", "blocked"))

    def _start_broker(self, settings: Settings) -> None:
        if _needs_broker(settings):
            self.broker = Broker(settings, totals=self.totals, asleep=self._asleep)
            self.broker.start()

    def _change_simulator(self, old: Settings, given: Settings) -> None:
        before = self._gateway
        self._stop_simulator()
        try:
            if given.simulator.enabled:
                self._start_simulator(given)
        except RichmondError:
            if before is not None:
                self._start_simulator(replace(old, simulator=replace(old.simulator, port=before[1])))
            raise

    def _start_simulator(self, settings: Settings) -> None:
        self._simulator = Simulator(
            settings.simulator,
            settings.accounts[0].encoding,
            accounts=dict(settings.simulated().values()),
            encodings=settings.simulated_encodings(),
        )
        self._gateway = self._simulator.start()

    def _stop_simulator(self) -> None:
        simulator, self._simulator, self._gateway = self._simulator, None, None
        if simulator is not None:
            simulator.stop()


def _simulation(settings: Settings) -> tuple[object, ...]:
    return settings.simulator, settings.simulated(), settings.simulated_encodings()


def _needs_broker(settings: Settings) -> bool:
    return settings.richmond.broker and any(account.host for account in settings.accounts)
