"""What telephones and the simulator tell each other: one JSON object a line. No I/O.

Try it by hand: `nc -U var/simulator.sock`. Requests (a request without `msisdn` means the number used last on the
connection; `dial` and `register` without any get a free one at random):

    {"op":"dial","code":"*120*663#"}                                open a session
    {"op":"dial","msisdn":"27831112222","code":"*120*663#"}
    {"op":"answer","text":"1"}                                      answer the menu that is shown
    {"op":"hangup"}                                                 end the session
    {"op":"timeout"}                                                let the session time out now
    {"op":"register","msisdn":"27831112222"}                        be reachable, without dialling
    {"op":"sms","text":"hello"}                                     send an SMS to the account
    {"op":"sms","text":"WIN","to":"31022"}                          the same, premium rated, to a short code
    {"op":"sms","hex":"68656c6c6f","pid":"15","coding":"246"}       the same, binary
    {"op":"inbox"}                                                  what has been received, oldest first
    {"op":"status"}                                                 clients, sessions, counters
    {"op":"drop"}                                                   close the SSMI connections (tests)
    {"op":"drop","reset":true}                                      the same, with a TCP reset
    {"op":"inject","line":"SSMI,105,hello"}                         send this line to the SSMI client (tests)
    {"op":"inject","hex":"53534d492c3130"}                          send these bytes, without a final CR (tests)

Each request gets one answer: `ok`, `inbox`, `status` or `error`. What happens to a number goes, as it happens, to the
connection that used the number first; a connection that closes hangs up and sets its numbers free.

    {"event":"ok","op":"dial","msisdn":"27831112222"}
    {"event":"error","text":"the gateway has no client logged in"}
    {"event":"begin","msisdn":"27831112222","code":"*120*663#"}     a session is open (code "": pushed)
    {"event":"menu","msisdn":"27831112222","text":"Hello","open":true}
    {"event":"end","msisdn":"27831112222","reason":"timeout"}       exactly one for each begin
    {"event":"sms","msisdn":"27831112222","kind":"text","text":"hi"}
    {"event":"inbox","msisdn":"27831112222","messages":[]}
    {"event":"status","address":"127.0.0.1:50008","clients":[],"sessions":0,"telephones":1,"counters":{}}
"""

from __future__ import annotations

from typing import Literal

import msgspec

# Bytes in one line of either side; a USSD text has at most 182 characters, an SMS of many parts some thousands.
MAX_LINE_BYTES = 65536


class _Request(msgspec.Struct, frozen=True, tag_field="op", tag=str.lower, forbid_unknown_fields=True, kw_only=True):
    msisdn: str = ""


class Dial(_Request, frozen=True):
    code: str


class Answer(_Request, frozen=True):
    text: str


class Hangup(_Request, frozen=True):
    pass


class Timeout(_Request, frozen=True):
    pass


class Register(_Request, frozen=True):
    pass


class SendSms(_Request, frozen=True, tag="sms"):
    text: str = ""
    to: str = ""
    hex: str = ""
    pid: str = "0"
    coding: str = "0"


class ReadInbox(_Request, frozen=True, tag="inbox"):
    pass


class ReadStatus(_Request, frozen=True, tag="status"):
    pass


class Drop(_Request, frozen=True):
    reset: bool = False


class Inject(_Request, frozen=True):
    line: str = ""
    hex: str = ""


Request = Dial | Answer | Hangup | Timeout | Register | SendSms | ReadInbox | ReadStatus | Drop | Inject

Reason = Literal["application", "subscriber", "timeout", "redirect", "no-client"]


class _Event(msgspec.Struct, frozen=True, tag_field="event", tag=str.lower):
    pass


class Begin(_Event, frozen=True):
    msisdn: str
    code: str


class Menu(_Event, frozen=True):
    msisdn: str
    text: str
    open: bool


class End(_Event, frozen=True):
    msisdn: str
    reason: Reason


class Message(_Event, frozen=True, tag="sms", omit_defaults=True):
    """Something in an inbox. `kind`: text, binary, wap-push or mms."""

    msisdn: str
    kind: str
    text: str = ""  # of a WAP push or MMS: its subject
    hex: str = ""
    pid: str = ""
    coding: str = ""
    url: str = ""
    name: str = ""


News = Begin | Menu | End | Message


class Ok(_Event, frozen=True, omit_defaults=True):
    op: str
    msisdn: str = ""


class Error(_Event, frozen=True):
    text: str


class Inbox(_Event, frozen=True):
    msisdn: str
    messages: list[Message]


class Client(msgspec.Struct, frozen=True):
    ip: str
    logged_in: bool
    connected_s: float


class Status(_Event, frozen=True):
    address: str
    clients: list[Client]
    sessions: int
    telephones: int
    counters: dict[str, int]


Event = News | Ok | Error | Inbox | Status

_encoder = msgspec.json.Encoder()
_request_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_event_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(message: Request | Event) -> bytes:
    return _encoder.encode(message) + b"\n"


def decode_request(line: bytes) -> Request:
    """msgspec.DecodeError (or UnicodeDecodeError) with a text that says what is wrong with the line."""
    return _request_decoder.decode(line)


def decode_event(line: bytes) -> Event:
    return _event_decoder.decode(line)
