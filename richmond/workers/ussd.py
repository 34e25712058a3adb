"""USSDWorker: one method for each thing that happens in a USSD session. And EchoWorker, to try it."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from richmond import log, messages
from richmond.errors import MessageError
from richmond.workers.base import RichmondWorker

logger = logging.getLogger(__name__)


class SessionType:
    """`ussd_type` as it is on the wire."""

    new = "1"
    existing = "2"
    end = "3"
    timeout = "4"


_HANDLERS = {
    SessionType.new: "new_ussd_session",
    SessionType.existing: "existing_ussd_session",
    SessionType.end: "end_ussd_session",
    SessionType.timeout: "timed_out_ussd_session",
}


class USSDWorker(RichmondWorker):
    """Talks with subscribers. A subclass overrides the handlers that it cares for.

    Handlers answer with `reply`. What they know of a subscriber they must keep outside: the next message of the same
    session may come to another process.
    """

    def new_ussd_session(self, msisdn: str, message: str) -> None:
        """A subscriber has dialled; `message` is the code, such as *120*663#."""
        self.reply(msisdn, "so long and thanks for all the fish", SessionType.end)

    def existing_ussd_session(self, msisdn: str, message: str) -> None:
        """The subscriber has answered the last reply."""
        logger.warning("no answer for %s: %s has no existing_ussd_session", log.mask(msisdn), type(self).__name__)

    def timed_out_ussd_session(self, msisdn: str, message: str) -> None:
        """The subscriber did not answer in time: the session is over."""
        logger.info("the session of %s has timed out", log.mask(msisdn))

    def end_ussd_session(self, msisdn: str, message: str) -> None:
        """The subscriber has hung up: the session is over."""
        logger.info("%s has ended the session", log.mask(msisdn))

    def reply(self, msisdn: str, message: str, type: str = SessionType.existing) -> None:
        """Send a text to the subscriber, and keep the session open (`SessionType.existing`) or end it (`.end`).

        An answer to the message in hand can only reach the session that it came from: it carries its token.
        """
        data = {"msisdn": msisdn, "message": message, "ussd_type": type}
        asked = self._in_hand
        if asked is not None and asked.get("msisdn") == msisdn:
            if asked.get("session"):
                data["session"] = asked["session"]
            if asked.get("id"):
                data["in_reply_to"] = asked["id"]
        self.publish(data)

    def consume(self, data: dict[str, Any]) -> None:
        """Call the handler for this kind of message."""
        getattr(self, _HANDLERS[data["ussd_type"]])(data["msisdn"], data["message"])

    def _decode(self, body: bytes) -> dict[str, Any]:
        data = super()._decode(body)
        try:
            message = msgspec.convert(data, messages.UssdMessage)
        except msgspec.ValidationError as e:
            raise MessageError("invalid-message", str(e)) from None
        if message.ussd_type not in _HANDLERS:
            raise MessageError("unknown-ussd-type")
        return data


class EchoWorker(USSDWorker):
    """Says what the subscriber said, until it is 0."""

    def new_ussd_session(self, msisdn: str, message: str) -> None:
        self.reply(
            msisdn,
            "Hello, this is an echo service for testing. Reply with whatever. Reply '0' to end session.",
            SessionType.existing,
        )

    def existing_ussd_session(self, msisdn: str, message: str) -> None:
        if message == "0":
            self.reply(msisdn, "quitting, goodbye!", SessionType.end)
        else:
            self.reply(msisdn, message, SessionType.existing)
