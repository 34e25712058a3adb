"""What all accounts of a broker share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from richmond.amqp.client import Client
from richmond.broker_outlet import Outlet
from richmond.broker_trace import Tracer
from richmond.opt_out import OptOut
from richmond.sms_store import SmsStore


@dataclass(frozen=True, slots=True)
class Commons:
    """`identity`: makes ids and tokens, none twice. `save_soon`: something has to be saved. `asleep`: see Broker."""

    amqp: Client
    sms: SmsStore
    opt_out: OptOut
    outlet: Outlet
    tracer: Tracer
    identity: Callable[[], str]
    save_soon: Callable[[], None]
    asleep: dict[str, Callable[[], object]]
