"""What a single value in the ini may be: the checks that richmond.configspec names.

Each takes the text and returns the value, or raises ValidateError with what is wrong and what would be valid. No I/O,
but for a look whether packages are installed.
"""

from __future__ import annotations

import codecs
import difflib
import importlib.util
import math
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from configobj.validate import ValidateError

_CODE = re.compile(r"[*#][0-9*#]*[0-9][0-9*#]*")
_KEYWORD = re.compile(r"[^\W_]+")
_SHORT_CODE = re.compile(r"[0-9]{2,15}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BOOLEANS = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_HEADER = re.compile(r"[A-Za-z0-9_-]+=\S.*")
_OTEL_PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
_NEAR = 0.75  # of difflib: worksers, min-workers and start_timeout are near; timeout and limit are keys of their own
_MAX_SECONDS = 7 * 86400.0
_MIN_RATE, _MAX_RATE = 0.001, 100_000.0


def _integer(value: str, low: str, high: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        raise ValidateError(f"{_quote(value)} is not a whole number from {low} to {high}{_comment_hint(value)}")
    if not int(low) <= int(value) <= int(high):
        raise ValidateError(f"{value} is out of bounds; valid is {low} to {high}")
    return int(value)


def _seconds(value: str, low: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValidateError(
            f"{_quote(value)} is not a number of seconds{_comment_hint(value)}; valid is e.g. 30 or 0.5"
        )
    if not float(low) <= number <= _MAX_SECONDS:
        raise ValidateError(f"{value} is out of bounds; valid is {low} to {_MAX_SECONDS:g} seconds")
    return number


def _rate(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ValidateError(
            f"{_quote(value)} is not a number of messages a second{_comment_hint(value)}; try 50 or 0.5"
        )
    if number and not _MIN_RATE <= number <= _MAX_RATE:
        raise ValidateError(f"{value} is out of bounds; valid is 0 (no limit), or {_MIN_RATE:g} to {_MAX_RATE:.0f}")
    return number


def _fraction(value: str, low: str, high: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ValidateError(f"{_quote(value)} is not a fraction{_comment_hint(value)}; valid is {low} to {high}")
    if not float(low) <= number <= float(high):
        raise ValidateError(f"{value} is out of bounds; valid is {low} to {high}")
    return number


def _size(value: str) -> int:
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]+)?) ?([kmgt]?)(?:i?b)?", value.lower())
    if match is None:
        raise ValidateError(f"{_quote(value)} is not a size{_comment_hint(value)}; valid is e.g. 300M, 2G or 1048576")
    return round(float(match[1]) * _UNITS[match[2]])


def _umask(value: str) -> str:
    if value and not re.fullmatch(r"0?[0-7]{3}", value):
        raise ValidateError(
            f"{_quote(value)} is not a umask{_comment_hint(value)}; valid are three octal digits, e.g. 027"
        )
    return value


def _boolean(value: str) -> bool:
    try:
        return _BOOLEANS[value.lower()]
    except KeyError:
        raise ValidateError(f"{_quote(value)} is neither yes nor no{_comment_hint(value)}") from None


def _option(value: str, *options: str) -> str:
    if value.lower() not in options:
        raise ValidateError(f"{_quote(value)} is not valid{_comment_hint(value)}; valid is one of {', '.join(options)}")
    return value.lower()


def _string(value: str) -> str:
    if "\r" in value or "\0" in value:
        raise ValidateError("holds a carriage return or a NUL; valid is any text on one line")
    return value


def _text(value: str, longest: str) -> str:
    if not 0 < len(_string(value).strip()) <= len(value) <= int(longest):
        said = f"{_quote(value)} has {len(value)}" if value.strip() else "is empty"
        raise ValidateError(f"{said}; valid are 1 to {longest} characters")
    return value


def _path(value: str) -> str:
    if "\0" in value:
        raise ValidateError("holds a NUL; valid is a path")
    return value


def _host(value: str) -> str:
    if re.search(r"[\s,/@#]", value):
        raise ValidateError(
            f"{_quote(value)} is not a host{_comment_hint(value)}; valid is a name or an address, e.g. sms.example.com"
        )
    return value


def _hosts(value: str) -> tuple[str, ...]:
    return tuple(_host(part).lower() for part in _parts(value))


def _url(value: str) -> str:
    try:
        url = urlsplit(value)
        valid = not value or (url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0)
    except ValueError:
        valid = False
    if not valid or url.query or url.fragment or re.search(r"\s", value):  # it may hold a password: it is not shown
        raise ValidateError("is not the URL of a server; valid is e.g. http://rabbit.example.com:15672")
    return value.rstrip("/")


def _name(value: str) -> str:
    """Of a queue, an exchange or a routing key: AMQP's short string."""
    if not value.isprintable() or not 0 < len(value.encode()) <= 255:
        raise ValidateError(f"{_quote(value)} is not a name; valid are 1 to 255 bytes of printable text")
    if value.startswith("amq."):
        raise ValidateError(f"{_quote(value)}: RabbitMQ keeps names that begin with amq. for itself")
    return value


def _encoding(value: str) -> str:
    try:
        codecs.lookup(value)
        plain = "SSMI,\r".encode(value) == b"SSMI,\r"
    except (LookupError, UnicodeError, ValueError):
        plain = False
    if not plain:
        raise ValidateError(f"{_quote(value)} is not an encoding that SSMI can use; valid is e.g. iso-8859-1 or utf-8")
    return value.lower()


def _codes(value: str) -> tuple[str, ...]:
    codes = _parts(value)
    for code in codes:
        if not _CODE.fullmatch(code):
            raise ValidateError(f"{_quote(code)} is not a USSD code; valid is e.g. *120*663#, *120*666#, *120*7*")
    return _once(code if code.endswith(("#", "*")) else f"{code}#" for code in codes)


def _short_codes(value: str) -> tuple[str, ...]:
    codes = _parts(value)
    for code in codes:
        if not _SHORT_CODE.fullmatch(code):
            raise ValidateError(f"{_quote(code)} is not a short code; valid are 2 to 15 digits, e.g. 31022, 31033")
    return _once(codes)


def _keywords(value: str) -> tuple[str, ...]:
    words = _parts(value)
    for word in words:
        if not _KEYWORD.fullmatch(word):
            raise ValidateError(f"{_quote(word)} is not a keyword; valid are letters and digits, e.g. WIN, JOIN")
    return _once(word.upper() for word in words)


def _accounts(value: str) -> tuple[str, ...]:
    return _once(_parts(value))


def _parts(value: str) -> list[str]:
    return [part for part in (part.strip() for part in value.split(",")) if part]


def _once(parts: Iterable[str]) -> tuple[str, ...]:
    found = tuple(parts)
    twice = sorted({part for part in found if found.count(part) > 1})
    if twice:
        raise ValidateError(f"{', '.join(twice)} is there twice; name it once")
    return found


def command_line(command: str) -> list[str]:
    """Program and arguments, as a shell would part them, but without one; all behind `sh -c` is one script.

    ValueError if a quotation does not end.
    """
    parts = shlex.split(command)
    if parts[:2] == ["sh", "-c"] and len(parts) > 3:
        return ["sh", "-c", command.split("-c", 1)[1].strip()]
    return parts


def _command(value: str) -> str:
    try:
        command_line(_string(value))
    except ValueError as e:
        raise ValidateError(f"{_quote(value)} is no command: {e}; quote as in a shell") from None
    return value


def _on_fatal(value: str) -> str:
    return value.lower() if value.lower() in ("none", "exit") else _command(value)


def _environment(value: str) -> dict[str, str]:
    variables: dict[str, str] = {}
    for part in _parts(value):
        name, equals, text = part.partition("=")
        if not equals or not _VARIABLE.fullmatch(name.strip()):
            raise ValidateError(
                f"{_quote(part)} is not NAME=VALUE; valid is e.g. A=1, B=2, or a sub-section [[environment]] "
                "with a line NAME = VALUE for each (needed where a value has a comma)"
            )
        variables[name.strip()] = text.strip()
    return variables


def variables(text: str) -> dict[str, str]:
    """Of an environment file: NAME=VALUE on each line, perhaps in quotes; # and ; begin a comment line."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip()[0] in "#;":
            continue
        name, equals, value = line.partition("=")
        if not equals or not _VARIABLE.fullmatch(name.strip()) or "\0" in value:
            raise ValidateError(f"its line {number} is not NAME=VALUE")
        value = value.strip()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        found[name.strip()] = value[1:-1] if quoted else value
    return found


def _otel(value: str) -> bool:
    wanted = _boolean(value)
    if wanted and not all(map(_is_installed, _OTEL_PACKAGES)):
        raise ValidateError(
            "is yes, but the packages for it are not installed: pip install opentelemetry-sdk "
            "opentelemetry-exporter-otlp-proto-http; or set it to no"
        )
    return wanted


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # nor is what it is a part of
        return False


def _pairs(value: str) -> str:
    if any(not _HEADER.fullmatch(part) for part in _parts(value)):  # it may hold a token: it is not shown
        raise ValidateError("is not NAME=VALUE, NAME=VALUE; valid is e.g. x-api-key=SECRET")
    return value


CHECKS: Mapping[str, Callable[..., Any]] = {
    "integer": _integer,
    "seconds": _seconds,
    "rate": _rate,
    "fraction": _fraction,
    "size": _size,
    "umask": _umask,
    "boolean": _boolean,
    "option": _option,
    "string": _string,
    "text": _text,
    "path": _path,
    "host": _host,
    "hosts": _hosts,
    "url": _url,
    "otel": _otel,
    "pairs": _pairs,
    "name": _name,
    "encoding": _encoding,
    "codes": _codes,
    "short_codes": _short_codes,
    "keywords": _keywords,
    "accounts": _accounts,
    "environment": _environment,
    "command": _command,
    "on_fatal": _on_fatal,
}
# In the others an empty value means the default.
TAKES_EMPTY = {
    "string",
    "text",
    "host",
    "hosts",
    "url",
    "codes",
    "short_codes",
    "keywords",
    "accounts",
    "environment",
    "command",
}


def _quote(value: str) -> str:
    return repr(value if len(value) <= 60 else f"{value[:57]}...")


def _comment_hint(value: str) -> str:
    """People end a line with a comment; here everything after the = is the value, or passwords could not hold a #."""
    return " (a comment needs a line of its own)" if re.search(r"\s[#;]", value) else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(word.lower().replace("_", "-"), known, n=1, cutoff=_NEAR)
    return found[0] if found else None
