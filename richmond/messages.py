"""The JSON on the queues, as typed structs. No I/O.

The keys of 2010 are unchanged and all strings; everything else may be missing in what others send.
Unknown keys are allowed and ignored.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from richmond.errors import MessageError


class UssdMessage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="ussd"):
    """From a subscriber to a worker, on a receive queue."""

    msisdn: str
    ussd_type: str  # 1 new, 2 existing, 3 end, 4 timeout
    ussd_phase: str  # 0 unknown, 1 one request and one answer, 2 dialogue
    message: str  # in a new session: the dialled code
    session: str | None = None  # token; a reply that carries it is refused once the session is over
    code: str | None = None  # the code that opened the session
    id: str | None = None  # unique for each message
    received: float | None = None  # Unix seconds
    genfields: list[str] | None = None  # of an extended message (111)


class UssdReply(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """From a worker to a subscriber, on the send queue."""

    msisdn: str
    message: str
    ussd_type: str  # 2 existing, 3 end, 5 redirect, 6 network-initiated
    session: str | None = None
    in_reply_to: str | None = None  # id of the message that this answers
    genfields: list[str] | None = None  # makes it an extended reply (120)


_T = TypeVar("_T")

_encoder = msgspec.json.Encoder()
_message_decoder = msgspec.json.Decoder(UssdMessage)
_reply_decoder = msgspec.json.Decoder(UssdReply)
_object_decoder = msgspec.json.Decoder(dict[str, Any])


def encode(message: msgspec.Struct | dict[str, Any]) -> bytes:
    """JSON, UTF-8. MessageError if a value has no JSON form."""
    try:
        return _encoder.encode(message)
    except (TypeError, ValueError) as e:
        raise MessageError("not-json", str(e)) from e


def decode_message(body: bytes) -> UssdMessage:
    return _decode(_message_decoder, body)


def decode_reply(body: bytes) -> UssdReply:
    return _decode(_reply_decoder, body)


def decode_object(body: bytes) -> dict[str, Any]:
    """Any JSON object: what `RichmondWorker.consume` gets."""
    return _decode(_object_decoder, body)


def _decode(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """MessageError with reason `invalid-json` or `invalid-message`; its detail never quotes the message."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as e:
        raise MessageError("invalid-message", str(e)) from e
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise MessageError("invalid-json", str(e)) from e
    except RecursionError as e:  # a thousand brackets
        raise MessageError("invalid-json", "nested too deeply") from e
