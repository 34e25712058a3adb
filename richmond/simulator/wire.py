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
    {"op":"inbox","msisdn":"27831112222","follow":true}             the same, and from now on each SMS as it comes
    {"op":"status"}                                                 clients, sessions, counters, faults
    {"op":"log"}                                                    the last SSMI lines, both ways, oldest first
    {"op":"log","follow":true}                                      the same, and from now on each line as it passes

What the gateway does to its clients. `account`: only to the one with this user name (default: to all).

    {"op":"report","code":"2","delay_s":1.5}                        delivery reports of all SMS from now on
    {"op":"report","msisdn":"27831112222","code":"5"}               the same for one number, before what is for all
    {"op":"report","seq":false,"report":false}                      no sequence (100), no report (104)
    {"op":"report","reset":true}                                    as in the beginning: sequence, delivered, at once
    {"op":"nack","code":"4"}                                        1, 4: refuse the next login
    {"op":"nack","code":"3","times":2}                              2, 3: refuse the next lines that are no link checks
    {"op":"logout","ip":"192.0.2.1"}                                199: another client has logged in
    {"op":"fault","name":"mute"}                                    from now on: see FaultName
    {"op":"fault","name":"delay","seconds":0.5,"account":"bank"}
    {"op":"fault","name":"mute","on":false}                         no more
    {"op":"calm"}                                                   no fault, no NACK any more
    {"op":"garbage"}                                                lines that make no sense, each of another kind
    {"op":"long","bytes":100000}                                    one line of this length
    {"op":"drop"}                                                   close the SSMI connections
    {"op":"drop","reset":true}                                      the same, with a TCP reset
    {"op":"extended","on":true}                                     USSD as 111 from now on; false: as 110
    {"op":"inject","line":"SSMI,105,hello"}                         send this line to the SSMI client
    {"op":"inject","hex":"53534d492c3130"}                          send these bytes, without a final CR

Where several accounts are logged in, `dial`, `sms` and `inject` go to the first of the simulator's accounts, or to the
one that `account` names.

Each request gets one answer: `ok`, `inbox`, `log`, `status` or `error`. What happens to a number goes, as it happens,
to the connection that used the number first; a connection that closes hangs up and sets its numbers free. An SMS may
also be sent from a number that another connection holds.

    {"event":"ok","op":"dial","msisdn":"27831112222"}
    {"event":"error","text":"the gateway has no client logged in"}
    {"event":"begin","msisdn":"27831112222","code":"*120*663#"}     a session is open (code "": pushed)
    {"event":"menu","msisdn":"27831112222","text":"Hello","open":true}
    {"event":"end","msisdn":"27831112222","reason":"timeout"}       exactly one for each begin
    {"event":"sms","msisdn":"27831112222","kind":"text","text":"hi"}
    {"event":"inbox","msisdn":"27831112222","messages":[]}
    {"event":"log","lines":[]}
    {"event":"line","at":1790000000.5,"connection":1,"account":"richmond","direction":"C>","text":"SSMI,3"}
    {"event":"status","address":"127.0.0.1:50008","accounts":["richmond"],"clients":[],"sessions":0,"telephones":1,\
"extended":false,"faults":[],"reports":[],"reports_waiting":0,"counters":{}}
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

# Bytes in one line of either side; a USSD text has at most 182 characters, an SMS of many parts some thousands.
MAX_LINE_BYTES = 65536
MAX_DELAY_S = 86400.0
MIN_LONG, MAX_LONG = 16, 1_000_000

# mute: link checks unanswered. no-login: logins unanswered. no-imsi: IMSI look-ups unanswered. crlf: lines end with
# CR and LF. bytes, chunks: lines go out in single bytes, in pieces of random length. delay: lines go out late.
FaultName = Literal["mute", "no-login", "no-imsi", "crlf", "bytes", "chunks", "delay"]
NackCode = Literal["1", "2", "3", "4"]


class _Request(msgspec.Struct, frozen=True, tag_field="op", tag=str.lower, forbid_unknown_fields=True, kw_only=True):
    msisdn: str = ""


class Dial(_Request, frozen=True):
    code: str
    account: str = ""


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
    account: str = ""


class ReadInbox(_Request, frozen=True, tag="inbox"):
    follow: bool = False


class ReadStatus(_Request, frozen=True, tag="status"):
    pass


class ReadLog(_Request, frozen=True, tag="log"):
    follow: bool = False


class SetReport(_Request, frozen=True, tag="report"):
    """`msisdn`: empty for all numbers that have no rule of their own."""

    code: str = "0"
    delay_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_DELAY_S)] = 0.0
    seq: bool = True
    report: bool = True
    reset: bool = False


class SetNack(_Request, frozen=True, tag="nack"):
    code: NackCode
    times: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    account: str = ""


class PushOut(_Request, frozen=True, tag="logout"):
    ip: str = "192.0.2.1"  # of no host: RFC 5737
    account: str = ""


class SetFault(_Request, frozen=True, tag="fault"):
    """`seconds`: of a delay."""

    name: FaultName
    on: bool = True
    seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_DELAY_S)] = 0.0
    account: str = ""


class Calm(_Request, frozen=True):
    account: str = ""


class Garbage(_Request, frozen=True):
    account: str = ""


class Long(_Request, frozen=True):
    bytes: Annotated[int, msgspec.Meta(ge=MIN_LONG, le=MAX_LONG)] = 100_000
    account: str = ""


class Drop(_Request, frozen=True):
    reset: bool = False
    account: str = ""


class Extended(_Request, frozen=True):
    on: bool


class Inject(_Request, frozen=True):
    line: str = ""
    hex: str = ""
    account: str = ""


Request = (
    Dial
    | Answer
    | Hangup
    | Timeout
    | Register
    | SendSms
    | ReadInbox
    | ReadStatus
    | ReadLog
    | SetReport
    | SetNack
    | PushOut
    | SetFault
    | Calm
    | Garbage
    | Long
    | Drop
    | Extended
    | Inject
)

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


class Line(_Event, frozen=True):
    """What passed on an SSMI connection. `at`: Unix seconds. `account`: empty before the login."""

    at: float
    connection: int
    account: str
    direction: Literal["C>", "S>", "--"]  # client to gateway, gateway to client, a note
    text: str  # the line without its carriage return; of a login not the password


class Log(_Event, frozen=True):
    lines: list[Line]


class Client(msgspec.Struct, frozen=True):
    ip: str
    account: str
    logged_in: bool
    connected_s: float


class Status(_Event, frozen=True):
    address: str
    accounts: list[str]
    clients: list[Client]
    sessions: int
    telephones: int
    extended: bool
    faults: list[str]
    reports: list[str]  # rules that are not the beginning's
    reports_waiting: int
    counters: dict[str, int]


Event = News | Ok | Error | Inbox | Line | Log | Status

_encoder = msgspec.json.Encoder()
_request_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_event_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(message: Request | Event) -> bytes:
    return _encoder.encode(message) + b"\n"


def decode_request(line: bytes) -> Request:
    """msgspec.DecodeError (or UnicodeDecodeError) with a text that says what is wrong with the line."""
    return _request_decoder.decode(line)


def as_json(value: object) -> str:
    """For people: indented, without the event's tag."""
    facts = msgspec.to_builtins(value)
    facts.pop("event", None)
    return msgspec.json.format(_encoder.encode(facts), indent=2).decode()


def decode_event(line: bytes) -> Event:
    return _event_decoder.decode(line)
