"""SSMI lines: bytes to events and commands, and back. No I/O.

A line is `SSMI,<id>[,<field>...]` and one carriage return. Fields have no quoting; only the last may hold
commas. The same id means different things in each direction, so there are two tables. `ssmi-protocol.md` of
the public sources is the reference; ARCHITECTURE.md has the summary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Generic, TypeVar

from richmond.errors import SSMIUsageError
from richmond.ssmi.lines import (
    Ack,
    BinaryMo,
    Command,
    DeliveryReport,
    Event,
    ExtendedUssd,
    FreeForm,
    Ignored,
    ImsiLookup,
    ImsiReply,
    LinkCheck,
    Login,
    Logout,
    MoSms,
    Nack,
    PremiumBinaryMo,
    PremiumMo,
    RemoteLogout,
    SendBinarySms,
    SendExtendedUssd,
    SendMms,
    SendSms,
    SendUssd,
    SendWapPush,
    Seq,
    Unknown,
    Ussd,
    UssdType,
)
from richmond.ssmi.text import fit

__all__ = [
    "HEADER",
    "Ack",
    "BinaryMo",
    "Command",
    "CommandDecoder",
    "DeliveryReport",
    "Event",
    "EventDecoder",
    "ExtendedUssd",
    "FreeForm",
    "Ignored",
    "ImsiLookup",
    "ImsiReply",
    "LinkCheck",
    "Login",
    "Logout",
    "MoSms",
    "Nack",
    "PremiumBinaryMo",
    "PremiumMo",
    "RemoteLogout",
    "SendBinarySms",
    "SendExtendedUssd",
    "SendMms",
    "SendSms",
    "SendUssd",
    "SendWapPush",
    "Seq",
    "Unknown",
    "Ussd",
    "UssdType",
    "check_encoding",
    "encode",
    "pad",
]

HEADER = "SSMI"
GENFIELDS = 5  # IMSI, subscriber type, operator id, session id, ValiPort
EXCERPT_BYTES = 80  # of an ignored line: enough for a log, and a flood holds no memory

_EVENTS: dict[str, type[Any]] = {
    "100": Seq,
    "101": Ack,
    "102": Nack,
    "103": MoSms,
    "104": DeliveryReport,
    "105": FreeForm,
    "106": BinaryMo,
    "107": PremiumMo,
    "108": PremiumBinaryMo,
    "110": Ussd,
    "111": ExtendedUssd,
    "199": RemoteLogout,
    "600": ImsiReply,
}
_COMMANDS: dict[str, type[Any]] = {
    "1": Login,
    "2": SendSms,
    "3": LinkCheck,
    "4": SendBinarySms,
    "99": Logout,
    "110": SendUssd,
    "111": SendMms,
    "112": SendWapPush,
    "120": SendExtendedUssd,
    "600": ImsiLookup,
}

# In these a carriage return becomes a line feed; anywhere else both are refused.
_TEXT_FIELDS = ("message", "text")
# Codes without which the line says nothing. USSD types and return codes are kept as they come.
_KNOWN_CODES: dict[type[Any], frozenset[str]] = {Ack: frozenset("12"), Nack: frozenset("1234")}
# New (1) and timeout (4) are the gateway's to say; on 120 type 1 begins a session and 5 and 6 are not documented.
_SENDABLE: dict[type[Any], frozenset[str]] = {SendUssd: frozenset("2356"), SendExtendedUssd: frozenset("123")}


class _Form:
    """How one class lies on the wire."""

    __slots__ = ("build", "codes", "count", "genfields", "names", "prefix", "sendable", "text", "values")

    def __init__(self, id: str, cls: type[Any]) -> None:
        self.build: Callable[..., Any] = cls
        self.names = cls.__struct_fields__
        self.count = len(self.names)
        self.genfields = self.names.index("genfields") if "genfields" in self.names else None
        self.text = bool(self.names) and self.names[-1] in _TEXT_FIELDS
        self.codes = _KNOWN_CODES.get(cls)
        self.sendable = _SENDABLE.get(cls)
        self.prefix = f"{HEADER},{id}"
        get: Any = attrgetter(*self.names) if self.names else None
        self.values: Callable[[Any], tuple[Any, ...]] = (
            get if self.count > 1 else (lambda line: (get(line),) if get else ())
        )


_EVENT_FORMS = {id: _Form(id, cls) for id, cls in _EVENTS.items()}
_COMMAND_FORMS = {id: _Form(id, cls) for id, cls in _COMMANDS.items()}
_FORM_OF: dict[type[Any], _Form] = {
    form.build: form  # type: ignore[misc]
    for forms in (_EVENT_FORMS, _COMMAND_FORMS)
    for form in forms.values()
}

_L = TypeVar("_L")


class _Decoder(Generic[_L]):
    """Bytes as they come to lines. Holds at most one unfinished line of `max_line_bytes`. Never raises."""

    def __init__(self, forms: Mapping[str, _Form], encoding: str, max_line_bytes: int) -> None:
        check_encoding(encoding)
        self._forms = forms
        self.encoding = encoding
        self._max = max_line_bytes
        self._half = bytearray()
        self._skipping = False  # inside an over-long line, up to its carriage return

    def feed(self, data: bytes) -> list[_L]:
        """All that these bytes complete, in order. However they are cut, the result is the same."""
        lines = data.split(b"\r")
        rest = lines.pop()
        found: list[Any] = []
        if lines and (self._skipping or self._half):
            self._half += lines[0]
            lines[0] = bytes(self._half)
            self._half.clear()
            if self._skipping:
                self._skipping = False
                del lines[0]
        for raw in lines:
            found.append(self._line(raw) if len(raw) <= self._max else self._too_long(raw))
        if not self._skipping:
            self._half += rest
            if len(self._half) > self._max:
                found.append(self._too_long(bytes(self._half[:EXCERPT_BYTES])))
                self._half.clear()
                self._skipping = True
        return found

    def _too_long(self, raw: bytes) -> Ignored:
        return Ignored("line-too-long", raw[: min(EXCERPT_BYTES, self._max)])

    def _line(self, raw: bytes) -> Any:
        try:
            if raw.startswith(b"SSMI,110,"):  # nearly all that comes: the long way says the same in twice the time
                form = self._forms["110"]
                values: list[Any] = raw[9:].decode(self.encoding).split(",", form.count - 1)
                if len(values) == form.count:
                    return form.build(*values)
            # A server that ends lines with CRLF leaves its line feed before ours.
            header, _, line = raw.lstrip(b"\n").decode(self.encoding).partition(",")
        except UnicodeDecodeError:
            return Ignored("undecodable", raw[:EXCERPT_BYTES])
        if header != HEADER:
            return Ignored("no-header" if header or line else "empty", raw[:EXCERPT_BYTES])
        id, comma, rest = line.partition(",")
        known = self._forms.get(id)
        if known is None:
            if id.isdecimal() and id.isascii():
                return Unknown(id, tuple(rest.split(",")) if comma else ())
            return Ignored("bad-id", raw[:EXCERPT_BYTES])
        form = known
        if form.count == 0:
            return Ignored("too-many-fields", raw[:EXCERPT_BYTES]) if comma else form.build()
        values = rest.split(",", form.count - 1)
        if len(values) != form.count or not comma:
            return Ignored("too-few-fields", raw[:EXCERPT_BYTES])
        if form.genfields is not None:
            values[form.genfields] = pad(tuple(values[form.genfields].split(":")))
        elif form.codes is not None and values[-1] not in form.codes:
            return Ignored("unknown-code", raw[:EXCERPT_BYTES])
        return form.build(*values)


class EventDecoder(_Decoder[Event]):
    """What a gateway sends."""

    def __init__(self, encoding: str, max_line_bytes: int) -> None:
        super().__init__(_EVENT_FORMS, encoding, max_line_bytes)


class CommandDecoder(_Decoder[Command]):
    """What a client sends."""

    def __init__(self, encoding: str, max_line_bytes: int) -> None:
        super().__init__(_COMMAND_FORMS, encoding, max_line_bytes)


def encode(line: Command | Event, encoding: str) -> bytes:
    """The line with its carriage return.

    In free text a carriage return becomes a line feed and characters that the encoding lacks are replaced
    (`text.fit`). SSMIUsageError for what no field can carry: nothing of it may reach the wire.
    """
    if type(line) is SendUssd:
        plain = _encode_plain(line, encoding)
        if plain is not None:
            return plain
    form = _FORM_OF.get(type(line))
    if form is None:
        return _encode_other(line, encoding) + b"\r"
    values = form.values(line)
    if form.genfields is not None:
        values = _with_genfields(values, form.genfields)
    if form.sendable is not None and values[1] not in form.sendable:
        raise SSMIUsageError("bad-ussd-type", f"type {values[1]!r} cannot be sent")
    if not form.text:
        return _encode_fields(form.prefix, values, encoding) + b"\r"
    text = values[-1]
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    head = _encode_fields(form.prefix, values[:-1], encoding, last_is_free=False)
    try:
        return b"%b,%b\r" % (head, text.encode(encoding))
    except UnicodeEncodeError:
        return b"%b,%b\r" % (head, fit(text, encoding)[0].encode(encoding))


def _encode_plain(line: SendUssd, encoding: str) -> bytes | None:
    """Nearly all that goes, in half the time that the long way takes; None if that has to decide."""
    if "\r" in line.message or line.ussd_type not in _SENDABLE[SendUssd]:
        return None
    if not (line.msisdn.isdecimal() and line.msisdn.isascii()):
        return None
    try:
        return f"{HEADER},110,{line.msisdn},{line.ussd_type},{line.message}\r".encode(encoding)
    except UnicodeEncodeError:
        return None


def pad(genfields: tuple[str, ...]) -> tuple[str, ...]:
    """To the five that have a meaning; a surplus stays."""
    return genfields + ("",) * (GENFIELDS - len(genfields))


def check_encoding(encoding: str) -> None:
    """ValueError unless it is known and leaves ASCII as it is, which the frame needs (UTF-16 does not)."""
    ascii = "".join(map(chr, range(128)))
    try:
        same = ascii.encode(encoding) == ascii.encode()
    except (LookupError, UnicodeError):
        same = False
    if not same:
        raise ValueError(f"encoding {encoding!r} is unknown or changes ASCII; use iso-8859-1 or utf-8")


def _encode_fields(prefix: str, values: tuple[str, ...], encoding: str, last_is_free: bool = True) -> bytes:
    """Fields that must arrive as they are: no break in any, no comma before the last."""
    line = ",".join((prefix, *values))
    if "\r" in line or "\n" in line:
        raise SSMIUsageError("line-break", "a field other than the text holds a carriage return or line feed")
    # The prefix holds one comma, each value adds the one before it.
    strict = line if not (last_is_free and values) else line[: len(line) - len(values[-1])]
    if strict.count(",") != 1 + len(values):
        raise SSMIUsageError("comma", "a field other than the last holds a comma")
    try:
        return line.encode(encoding)
    except UnicodeEncodeError:
        raise SSMIUsageError("not-encodable", f"a field other than the text does not fit {encoding}") from None


def _with_genfields(values: tuple[Any, ...], at: int) -> tuple[str, ...]:
    genfields = values[at]
    if any(":" in value for value in genfields):
        raise SSMIUsageError("colon", "a genfield holds a colon")
    return (*values[:at], ":".join(pad(tuple(genfields))), *values[at + 1 :])


def _encode_other(line: Any, encoding: str) -> bytes:
    if isinstance(line, Unknown):
        return _encode_fields(f"{HEADER},{line.id}", line.fields, encoding)
    raise SSMIUsageError("not-a-line", f"{type(line).__name__} has no form on the wire")
