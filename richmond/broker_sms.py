"""What becomes of an SMS, or of all else from a worker that is no USSD reply: lines, or a reason why not. No I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence

from richmond.broker_refusal import Refused
from richmond.errors import SSMIUsageError
from richmond.messages import LookUpImsi, SendBinarySms, SendMms, SendSms, SendWapPush
from richmond.settings import SsmiSettings
from richmond.ssmi import codec
from richmond.ssmi.codec import Command, encode
from richmond.ssmi.pages import sms_parts
from richmond.ssmi.text import fit, sms_fits

Outgoing = SendSms | SendBinarySms | SendWapPush | SendMms | LookUpImsi

REPORTED = (SendSms, SendBinarySms)  # the gateway says what becomes of these


def parts(message: Outgoing, account: SsmiSettings) -> tuple[Sequence[str], int] | Refused:
    """The texts of an SMS, one of it if it is not split, and how many characters were replaced. Else one, empty."""
    if message.account is not None and message.account != account.name:
        return Refused("wrong-account", f"this is the send queue of account {account.name}")
    if not isinstance(message, SendSms):
        return ("",), 0
    text, replaced = fit(message.message, account.encoding)
    if sms_fits(text):
        return (text,), replaced
    if message.long == "refuse":
        return Refused("too-long", "no SMS holds the text, and it is not to be split")
    return sms_parts(text), replaced


def lines(
    message: Outgoing, texts: Sequence[str], account: SsmiSettings, wall: float, sequence: str = ""
) -> list[bytes] | Refused:
    """`wall`: now, Unix seconds. `sequence`: of a look-up."""
    minutes = 0
    if isinstance(message, REPORTED) and message.validity:
        age_s = max(0.0, wall - message.created) if message.created is not None else 0.0
        minutes = math.ceil(message.validity - age_s / 60)
        if minutes <= 0:
            return Refused("expired", f"it was valid for {message.validity} min and is {age_s / 60:.0f} min old")
    try:
        return [encode(command, account.encoding) for command in _commands(message, texts, str(minutes), sequence)]
    except SSMIUsageError as e:
        return Refused(e.reason, e.detail)


def number(msisdn: str) -> str:
    """As it is on the wire: digits only."""
    return msisdn.removeprefix("+")


def _commands(message: Outgoing, texts: Sequence[str], validity: str, sequence: str) -> list[Command]:
    to = number(message.msisdn)
    match message:
        case SendSms():
            return [codec.SendSms(validity, to, text) for text in texts]
        case SendBinarySms():
            return [codec.SendBinarySms(validity, to, message.pid, message.coding, message.hex_msg.lower())]
        case SendWapPush():
            return [codec.SendWapPush(to, message.subject, message.url)]
        case SendMms():
            return [codec.SendMms(to, message.subject, message.name, message.content.lower())]
        case LookUpImsi():
            return [codec.ImsiLookup(sequence, to, message.imsi)]
