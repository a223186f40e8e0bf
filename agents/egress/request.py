"""What goes out: one request as bytes, and the credentials in it."""

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Final, Self

from control_plane.security.addresses import BotUrl

USER_AGENT: Final = "TradeWise"

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS: Final = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "proxy-authorization", "proxy-connection"}
)
"""What frames a message or says where it goes is never a caller's to set."""


class Authorization:
    """The value of an Authorization header, which shows nothing of itself."""

    __slots__ = ("header", "name")

    def __init__(self, header: str) -> None:
        # Checked here, so that no complaint further on can quote the secret.
        if not (header.isascii() and header.isprintable()):
            raise ValueError("an authorization header holds visible ASCII characters only")
        self.header = header
        self.name = "Authorization"

    @classmethod
    def basic(cls, username: str, password: str) -> Self:
        """HTTP Basic (RFC 7617), in UTF-8."""
        return cls("Basic " + b64encode(f"{username}:{password}".encode()).decode())

    @classmethod
    def bearer(cls, token: str) -> Self:
        """A bearer token (RFC 6750)."""
        return cls(f"Bearer {token}")

    @classmethod
    def under(cls, name: str, value: str) -> Self:
        """A value as it is, under a header of the bot's own choice. Raises `ValueError` for one that is ours."""
        if not _TOKEN.fullmatch(name) or name.lower() in _OURS | {"accept", "content-type", "user-agent"}:
            raise ValueError("a header's name is malformed, or one that only the client itself may set")
        made = cls(value)
        made.name = name
        return made

    def __repr__(self) -> str:
        return "Authorization(redacted)"


def json_request(method: str, url: BotUrl, path: str, auth: Authorization | None, body: bytes | None) -> bytes:
    """A call that wants JSON. Built anew each time: that costs a microsecond, a cache would keep credentials about."""
    secret = "" if auth is None else f"{auth.name}: {auth.header}\r\n"
    framing = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head = (
        f"{method} {_target(url, path)} HTTP/1.1\r\nHost: {url.authority}\r\nUser-Agent: {USER_AGENT}\r\n"
        f"Accept: application/json\r\nAccept-Encoding: identity\r\n{secret}{framing}\r\n"
    ).encode("ascii")
    return head + body if body else head


def signed_request(url: BotUrl, path: str, body: bytes, headers: Mapping[str, str], *, method: str = "POST") -> bytes:
    """A POST of exactly these bytes under exactly these headers. Raises `ValueError`, which quotes nothing."""
    lines = [f"{method} {_target(url, path)} HTTP/1.1", f"Host: {url.authority}"]
    given = {name.lower() for name in headers}
    if len(given) != len(headers) or given & _OURS or not all(map(_TOKEN.fullmatch, headers)):
        raise ValueError("a header's name is malformed, given twice, or one that only the client itself may set")
    if "user-agent" not in given:
        lines.append(f"User-Agent: {USER_AGENT}")
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()) or value != value.strip(" "):
            raise ValueError("a header's value holds visible ASCII characters only, with no space around them")
        lines.append(f"{name}: {value}")
    lines += ["Accept-Encoding: identity"] + ([f"Content-Length: {len(body)}"] if method == "POST" else [])
    lines += ["", ""]
    return "\r\n".join(lines).encode("ascii") + body


def _target(url: BotUrl, path: str) -> str:
    target = (url.prefix + path) or "/"
    # Printable ASCII but the space: nothing in it can end the line.
    if target[0] == "/" and target.isascii() and target.isprintable() and " " not in target:
        return target
    raise ValueError("a request's path starts with a slash and holds visible ASCII characters only")
