"""What an operator reads when RabbitMQ cannot be used."""

import socket
import ssl

import pytest
from amqp_settings import amqp_settings
from amqpstorm.exception import AMQPChannelError, AMQPConnectionError

from richmond.amqp.connection import NotAMQP
from richmond.amqp.explain import explain
from richmond.errors import AMQPMismatch, AMQPRefused, AMQPUnreachable

SETTINGS = amqp_settings(host="mq.example", port=5672, username="richmond", password="hunter2", vhost="/richmond")
LOGIN = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."

CASES = [
    (
        ConnectionRefusedError(111, "Connection refused"),
        AMQPUnreachable,
        "nobody listens on mq.example:5672: is RabbitMQ running?",
    ),
    (socket.gaierror(-2, "Name or service not known"), AMQPUnreachable, "the host name mq.example cannot be resolved"),
    (TimeoutError("timed out"), AMQPUnreachable, "mq.example:5672 does not answer"),
    (ConnectionResetError(104, "reset"), AMQPUnreachable, "the connection to RabbitMQ at mq.example:5672 broke"),
    (NotAMQP(), AMQPUnreachable, "mq.example:5672 does not speak AMQP 0-9-1: check [amqp] port"),
    (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), AMQPUnreachable, "TLS port (5671)"),
    (FileNotFoundError(2, "No such file", "/etc/ca.pem"), AMQPUnreachable, "cannot read /etc/ca.pem"),
    (AMQPChannelError("rpc requests took too long"), AMQPUnreachable, "does not answer"),
    (AMQPConnectionError("CONNECTION_FORCED - shutdown", reply_code=320), AMQPUnreachable, "was stopped"),
    (AMQPConnectionError(LOGIN, reply_code=403), AMQPRefused, "rabbitmqctl change_password richmond PASSWORD"),
    (
        AMQPConnectionError("NOT_ALLOWED - vhost /richmond not found", reply_code=530),
        AMQPRefused,
        "virtual host /richmond does not exist: rabbitmqctl add_vhost /richmond",
    ),
    (
        AMQPConnectionError("NOT_ALLOWED - access to vhost '/richmond' refused for user 'richmond'", reply_code=530),
        AMQPRefused,
        "rabbitmqctl set_permissions -p /richmond richmond '.*' '.*' '.*'",
    ),
    (
        AMQPChannelError("ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'u'", reply_code=403),
        AMQPRefused,
        "rabbitmqctl set_permissions -p /richmond richmond '.*' '.*' '.*'",
    ),
    (
        AMQPConnectionError(
            "NOT_ALLOWED - access to vhost '/' refused for user 'u': connection limit (1) is reached", reply_code=530
        ),
        AMQPRefused,
        "takes no more connections",
    ),
    (
        AMQPChannelError(
            "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'richmond.receive' in vhost '/richmond': "
            "received none but current is the value '1' of type 'signedint'",
            reply_code=406,
        ),
        AMQPMismatch,
        "(x-message-ttl): rabbitmqctl -p /richmond delete_queue richmond.receive",
    ),
    (
        AMQPChannelError(
            "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'richmond' in vhost '/'", reply_code=406
        ),
        AMQPMismatch,
        "exchange richmond exists with other arguments (type)",
    ),
]


@pytest.mark.parametrize(("error", "kind", "text"), CASES)
def test_the_text_says_what_happened_and_what_to_do(error, kind, text):
    explained = explain(error, SETTINGS)
    assert type(explained) is kind
    assert text in str(explained)
    assert "hunter2" not in str(explained)


def test_names_are_quoted_for_the_shell():
    settings = amqp_settings(vhost="/our vhost", username="o'neill")
    error = AMQPConnectionError("NOT_ALLOWED - vhost /our vhost not found", reply_code=530)
    assert str(explain(error, settings)).endswith("rabbitmqctl add_vhost '/our vhost'")
