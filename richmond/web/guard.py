"""Who may ask the web server for what: a decision about one request. No I/O.

Looking is for whoever can connect, by an address or a name that is ours: a foreign web site that had its own name lead
here (DNS rebinding) is refused. Changing something takes the token, which no foreign page has and no browser sends by
itself.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_BODY_BYTES = 16 * 1024
LOOKING = ("GET", "HEAD")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """`status`: of HTTP."""

    status: str
    text: str


def refusal(
    method: str, headers: Mapping[str, str], names: Collection[str], token: str, *, free: bool = False
) -> Refusal | None:
    """None: it may be answered. `headers`: names in lower case. `names`: `[web] hosts`. `token`: empty: none.

    `free`: what is asked for takes no token.
    """
    host = headers.get("host", "")
    if not _is_ours(host, names):
        return Refusal("421 Misdirected Request", f"{_shown(host)} is not a name of this server; see [web] hosts")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return Refusal("403 Forbidden", f"refused: the request comes from {_shown(origin)}, another web site")
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not _is_link(method, headers):
        return Refusal("403 Forbidden", "refused: the request comes from another web site")
    if method in LOOKING or free:
        return None
    if not token:
        return Refusal("503 Service Unavailable", "nothing can be changed: there is no token, and the log says why")
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        return Refusal("401 Unauthorized", "this takes the token: richmond web prints a link that has it")
    return None


def _is_ours(host: str, names: Collection[str]) -> bool:
    """An address cannot be rebound: only names are looked up."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_link(method: str, headers: Mapping[str, str]) -> bool:
    """Somebody has followed one to a page: what it shows stays out of reach for the site that has it."""
    top = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return method == "GET" and top


def _shown(text: str) -> str:
    return repr(text[:80])
