"""USSDWorker: one method for each thing that happens in a USSD session. And EchoWorker, to try it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import get_ident
from typing import Any, Literal

from richmond import log, messages
from richmond.errors import MessageError
from richmond.workers.base import RichmondWorker, check

logger = logging.getLogger(__name__)

Long = Literal["cut", "refuse", "pages"]


class SessionType:
    """`ussd_type` as it is on the wire."""

    new = "1"
    existing = "2"
    end = "3"
    timeout = "4"
    redirect = "5"
    network = "6"


_HANDLERS = {
    SessionType.new: "new_ussd_session",
    SessionType.existing: "existing_ussd_session",
    SessionType.end: "end_ussd_session",
    SessionType.timeout: "timed_out_ussd_session",
}

_STAMPS = (("session", "session"), ("in_reply_to", "id"), ("account", "account"))  # on a reply, and its message's key


class USSDWorker(RichmondWorker):
    """Talks with subscribers. A subclass overrides the handlers that it cares for.

    Handlers answer with `reply`. What they know of a subscriber they must keep outside: the next message of the same
    session may come to another process.
    """

    long_text: Long | None = None  # what becomes of a reply that no USSD string holds; None: what the ini says
    direct_dial = False  # whether what is dialled beyond a code with a final '*' is the first answers

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

    def reply(
        self,
        msisdn: str,
        message: str,
        type: str = SessionType.existing,
        long: Long | None = None,
        genfields: Sequence[str] | None = None,
    ) -> None:
        """Send a text to the subscriber, and keep the session open (`SessionType.existing`) or end it (`.end`).

        An answer to the message in hand can only reach the session that it came from: it carries its token.
        `long`: for this reply instead of `long_text`. `genfields` make it an extended reply.
        """
        asked = self._in_hand
        data: dict[str, Any]
        if asked is None or asked.get("msisdn") != msisdn:
            data = {"msisdn": msisdn, "message": message, "ussd_type": type}
        else:
            try:  # at once: a dict that grows takes a tenth of the time that a reply takes
                data = {
                    "msisdn": msisdn,
                    "message": message,
                    "ussd_type": type,
                    "session": asked["session"],
                    "in_reply_to": asked["id"],
                    "account": asked["account"],
                }
            except KeyError:  # not from the broker
                data = {"msisdn": msisdn, "message": message, "ussd_type": type}
                data |= {key: asked[its] for key, its in _STAMPS if asked.get(its)}
        if long := long or self.long_text:
            data["long"] = long
        if genfields is not None:
            data["genfields"] = list(genfields)
        self.publish(data)

    def redirect(self, msisdn: str, code: str) -> None:
        """Hand the session over to another USSD code, such as *120*1#."""
        self.reply(msisdn, code, SessionType.redirect)

    def start_session(self, msisdn: str, message: str, *, account: str | None = None) -> None:
        """Open a session with a subscriber who has not dialled; the answer comes to `existing_ussd_session`.

        `account`: the one that the message in hand came by, unless given.
        """
        data = {"msisdn": msisdn, "message": message, "ussd_type": SessionType.network}
        if self.long_text:
            data["long"] = self.long_text
        if account:
            data["account"] = account
        self.publish(data)

    def consume(self, data: dict[str, Any]) -> None:
        """Call the handler for this kind of message."""
        if data.get("kind", "ussd") != "ussd":
            super().consume(data)
            return
        if "rest" in data and data["rest"] and self.direct_dial and data["ussd_type"] == SessionType.new:
            self._dial_directly(data)
            return
        getattr(self, _HANDLERS[data["ussd_type"]])(data["msisdn"], data["message"])

    def _dial_directly(self, data: dict[str, Any]) -> None:
        """Call the handlers as if each part had been answered to the reply before it; only the last reply goes out.

        A reply that ends the session, or hands it over, does so. Where a handler does not reply there is nothing to
        answer to: the rest of what was dialled is forgotten.
        """
        msisdn, code, answers = data["msisdn"], data["message"], data["rest"].split("*")
        outlet, thread = self._outlet, get_ident()
        replies: list[dict[str, Any]] = []

        def hold(reply: dict[str, Any]) -> None:
            if reply["msisdn"] == msisdn and reply.get("kind", "ussd") == "ussd" and get_ident() == thread:
                replies.append(reply)
            else:
                outlet(reply)

        self._outlet = hold
        try:
            self.new_ussd_session(msisdn, code)
            for answer in answers:
                if not replies or any(reply["ussd_type"] != SessionType.existing for reply in replies):
                    break
                replies.clear()
                self.existing_ussd_session(msisdn, answer)
        finally:
            self._outlet = outlet
        for reply in replies:
            outlet(reply)

    def _decode(self, body: bytes) -> dict[str, Any]:
        data = messages.decode_object(body)
        try:  # the keys that we use, as the broker writes them: in half the time that `check` takes
            if (
                data["kind"] == "ussd"
                and data["ussd_type"] in _HANDLERS
                and type(data["msisdn"]) is type(data["message"]) is type(data["ussd_phase"]) is str
                and type(data["session"]) is type(data["id"]) is type(data["account"]) is str
            ):
                return data
        except (KeyError, TypeError):
            pass
        check(self, data)
        if data.get("kind", "ussd") == "ussd" and data["ussd_type"] not in _HANDLERS:
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
