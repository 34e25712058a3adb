"""Settings of [amqp] for tests."""

from richmond.settings import AmqpSettings


def amqp_settings(**changes) -> AmqpSettings:
    values = {
        "host": "127.0.0.1",
        "port": 5672,
        "username": "guest",
        "password": "guest",
        "vhost": "/",
        "exchange": "richmond",
        "send_queue": "richmond.send",
        "send_routing_key": "ssmi.send",
        "receive_queue": "richmond.receive",
        "receive_routing_key": "ssmi.receive",
        "events_exchange": "richmond.events",
        "dead_queue": "richmond.dead",
        "prefetch": 100,
        "heartbeat_s": 60,
        "tls": False,
        "tls_ca": None,
        "tls_cert": None,
        "tls_key": None,
        "connect_timeout_s": 5.0,
        "reconnect_max_s": 1.0,
    }
    return AmqpSettings(**values | changes)
