"""What becomes of a worker's reply: a line for the gateway, or a reason why not. No I/O."""

from __future__ import annotations

import msgspec

from richmond import messages
from richmond.broker_refusal import Refused
from richmond.broker_sms import Outgoing
from richmond.errors import MessageError, SSMIUsageError
from richmond.messages import UssdReply
from richmond.settings import SsmiSettings
from richmond.ssmi.codec import SendExtendedUssd, SendUssd, UssdType, encode
from richmond.ssmi.pages import cut
from richmond.ssmi.sessions import Session, SessionTable
from richmond.ssmi.text import fit, ussd_fits

_NEW, _NETWORK, _REDIRECT = str(UssdType.NEW), str(UssdType.NETWORK), str(UssdType.REDIRECT)


class Line(msgspec.Struct, frozen=True):
    """`ended`: the session that it ends, open again should the line not get there. `replaced`: characters."""

    data: bytes
    msisdn: str
    ended: Session | None
    replaced: int
    too_long: bool


def decide(body: bytes, sessions: SessionTable, account: SsmiSettings, now: float) -> Line | Refused | Outgoing:
    """Later replies of the same burst are judged as if this one had been sent already."""
    encoding = account.encoding
    try:
        reply = messages.decode_outbound(body)
        if type(reply) is not UssdReply:
            return reply  # type: ignore[return-value]
        # What begins a session needs none: type 6 on 110, type 1 on 120.
        begins = reply.ussd_type == (_NETWORK if reply.genfields is None else _NEW)
        if not reply.msisdn:
            return Refused("no-msisdn", "msisdn is empty")
        if reply.account is not None and reply.account != account.name:
            return Refused("wrong-account", f"this is the send queue of account {account.name}")
        if not begins:
            refusal = sessions.refusal(reply.msisdn, reply.session, now)
            if refusal is not None:
                return Refused(refusal, "the session that it answers is not open any more")
        message, replaced = fit(reply.message, encoding)
        too_long = not ussd_fits(message) and reply.ussd_type != _REDIRECT
        if too_long:
            if reply.long == "refuse":
                return Refused("too-long", "no USSD string holds the text")
            message = cut(message)
        command = (
            SendUssd(reply.msisdn, reply.ussd_type, message)
            if reply.genfields is None
            else SendExtendedUssd(reply.msisdn, reply.ussd_type, tuple(reply.genfields), message)
        )
        data = encode(command, encoding)
    except (MessageError, SSMIUsageError) as e:
        return Refused(e.reason, str(e))
    ended = sessions.replied(reply.msisdn, reply.ussd_type, now)
    return Line(data, reply.msisdn, ended, replaced, too_long)
