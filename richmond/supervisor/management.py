"""What only RabbitMQ's management API tells: messages that anybody holds, and rates.

Its figures are some seconds old, so no count of messages for a decision comes from here.
"""

from __future__ import annotations

import base64
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec

from richmond.errors import AMQPError
from richmond.settings import AmqpSettings

TIMEOUT_S = 2.0
_COLUMNS = "name,messages_unacknowledged,message_stats.publish_details.rate,message_stats.deliver_get_details.rate"


@dataclass(frozen=True, slots=True)
class QueueFacts:
    unacked: int  # with anybody
    in_rate: float  # messages/s
    out_rate: float


def ask(settings: AmqpSettings, timeout_s: float = TIMEOUT_S) -> dict[str, QueueFacts]:
    """By queue. AMQPError, with what to do, when it does not answer as it should."""
    queues = _get(settings, f"/api/queues/{quote(settings.vhost, safe='')}?columns={_COLUMNS}", timeout_s)
    try:
        return {queue["name"]: _facts(queue) for queue in queues}
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise AMQPError(f"{_place(settings)} answers what the management API does not; is it one?") from e


def _facts(queue: Mapping[str, Any]) -> QueueFacts:
    stats = queue.get("message_stats", {})
    rates = [float(stats.get(f"{name}_details", {}).get("rate", 0.0)) for name in ("publish", "deliver_get")]
    return QueueFacts(int(queue.get("messages_unacknowledged", 0)), *rates)


def _get(settings: AmqpSettings, path: str, timeout_s: float) -> Any:
    url = urlsplit(settings.management)
    user = unquote(url.username) if url.username else settings.username
    password = unquote(url.password) if url.password else settings.password
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    address = f"{url.scheme}://{url.hostname}{f':{url.port}' if url.port else ''}{url.path}{path}"
    request = urllib.request.Request(address, headers={"Authorization": f"Basic {token}"})  # noqa: S310
    context = ssl.create_default_context(cafile=settings.tls_ca) if url.scheme == "https" else None
    try:
        with urllib.request.urlopen(request, timeout=timeout_s, context=context) as answer:  # noqa: S310
            return msgspec.json.decode(answer.read())
    except urllib.error.HTTPError as e:
        e.close()
        if e.code in (401, 403):
            raise AMQPError(
                f"{_place(settings)} refuses {user}; allow it: rabbitmqctl set_user_tags {user} management"
            ) from e
        raise AMQPError(f"{_place(settings)} answers with status {e.code} to {path.partition('?')[0]}") from e
    except (OSError, ValueError) as e:  # URLError is one, and so is what is no JSON
        reason = getattr(e, "reason", e)
        raise AMQPError(f"{_place(settings)} does not answer: {reason}") from e


def _place(settings: AmqpSettings) -> str:
    url = urlsplit(settings.management)
    return f"the management API at {url.scheme}://{url.hostname}{f':{url.port}' if url.port else ''}"
