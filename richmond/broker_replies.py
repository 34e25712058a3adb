"""What becomes of a worker's reply: a line for the gateway, or a reason why not. No I/O."""

from __future__ import annotations

import msgspec

from richmond import messages
from richmond.broker_refusal import Refused
from richmond.broker_sms import Outgoing
from richmond.errors import MessageError, SSMIUsageError
from richmond.messages import UssdReply
from richmond.routing import Routes
from richmond.settings import Settings, SsmiSettings
from richmond.ssmi.codec import SendExtendedUssd, SendUssd, UssdType, encode
from richmond.ssmi.pages import cut, pages
from richmond.ssmi.sessions import Pages, Session, SessionTable
from richmond.ssmi.text import fit, ussd_fits

MORE_TEXT = "# More"  # where no class says otherwise

_NEW, _NETWORK, _REDIRECT = str(UssdType.NEW), str(UssdType.NETWORK), str(UssdType.REDIRECT)
_EXISTING, _END = str(UssdType.EXISTING), str(UssdType.END)


class Line(msgspec.Struct, frozen=True):
    """`ended`: the session that it ends, open again should the line not get there. `replaced`: characters.

    `asked`: when the message came that it answers, monotonic; 0: it answers none, or is not the first answer.
    """

    data: bytes
    msisdn: str
    ended: Session | None
    replaced: int
    too_long: bool
    asked: float = 0.0


class Replies:
    """Of one account."""

    def __init__(self, settings: Settings, account: SsmiSettings, sessions: SessionTable) -> None:
        self._sessions = sessions
        self.configure(settings, account)

    def configure(self, settings: Settings, account: SsmiSettings) -> None:
        self._account = account
        self._encoding = account.encoding
        self._routes = Routes(settings.workers, settings.amqp)
        self._more_texts = {worker.name: worker.more_text for worker in settings.workers}

    def decide(self, body: bytes, now: float) -> Line | Refused | Outgoing:
        """Later replies of the same burst are judged as if this one had been sent already."""
        sessions, rest = self._sessions, None
        try:
            reply = messages.decode_outbound(body)
            if type(reply) is not UssdReply:
                return reply  # type: ignore[return-value]
            msisdn, ussd_type, genfields = reply.msisdn, reply.ussd_type, reply.genfields
            # What begins a session needs none: type 6 on 110, type 1 on 120.
            begins = ussd_type == (_NETWORK if genfields is None else _NEW)
            if not msisdn:
                return Refused("no-msisdn", "msisdn is empty")
            if reply.account is not None and reply.account != self._account.name:
                return Refused("wrong-account", f"this is the send queue of account {self._account.name}")
            if not begins:
                refusal = sessions.refusal(msisdn, reply.session, now)
                if refusal is not None:
                    return Refused(refusal, "the session that it answers is not open any more")
            message, replaced = fit(reply.message, self._encoding)
            too_long = not ussd_fits(message) and ussd_type != _REDIRECT
            if too_long and reply.long == "refuse":
                return Refused("too-long", "no USSD string holds the text")
            if too_long and reply.long == "cut":
                message = cut(message)
            elif too_long:
                message, *texts = pages(message, self._more_text(msisdn))
                if texts:
                    last = ussd_type if ussd_type == _END else _EXISTING
                    rest = Pages(tuple(texts), last, None if genfields is None else tuple(genfields))
                    ussd_type = _EXISTING if ussd_type == _END else ussd_type
            command = (
                SendUssd(msisdn, ussd_type, message)
                if genfields is None
                else SendExtendedUssd(msisdn, ussd_type, tuple(genfields), message)
            )
            data = encode(command, self._encoding)
        except (MessageError, SSMIUsageError) as e:
            return Refused(e.reason, e.detail)
        asked = sessions.asked(msisdn)
        ended = sessions.replied(msisdn, ussd_type, now)
        if rest is not None:
            sessions.keep_pages(msisdn, None, rest)
        return Line(data, msisdn, ended, replaced, too_long, asked)

    def _more_text(self, msisdn: str) -> str:
        """Of the class that the subscriber talks with."""
        route = self._routes.ussd(self._sessions.code(msisdn), self._account.name)
        return self._more_texts.get(route.worker, MORE_TEXT) if route is not None else MORE_TEXT
