"""What a single value in the ini may be: the checks that richmond.configspec names. No I/O.

Each takes the text and returns the value, or raises ValidateError with what is wrong and what would be valid.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from configobj.validate import ValidateError

_CODE = re.compile(r"[*#][0-9*#]*[0-9][0-9*#]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BOOLEANS = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}
_MAX_SECONDS = 7 * 86400.0


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
    codes: list[str] = []
    for code in filter(None, (part.strip() for part in value.split(","))):
        if not _CODE.fullmatch(code):
            raise ValidateError(f"{_quote(code)} is not a USSD code; valid is e.g. *120*663#, *120*666#")
        codes.append(code if code.endswith("#") else f"{code}#")
    twice = sorted({code for code in codes if codes.count(code) > 1})
    if twice:
        raise ValidateError(f"{', '.join(twice)} is there twice; name it once")
    return tuple(codes)


def _environment(value: str) -> dict[str, str]:
    variables: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        name, equals, text = part.partition("=")
        if not equals or not _VARIABLE.fullmatch(name.strip()):
            raise ValidateError(
                f"{_quote(part)} is not NAME=VALUE; valid is e.g. A=1, B=2, or a sub-section [[environment]] "
                "with a line NAME = VALUE for each (needed where a value has a comma)"
            )
        variables[name.strip()] = text.strip()
    return variables


CHECKS: Mapping[str, Callable[..., Any]] = {
    "integer": _integer,
    "seconds": _seconds,
    "boolean": _boolean,
    "option": _option,
    "string": _string,
    "path": _path,
    "host": _host,
    "name": _name,
    "encoding": _encoding,
    "codes": _codes,
    "environment": _environment,
}
TAKES_EMPTY = {"string", "host", "codes", "environment"}  # in the others an empty value means the default


def _quote(value: str) -> str:
    return repr(value if len(value) <= 60 else f"{value[:57]}...")


def _comment_hint(value: str) -> str:
    """People end a line with a comment; here everything after the = is the value, or passwords could not hold a #."""
    return " (a comment needs a line of its own)" if re.search(r"\s[#;]", value) else ""
