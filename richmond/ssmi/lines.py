"""What an SSMI line says, as frozen values: one class for each id and direction. No I/O.

msgspec makes them in a third of the time that a frozen dataclass takes: there is one for each line.

Every field is the string that was on the wire, in wire order; `codec` makes and writes them.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class UssdType(StrEnum):
    NEW = "1"
    EXISTING = "2"
    END = "3"
    TIMEOUT = "4"
    REDIRECT = "5"
    NETWORK = "6"


# ---- gateway to client ----


class Seq(msgspec.Struct, frozen=True, gc=False):
    """The sequence that a submitted SMS got."""

    msisdn: str
    sequence: str


class Ack(msgspec.Struct, frozen=True, gc=False):
    """1 login accepted, 2 link check answered."""

    ack_type: str


class Nack(msgspec.Struct, frozen=True, gc=False):
    """1 bad user name or password, 2 unknown message type, 3 could not parse, 4 account suspended."""

    nack_type: str


class MoSms(msgspec.Struct, frozen=True, gc=False):
    msisdn: str
    sequence: str
    message: str


class DeliveryReport(msgspec.Struct, frozen=True, gc=False):
    """0 delivered, 1 expired, 2 SIM full, 3 barred, 4 invalid address, 5 blacklisted; else kept as it came."""

    msisdn: str
    sequence: str
    ret_code: str


class FreeForm(msgspec.Struct, frozen=True, gc=False):
    text: str


class BinaryMo(msgspec.Struct, frozen=True, gc=False):
    msisdn: str
    sequence: str
    pid: str
    coding: str
    hex_msg: str


class PremiumMo(msgspec.Struct, frozen=True, gc=False):
    msisdn: str
    sequence: str
    destination: str
    message: str


class PremiumBinaryMo(msgspec.Struct, frozen=True, gc=False):
    msisdn: str
    sequence: str
    pid: str
    coding: str
    destination: str
    hex_msg: str


class Ussd(msgspec.Struct, frozen=True, gc=False):
    msisdn: str
    ussd_type: str
    phase: str
    message: str


class ExtendedUssd(msgspec.Struct, frozen=True, gc=False):
    """`genfields`: at least five, by position; a surplus follows."""

    msisdn: str
    ussd_type: str
    phase: str
    genfields: tuple[str, ...]
    message: str


class RemoteLogout(msgspec.Struct, frozen=True, gc=False):
    """Another client, at that address, has logged in with this account."""

    ip: str


class ImsiReply(msgspec.Struct, frozen=True, gc=False):
    sequence: str
    msisdn: str
    imsi: str
    spid: str


# ---- client to gateway ----


class Login(msgspec.Struct, frozen=True, gc=False):
    username: str
    password: str


class SendSms(msgspec.Struct, frozen=True, gc=False):
    """`validity`: minutes; 0 is the gateway's default of a week."""

    validity: str
    msisdn: str
    message: str


class LinkCheck(msgspec.Struct, frozen=True, gc=False):
    pass


class SendBinarySms(msgspec.Struct, frozen=True, gc=False):
    validity: str
    msisdn: str
    pid: str
    coding: str
    hex_msg: str


class Logout(msgspec.Struct, frozen=True, gc=False):
    pass


class SendUssd(msgspec.Struct, frozen=True, gc=False):
    msisdn: str
    ussd_type: str
    message: str


class SendMms(msgspec.Struct, frozen=True, gc=False):
    """`content`: hex."""

    msisdn: str
    subject: str
    name: str
    content: str


class SendWapPush(msgspec.Struct, frozen=True, gc=False):
    msisdn: str
    subject: str
    url: str


class SendExtendedUssd(msgspec.Struct, frozen=True, gc=False):
    msisdn: str
    ussd_type: str
    genfields: tuple[str, ...]
    message: str


class ImsiLookup(msgspec.Struct, frozen=True, gc=False):
    """`imsi` may be empty."""

    sequence: str
    msisdn: str
    imsi: str


# ---- both directions ----


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """A decimal id that this direction has no form for; the fields are split at every comma, not understood."""

    id: str
    fields: tuple[str, ...]


class Ignored(msgspec.Struct, frozen=True, gc=False):
    """What made no sense. `reason` is short and stable; `raw` the first EXCERPT_BYTES of the line."""

    reason: str
    raw: bytes


Event = (
    Seq
    | Ack
    | Nack
    | MoSms
    | DeliveryReport
    | FreeForm
    | BinaryMo
    | PremiumMo
    | PremiumBinaryMo
    | Ussd
    | ExtendedUssd
    | RemoteLogout
    | ImsiReply
    | Unknown
    | Ignored
)
Command = (
    Login
    | SendSms
    | LinkCheck
    | SendBinarySms
    | Logout
    | SendUssd
    | SendMms
    | SendWapPush
    | SendExtendedUssd
    | ImsiLookup
    | Unknown
    | Ignored
)
