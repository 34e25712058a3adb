"""RichmondWorker: what every worker class is made from. The contract is that of 2010.

Site code imports this; nothing here knows of queues or processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from msgspec import ValidationError, convert

from richmond import messages
from richmond.errors import MessageError, UsageError
from richmond.messages import DeliveryReport, ImsiReply, Sequence, UssdReply

# A class takes a kind if it has the method.
_HANDLERS: Mapping[str, str] = {
    "ussd": "new_ussd_session",
    "sms": "received_sms",
    "premium-sms": "received_sms",
    "binary-sms": "received_sms",
    "premium-binary-sms": "received_sms",
    "delivery-report": "delivery_report",
    "sequence": "sms_accepted",
    "imsi-reply": "imsi_found",
}


def _nowhere(data: dict[str, Any]) -> None:
    raise UsageError("this worker is not connected: publish() works where Richmond runs it")


class RichmondWorker:
    """Takes messages from a queue, one after another, and publishes others.

    A subclass overrides `consume`. An instance lives as long as its process; it is made after the fork, without
    arguments, and handles one message at a time, in the main thread. `consume` may take its time and may block. When
    it returns and all that it published is safe at RabbitMQ, its message is acknowledged. If it raises, the message
    goes to the dead-letter queue.
    """

    options: Mapping[str, str] = MappingProxyType({})  # the keys in the class's section that Richmond does not know
    _outlet: Callable[[dict[str, Any]], None] = staticmethod(_nowhere)
    _in_hand: dict[str, Any] | None = None

    def setup_worker(self) -> None:
        """Called once, before the first message: open what must not be shared between processes, a database say."""

    def teardown_worker(self) -> None:
        """Called once, after the last message, when the process ends as planned."""

    def consume(self, data: dict[str, Any]) -> None:
        """Handle one message: a JSON object, as a dict."""
        handler = getattr(self, _HANDLERS.get(data.get("kind", ""), ""), None)
        if handler is None:
            raise NotImplementedError(f"{type(self).__name__} does not override consume(data)")
        handler(messages.inbound(data))

    def publish(self, data: dict[str, Any]) -> None:
        """Send something at once. A USSD reply: `msisdn`, `message`, `ussd_type`, all strings; another `kind`: what
        docs/messages.md says. Further keys go along.

        MessageError, saying which key is wrong, for what the broker could not send.
        """
        try:
            convert(data, UssdReply)
        except ValidationError as e:
            if not isinstance(data, dict) or data.get("kind", "ussd") == "ussd":
                raise MessageError("invalid-reply", str(e)) from None
            messages.outbound(data)
        self._outlet(data)

    # Sending. Each returns the id that comes back with what the gateway says of it. `account`: the one that the
    # message in hand came by, unless given.

    def send_sms(
        self, msisdn: str, message: str, validity: int = 0, *, long: str | None = None, account: str | None = None
    ) -> str:
        """`validity`: minutes, 0 the gateway's default. `long`: split or refuse a long text; None: as the ini says."""
        return _send(self, "sms", msisdn, account, message=message, validity=validity, long=long)

    def send_binary_sms(
        self,
        msisdn: str,
        hex_msg: str | bytes,
        pid: str = "0",
        coding: str = "0",
        validity: int = 0,
        *,
        account: str | None = None,
    ) -> str:
        """`coding`: "0" 7-bit, "246" 8-bit; `pid`: "0" standard, "15" enhanced. At most 140 bytes."""
        return _send(
            self, "binary-sms", msisdn, account, hex_msg=_hex(hex_msg), pid=pid, coding=coding, validity=validity
        )

    def send_wap_push(self, msisdn: str, subject: str, url: str, *, account: str | None = None) -> str:
        return _send(self, "wap-push", msisdn, account, subject=subject, url=url)

    def send_mms(
        self, msisdn: str, subject: str, name: str, content: str | bytes, *, account: str | None = None
    ) -> str:
        """`name`: of the file; `content`: as bytes, or in hex."""
        return _send(self, "mms", msisdn, account, subject=subject, name=name, content=_hex(content))

    def look_up_imsi(self, msisdn: str, *, account: str | None = None) -> str:
        """`imsi_found` gets the answer."""
        return _send(self, "imsi-lookup", msisdn, account)

    # What the gateway says of it.

    def sms_accepted(self, sequence: Sequence) -> None:
        """The gateway has given a number to the SMS `sequence.sms_id`; it does not do so for every one."""

    def delivery_report(self, report: DeliveryReport) -> None:
        """What became of the SMS `report.sms_id`, or of `report.part` of it: `report.status`."""

    def imsi_found(self, reply: ImsiReply) -> None:
        """The answer to the look-up `reply.lookup_id`."""

    # The runtime's side.

    def _decode(self, body: bytes) -> dict[str, Any]:
        """MessageError for what this class cannot take."""
        return messages.decode_object(body)

    def _handle(self, data: dict[str, Any]) -> None:
        self._in_hand = data
        try:
            self.consume(data)
        finally:
            self._in_hand = None


# Functions, not methods: a site's class may have methods of these names.


def check(worker: RichmondWorker, data: dict[str, Any]) -> None:
    """MessageError unless it is a message of a kind that the worker has a method for."""
    messages.inbound(data)
    kind = data.get("kind", "ussd")
    if not hasattr(worker, _HANDLERS.get(kind, "")):
        raise MessageError("unknown-kind", f"{type(worker).__name__} has no method for {kind}")


def _send(worker: RichmondWorker, kind: str, msisdn: str, account: str | None, **fields: str | int | None) -> str:
    id = uuid4().hex
    data = {"kind": kind, "msisdn": msisdn, "id": id, "account": account, **fields}
    asked = worker._in_hand
    if asked is not None and asked.get("msisdn") == msisdn:
        data["in_reply_to"] = asked.get("id")
    worker.publish({key: value for key, value in data.items() if value is not None})
    return id


def _hex(content: str | bytes) -> str:
    return content.hex() if isinstance(content, bytes) else content
