"""The JSON on the queues, as typed structs: one for each kind, in both directions. No I/O.

The keys of 2010 are unchanged and all strings; without `kind` it is USSD. Unknown keys are allowed and ignored.
docs/messages.md describes every kind for those who write workers in another language.

What cannot be used raises MessageError with reason `invalid-json`, `invalid-message` or `unknown-kind`, and the
field's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from richmond.errors import MessageError

MAX_TEXT = 10_000  # characters: a hundred SMS; what is longer is a mistake
MAX_VALIDITY = 4 * 7 * 24 * 60  # minutes
_MAX_CONTENT = 1_000_000  # hex digits of an MMS

# \Z: Python's $ also matches before a final line feed, which would end up in the line.
_MSISDN = r"^\+?[0-9]{1,15}\Z"
_IMSI = r"^[0-9]{0,15}\Z"
_OCTET = r"^(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\Z"
_BINARY = r"^(?:[0-9A-Fa-f]{2}){0,140}\Z"  # what one SMS holds
_PAIRS = r"^(?:[0-9A-Fa-f][0-9A-Fa-f])*\Z"
_FIELD = r"^[^\r\n,]*\Z"  # a comma would end it
_LINE = r"^[^\r\n]*\Z"
_KEY = r"^([ -~]{1,255}|.{1,63})\Z"  # AMQP: at most 255 bytes
_IN_WORDS = {  # for those who get the error
    _MSISDN: "1 to 15 digits, perhaps with a leading +",
    _IMSI: "up to 15 digits",
    _OCTET: "a string from 0 to 255",
    _BINARY: "an even number of hex digits, up to 280",
    _PAIRS: "an even number of hex digits",
    _FIELD: "a text without comma and line break",
    _LINE: "a text without line break",
    _KEY: "a routing key, 1 to 255 characters",
}
_Text = Annotated[str, Meta(max_length=MAX_TEXT)]
_Msisdn = Annotated[str, Meta(pattern=_MSISDN)]
_Imsi = Annotated[str, Meta(pattern=_IMSI)]
_Octet = Annotated[str, Meta(pattern=_OCTET)]
_Hex = Annotated[str, Meta(pattern=_BINARY)]
_Content = Annotated[str, Meta(pattern=_PAIRS, max_length=_MAX_CONTENT)]
_Name = Annotated[str, Meta(pattern=_FIELD, max_length=MAX_TEXT)]
_LastField = Annotated[str, Meta(pattern=_LINE, max_length=MAX_TEXT)]
_Validity = Annotated[int, Meta(ge=0, le=MAX_VALIDITY)]
_Id = Annotated[str, Meta(min_length=1, max_length=255)]
_RoutingKey = Annotated[str, Meta(pattern=_KEY)]

Status = Literal["delivered", "expired", "sim-full", "barred", "invalid-address", "blacklisted", "unknown"]
_STATUS: Mapping[str, Status] = {
    "0": "delivered",
    "1": "expired",
    "2": "sim-full",
    "3": "barred",
    "4": "invalid-address",
    "5": "blacklisted",
}


def delivery_status(ret_code: str) -> Status:
    """What the code of a delivery report (104) means."""
    return _STATUS.get(ret_code, "unknown")


# ---- from the gateway to a worker ----


class UssdMessage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="ussd"):
    """A subscriber has dialled, answered or hung up (110, 111)."""

    msisdn: str
    ussd_type: str  # 1 new, 2 existing, 3 end, 4 timeout
    ussd_phase: str  # 0 unknown, 1 one request and one answer, 2 dialogue
    message: str  # in a new session: the dialled code
    session: str | None = None  # token; a reply that carries it is refused once the session is over
    code: str | None = None  # the code that opened the session
    rest: str | None = None  # in a new session: what was dialled beyond a code with a final '*', "1*4"
    id: str | None = None  # unique for each message
    received: float | None = None  # Unix seconds
    account: str | None = None  # which [ssmi] section it came by
    genfields: list[str] | None = None  # of an extended message (111)


class _Inbound(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind"):
    id: str
    received: float
    account: str


class Sms(_Inbound, frozen=True, kw_only=True, tag="sms"):
    """From a handset (103)."""

    msisdn: str
    sequence: str
    message: str


class PremiumSms(_Inbound, frozen=True, kw_only=True, tag="premium-sms"):
    """From a handset to a short code (107)."""

    msisdn: str
    sequence: str
    destination: str
    message: str


class BinarySms(_Inbound, frozen=True, kw_only=True, tag="binary-sms"):
    """From a handset (106)."""

    msisdn: str
    sequence: str
    pid: str
    coding: str
    hex_msg: str


class PremiumBinarySms(_Inbound, frozen=True, kw_only=True, tag="premium-binary-sms"):
    """From a handset to a short code (108)."""

    msisdn: str
    sequence: str
    pid: str
    coding: str
    destination: str
    hex_msg: str


class DeliveryReport(_Inbound, frozen=True, kw_only=True, tag="delivery-report"):
    """What became of an SMS (104). `sms_id`: of the one that we sent; None if none is known by that sequence."""

    msisdn: str
    sequence: str
    ret_code: str
    status: Status
    sms_id: str | None = None
    part: int | None = None  # of an SMS that was sent in several: which one, from 1
    parts: int | None = None


class Sequence(_Inbound, frozen=True, kw_only=True, tag="sequence"):
    """The gateway has taken an SMS (100)."""

    msisdn: str
    sequence: str
    sms_id: str | None = None


class FreeForm(_Inbound, frozen=True, kw_only=True, tag="free-form"):
    """What the gateway's operator has to say (105)."""

    text: str


