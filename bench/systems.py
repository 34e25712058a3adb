"""What is compared: how each system is started, and what it guarantees."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.installation import start_command, write_ini
from bench.peers import skeleton
from richmond.rabbitmq import NodeInfo


@dataclass(frozen=True, slots=True)
class Place:
    """Where a system has to run."""

    node: NodeInfo
    gateway_port: int
    workers: int
    directory: Path


@dataclass(frozen=True, slots=True)
class System:
    guarantee: str
    receive_queue: str  # its workers consume from it
    queues: tuple[str, ...]  # all that it declares, deleted before each run
    command: Callable[[Place], list[str]]


def _richmond(place: Place) -> list[str]:
    return start_command(write_ini(place.directory, place.workers, place.node, place.gateway_port))


def _peer(module: str, guarantee: str, *options: str) -> System:
    def command(place: Place) -> list[str]:
        node = place.node
        values = {
            "gateway": place.gateway_port,
            "host": node.host,
            "port": node.port,
            "username": node.username,
            "vhost": node.vhost,
            "workers": place.workers,
        }
        settings = [f"--{name}={value}" for name, value in values.items()]
        return [sys.executable, "-m", f"bench.peers.{module}", *settings, *options]

    return System(guarantee, skeleton.RECEIVE, (skeleton.RECEIVE, skeleton.SEND), command)


CONFIRMED = "at least once between the queues: publishes confirmed, acknowledged after the confirm"
UNCONFIRMED = "none: a publish that RabbitMQ never got is lost, and nobody knows"

SYSTEMS = {
    "richmond": System(
        "at least once from socket to socket: confirmed, mandatory, dead-lettered; sessions, supervision, counters on",
        "richmond.receive",
        ("richmond.receive", "richmond.send", "richmond.dead"),
        _richmond,
    ),
    "aio-pika": _peer("aio_pika", f"{CONFIRMED}; up to {skeleton.PREFETCH} in flight", "--confirm"),
    "pika": _peer("pika", f"{CONFIRMED}; one at a time", "--confirm"),
    "pika-noconfirm": _peer("pika", UNCONFIRMED),
    "amqpstorm": _peer("amqpstorm", f"{CONFIRMED}; one at a time", "--confirm"),
    "amqpstorm-noconfirm": _peer("amqpstorm", UNCONFIRMED),
}


def environ(node: NodeInfo) -> dict[str, str]:
    return {**os.environ, "MQ_PASSWORD": node.password}
