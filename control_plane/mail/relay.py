"""Where mails go and who they are from, read from settings. No error repeats what was given: it may hold a password."""

from __future__ import annotations

import ipaddress
from email.errors import HeaderParseError
from email.headerregistry import Address, AddressHeader
from email.policy import default as policy
from urllib.parse import unquote, urlsplit

import msgspec

_EXPECTED = "expected a URL such as smtp://user:password@relay.example.com:587 or smtps://relay.example.com"
_PORTS = {"smtp": 587, "smtps": 465}


class SmtpRelay(msgspec.Struct, frozen=True, kw_only=True):
    """A relay that takes our mails."""

    host: str
    port: int
    #: TLS from the first byte (``smtps``); else STARTTLS, which only a relay on this machine may do without.
    implicit_tls: bool
    username: str | None
    password: str | None

    def __repr__(self) -> str:
        return f"SmtpRelay(host={self.host!r}, port={self.port})"

    @property
    def is_local(self) -> bool:
        """Whether nothing leaves this machine on the way there."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_relay(raw: str) -> SmtpRelay:
    """``smtp://[user:password@]host[:port]`` or ``smtps://…``, user and password percent-encoded. Raises ValueError."""
    try:
        parts = urlsplit(raw)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise ValueError(_EXPECTED) from None
    fits = (
        raw.isascii()
        and raw.isprintable()
        and " " not in raw
        and parts.scheme in _PORTS
        and bool(host)
        and port != 0
        and parts.path in {"", "/"}
        and not parts.query
        and not parts.fragment
    )
    if not fits or host is None:
        raise ValueError(f"{_EXPECTED}; percent-encode special characters in user and password")
    if (parts.username is None) != (parts.password is None) or parts.username == "":
        raise ValueError("names a user without a password, or a password without a user: give both or neither")
    return SmtpRelay(
        host=host,
        port=port or _PORTS[parts.scheme],
        implicit_tls=parts.scheme == "smtps",
        username=unquote(parts.username) if parts.username is not None else None,
        password=unquote(parts.password) if parts.password is not None else None,
    )


def parse_sender(raw: str) -> str:
    """``Name <name@example.com>`` or the bare address. Raises ValueError."""
    sender_of(raw)
    return raw


def sender_of(raw: str) -> Address:
    """The one address in ``raw``. Raises ValueError."""
    expected = "expected one address such as TradeWise <noreply@example.com>"
    if not raw.isprintable():
        raise ValueError(expected)
    try:
        header = policy.header_factory("From", raw)
    except (HeaderParseError, ValueError, IndexError, AttributeError):
        raise ValueError(expected) from None
    found = header.addresses if isinstance(header, AddressHeader) else ()
    if len(found) != 1 or header.defects or not found[0].username or not found[0].domain:
        raise ValueError(expected)
    address: Address = found[0]
    return address