class ImsiReply(_Inbound, frozen=True, kw_only=True, tag="imsi-reply"):
    """The answer to a look-up (600). `lookup_id`: of the one that we asked."""

    sequence: str
    msisdn: str
    imsi: str
    spid: str
    lookup_id: str | None = None


class UnknownLine(_Inbound, frozen=True, kw_only=True, tag="unknown"):
    """A line whose id nobody has described; `fields` are split at every comma."""

    command: str
    fields: tuple[str, ...]


# ---- from a worker to the gateway ----


class UssdReply(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """To a subscriber with an open session (110, 120), or to open one. What its fields may hold, the codec says."""

    msisdn: str
    message: _Text
    ussd_type: str  # 2 existing, 3 end, 5 redirect, 6 network-initiated
    session: str | None = None
    in_reply_to: str | None = None  # id of the message that this answers
    genfields: list[str] | None = None  # makes it an extended reply (120)
    account: str | None = None
    long: Literal["cut", "refuse", "pages"] = "cut"  # what becomes of a text that no USSD string holds
    worker: str | None = None  # the class that wrote it
    kind: Literal["ussd"] = "ussd"  # no tag: what we write looks as in 2010


class _Outbound(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind"):
    msisdn: _Msisdn
    id: _Id | None = None  # comes back with what the gateway says of it; the broker makes one where it is missing
    account: str | None = None
    in_reply_to: str | None = None
    report_to: _RoutingKey | None = None  # where what the gateway says of it goes
    created: float | None = None  # Unix seconds; `validity` counts from it
    worker: str | None = None


class SendSms(_Outbound, frozen=True, kw_only=True, tag="sms"):
    """(2)"""

    message: _Text
    validity: _Validity = 0  # minutes; 0: the gateway's default, a week
    long: Literal["split", "refuse"] = "split"  # what becomes of a text that no SMS holds


class SendBinarySms(_Outbound, frozen=True, kw_only=True, tag="binary-sms"):
    """(4)"""

    hex_msg: _Hex
    pid: _Octet = "0"
    coding: _Octet = "0"
    validity: _Validity = 0


class SendWapPush(_Outbound, frozen=True, kw_only=True, tag="wap-push"):
    """(112)"""

    subject: _Name
    url: _LastField


class SendMms(_Outbound, frozen=True, kw_only=True, tag="mms"):
    """(111)"""

    subject: _Name
    name: _Name  # of the file
    content: _Content  # hex


class LookUpImsi(_Outbound, frozen=True, kw_only=True, tag="imsi-lookup"):
    """(600)"""

    imsi: _Imsi = ""


AnySms = Sms | PremiumSms | BinarySms | PremiumBinarySms
Inbound = UssdMessage | AnySms | DeliveryReport | Sequence | FreeForm | ImsiReply | UnknownLine
Outbound = UssdReply | SendSms | SendBinarySms | SendWapPush | SendMms | LookUpImsi

_INBOUND: dict[str, type[Inbound]] = {
    "ussd": UssdMessage,
    "sms": Sms,
    "premium-sms": PremiumSms,
    "binary-sms": BinarySms,
    "premium-binary-sms": PremiumBinarySms,
    "delivery-report": DeliveryReport,
    "sequence": Sequence,
    "free-form": FreeForm,
    "imsi-reply": ImsiReply,
    "unknown": UnknownLine,
}
_OUTBOUND: dict[str, type[Outbound]] = {
    "ussd": UssdReply,
    "sms": SendSms,
    "binary-sms": SendBinarySms,
    "wap-push": SendWapPush,
    "mms": SendMms,
    "imsi-lookup": LookUpImsi,
}


class _Kind(msgspec.Struct):
    kind: str = "ussd"


class _Writer(msgspec.Struct):
    worker: str = ""


_T = TypeVar("_T")
_Kinds = dict[str, type[_T]]

_encoder = msgspec.json.Encoder()
_decode_message = msgspec.json.Decoder(UssdMessage).decode
_decode_reply = msgspec.json.Decoder(UssdReply).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_kind_decoder = msgspec.json.Decoder(_Kind)
_decode_writer = msgspec.json.Decoder(_Writer).decode
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {
    struct: msgspec.json.Decoder(struct) for struct in (*_INBOUND.values(), *_OUTBOUND.values())
}

_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # and a ValidationError is a DecodeError


def encode(message: msgspec.Struct | dict[str, Any]) -> bytes:
    """JSON, UTF-8. MessageError if a value has no JSON form."""
    try:
        return _encoder.encode(message)
    except (TypeError, ValueError) as e:
        raise MessageError("not-json", str(e)) from e


def decode_inbound(body: bytes) -> Inbound:
    return _decode_kind(_INBOUND, body)


def decode_outbound(body: bytes) -> Outbound:
    try:
        return _decode_reply(body)  # nearly all are
    except _UNDECODABLE:
        return _decode_kind(_OUTBOUND, body)


def decode_message(body: bytes) -> UssdMessage:
    try:
        return _decode_message(body)
    except _UNDECODABLE as e:
        raise _refusal(e) from e


def decode_reply(body: bytes) -> UssdReply:
    try:
        return _decode_reply(body)
    except _UNDECODABLE as e:
        raise _refusal(e) from e


def writer(body: bytes) -> str:
    """The class that wrote it, as it says itself; empty where it does not, also of what is no message."""
    try:
        return _decode_writer(body).worker
    except _UNDECODABLE:
        return ""


def decode_object(body: bytes) -> dict[str, Any]:
    """Any JSON object: what `RichmondWorker.consume` gets."""
    try:
        return _decode_object(body)
    except _UNDECODABLE as e:
        raise _refusal(e) from e


def inbound(data: object) -> Inbound:
    """What an object decoded by `decode_object` says."""
    return _convert(_INBOUND, data)


def outbound(data: object) -> Outbound:
    """What a dict from a worker says."""
    return _convert(_OUTBOUND, data)


def _refusal(error: Exception) -> MessageError:
    """Its detail never quotes the text of the message."""
    if isinstance(error, msgspec.ValidationError):
        return MessageError("invalid-message", _short(error))
    if isinstance(error, RecursionError):  # a thousand brackets
        return MessageError("invalid-json", "nested too deeply")
    return MessageError("invalid-json", _short(error))


def _short(error: Exception) -> str:
    """msgspec quotes a wrong choice, however long it is, and names the field at the end."""
    text = str(error)
    for pattern, words in _IN_WORDS.items():
        text = text.replace(f"`str` matching regex {pattern!r}", words)
    return text if len(text) <= 200 else f"{text[:80]}...{text[-80:]}"


def _decode_kind(kinds: _Kinds[_T], body: bytes) -> _T:
    try:
        decoder: msgspec.json.Decoder[_T] = _decoders[_struct(kinds, _kind_decoder.decode(body).kind)]
        return decoder.decode(body)
    except _UNDECODABLE as e:
        raise _refusal(e) from e


def _convert(kinds: _Kinds[_T], data: object) -> _T:
    try:
        return msgspec.convert(data, _struct(kinds, msgspec.convert(data, _Kind).kind))
    except msgspec.ValidationError as e:
        raise _refusal(e) from None


def _struct(kinds: _Kinds[_T], kind: str) -> type[_T]:
    struct = kinds.get(kind)
    if struct is None:
        raise MessageError("unknown-kind", f"kind {kind[:40]!r} is none of {', '.join(kinds)}")
    return struct
