"""What went wrong with RabbitMQ, in an operator's words and with the remedy. No I/O, never a password."""

from __future__ import annotations

import re
import shlex
import socket
import ssl

from amqpstorm.exception import AMQPChannelError
from amqpstorm.exception import AMQPError as StormError

from richmond.amqp.connection import NotAMQP
from richmond.errors import AMQPError, AMQPMismatch, AMQPRefused, AMQPUnreachable
from richmond.settings import AmqpSettings


def explain(error: Exception, settings: AmqpSettings) -> AMQPError:
    """The error to show and to raise."""
    if isinstance(error, AMQPError):
        return error
    if isinstance(error, StormError) and error.error_code:
        return _said_no(error.error_code, str(error), settings)
    return AMQPUnreachable(_unreachable(error, settings))


def _unreachable(error: Exception, settings: AmqpSettings) -> str:
    where = f"{settings.host}:{settings.port}"
    if isinstance(error, socket.gaierror):
        return f"the host name {settings.host} cannot be resolved ({error.strerror}): check [amqp] host"
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens on {where}: is RabbitMQ running?"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {where} is not trusted ({error.verify_message}): check [amqp] tls-ca and host"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with {where} ({error.strerror or error}): is this RabbitMQ's TLS port (5671)?"
    if isinstance(error, TimeoutError):
        return f"{where} does not answer: is RabbitMQ frozen, or a firewall in the way? ({error})"
    if isinstance(error, NotAMQP):
        return f"{where} does not speak AMQP 0-9-1: check [amqp] port and tls"
    if isinstance(error, OSError) and error.filename:
        return f"cannot read {error.filename}: {error.strerror}; check [amqp] tls-ca, tls-cert and tls-key"
    if isinstance(error, AMQPChannelError):
        return f"RabbitMQ at {where} does not answer: {error}"
    return f"the connection to RabbitMQ at {where} broke: {error}"


def _said_no(code: int, text: str, settings: AmqpSettings) -> AMQPError:
    where = f"{settings.host}:{settings.port}"
    user, vhost = shlex.quote(settings.username), shlex.quote(settings.vhost)
    if (code == 403 and "Login was refused" in text) or "user can only log in via localhost" in text:
        return AMQPRefused(
            f"RabbitMQ at {where} refuses user {settings.username} or its password: "
            f"rabbitmqctl add_user {user} PASSWORD, or rabbitmqctl change_password {user} PASSWORD"
        )
    if code == 530 and "not found" in text:
        return AMQPRefused(f"virtual host {settings.vhost} does not exist: rabbitmqctl add_vhost {vhost}")
    if code == 530 and "limit (" in text:
        return AMQPRefused(f"RabbitMQ at {where} takes no more connections: {text}")
    if code in (403, 530) and "refused for user" in text:
        return AMQPRefused(
            f"user {settings.username} has no permission in virtual host {settings.vhost}: "
            f"rabbitmqctl set_permissions -p {vhost} {user} '.*' '.*' '.*' ({text})"
        )
    if code == 406:
        return _mismatch(text, vhost)
    if code == 320:
        return AMQPUnreachable(f"RabbitMQ at {where} was stopped ({text})")
    return AMQPRefused(f"RabbitMQ at {where} refused: {text}")


def _mismatch(text: str, vhost: str) -> AMQPError:
    """`vhost`: quoted for a shell."""
    found = re.search(r"inequivalent arg '([^']*)' for (queue|exchange) '([^']*)'", text)
    if found is None:
        return AMQPMismatch(f"RabbitMQ refused: {text}")
    argument, kind, name = found.groups()
    if kind == "queue":
        remedy = f"rabbitmqctl -p {vhost} delete_queue {shlex.quote(name)}"
    else:  # rabbitmqctl has no command for it
        remedy = f"delete it in RabbitMQ's management page, or: rabbitmqadmin -V {vhost} delete exchange name={name}"
    return AMQPMismatch(f"{kind} {name} exists with other arguments ({argument}): {remedy}")
