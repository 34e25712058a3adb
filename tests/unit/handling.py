"""Messages for worker classes, and what these publish on them."""

import msgspec


def message(**changes):
    return {"msisdn": "27831112222", "ussd_type": "1", "ussd_phase": "2", "message": "*120*663#", **changes}


def from_broker(**changes):
    stamps = {"session": "token", "id": "message-1", "account": "bank", "code": "*120*663#", "received": 1790000000.5}
    return message(kind="ussd", **stamps) | changes


def handled(worker, data):
    """What the worker publishes on this message."""
    published = []
    worker._outlet = published.append
    worker._handle(worker._decode(msgspec.json.encode(data)))
    return published
