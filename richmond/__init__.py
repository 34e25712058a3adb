"""Richmond connects USSD and SMS gateways to worker processes over RabbitMQ."""

__version__ = "0.1.0"
