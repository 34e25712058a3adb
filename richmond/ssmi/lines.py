"""What an SSMI line says, as frozen values: one class for each id and direction. No I/O.

Every field is the string that was on the wire, in wire order; `codec` makes and writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class UssdType(StrEnum):
    NEW = "1"
    EXISTING = "2"
    END = "3"
    TIMEOUT = "4"
    REDIRECT = "5"
    NETWORK = "6"


# ---- gateway to client ----


@dataclass(frozen=True, slots=True)
class Seq:
    """The sequence that a submitted SMS got."""

    msisdn: str
    sequence: str


@dataclass(frozen=True, slots=True)
class Ack:
    """1 login accepted, 2 link check answered."""

    ack_type: str


@dataclass(frozen=True, slots=True)
class Nack:
    """1 bad user name or password, 2 unknown message type, 3 could not parse, 4 account suspended."""

    nack_type: str


@dataclass(frozen=True, slots=True)
class MoSms:
    msisdn: str
    sequence: str
    message: str


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """0 delivered, 1 expired, 2 SIM full, 3 barred, 4 invalid address, 5 blacklisted; else kept as it came."""

    msisdn: str
    sequence: str
    ret_code: str


@dataclass(frozen=True, slots=True)
class FreeForm:
    text: str


@dataclass(frozen=True, slots=True)
class BinaryMo:
    msisdn: str
    sequence: str
    pid: str
    coding: str
    hex_msg: str


@dataclass(frozen=True, slots=True)
class PremiumMo:
    msisdn: str
    sequence: str
    destination: str
    message: str


@dataclass(frozen=True, slots=True)
class PremiumBinaryMo:
    msisdn: str
    sequence: str
    pid: str
    coding: str
    destination: str
    hex_msg: str


@dataclass(frozen=True, slots=True)
class Ussd:
    msisdn: str
    ussd_type: str
    phase: str
    message: str


@dataclass(frozen=True, slots=True)
class ExtendedUssd:
    """`genfields`: at least five, by position; a surplus follows."""

    msisdn: str
    ussd_type: str
    phase: str
    genfields: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class RemoteLogout:
    """Another client, at that address, has logged in with this account."""

    ip: str


@dataclass(frozen=True, slots=True)
class ImsiReply:
    sequence: str
    msisdn: str
    imsi: str
    spid: str


# ---- client to gateway ----


@dataclass(frozen=True, slots=True)
class Login:
    username: str
    password: str


@dataclass(frozen=True, slots=True)
class SendSms:
    """`validity`: minutes; 0 is the gateway's default of a week."""

    validity: str
    msisdn: str
    message: str


@dataclass(frozen=True, slots=True)
class LinkCheck:
    pass


@dataclass(frozen=True, slots=True)
class SendBinarySms:
    validity: str
    msisdn: str
    pid: str
    coding: str
    hex_msg: str


@dataclass(frozen=True, slots=True)
class Logout:
    pass


@dataclass(frozen=True, slots=True)
class SendUssd:
    msisdn: str
    ussd_type: str
    message: str


@dataclass(frozen=True, slots=True)
class SendMms:
    """`content`: hex."""

    msisdn: str
    subject: str
    name: str
    content: str


@dataclass(frozen=True, slots=True)
class SendWapPush:
    msisdn: str
    subject: str
    url: str


@dataclass(frozen=True, slots=True)
class SendExtendedUssd:
    msisdn: str
    ussd_type: str
    genfields: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class ImsiLookup:
    """`imsi` may be empty."""

    sequence: str
    msisdn: str
    imsi: str


# ---- both directions ----


@dataclass(frozen=True, slots=True)
class Unknown:
    """A decimal id that this direction has no form for; the fields are split at every comma, not understood."""

    id: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ignored:
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
