"""The one set of rules for addresses that tenants give us: which URLs are well formed, which addresses may be reached.

Pure: nothing here resolves a name or opens a connection. The API applies the rules when a bot is saved, the guarded
client applies them again to every address that a name resolves to, at each connection.

A URL is taken apart here once, by a grammar narrower than any HTTP library's, and travels on in parts: nobody parses it
a second time, so no two parsers can disagree about which host it names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Origin: TypeAlias = tuple[str, str, int]

MAX_URL_LENGTH = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}

INFRASTRUCTURE_PORTS = frozenset({2375, 2376, 3306, 5432, 6379, 6443, 9200, 10250, 11211, 27017})
"""Ports above 1023 where databases, caches and container engines listen: never a trading bot, often unprotected."""

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[^:]*))?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
_DOT_SEGMENT = re.compile(r"(?:\.|%2e){1,2}", re.IGNORECASE)
_API_SUFFIX = "/api/v1"

# Special-purpose IPv4 space (IANA registry), plus platform addresses that sit in ordinary space.
_REFUSED_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; also Alibaba's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform service, in public space
        "169.254.0.0/16",  # link-local; metadata services of nearly every cloud
        "172.16.0.0/12",  # private; Docker's own networks
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata service
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)

# Only 2000::/3 is global unicast at all; these are the parts of it that lead elsewhere.
_GLOBAL_V6 = IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks, AMT, drone ids
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 carries any IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # the former 6bone
        "3fff::/20",  # documentation
    )
)

_METADATA = frozenset(
    ip_address(text)
    for text in (
        "100.100.100.200",
        "168.63.129.16",
        "169.254.169.254",
        "169.254.170.2",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
    )
)
"""Where clouds hand out machine credentials. A wide allow-list must not open them by accident."""

_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
_LOOPBACKS: tuple[Address, ...] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


class UrlRefused(ValueError):  # noqa: N818  -- a verdict, told to a person; not a fault of ours
    """A tenant's URL or address that we do not accept.

    `code` is stable: `url_invalid`, `url_too_long`, `url_scheme`, `url_userinfo`, `url_host`, `url_port`, `url_path`,
    `url_query`, `url_fragment` or `address_refused`. The message says what to do and never repeats a resolved address.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class BotUrl:
    """Where a bot's API lives: `{scheme}://{host}:{port}{prefix}`, in one canonical form.

    `host` is a lower-case ASCII name, a dotted quad, or an IPv6 address without brackets; `prefix` is empty or starts
    with a slash and does not end with one. Two URLs that name the same API compare equal.
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""
    authority: str = field(init=False, repr=False, compare=False)
    """Host and port as the Host header carries them: IPv6 in brackets, the scheme's own port left out."""
    origin: Origin = field(init=False, repr=False, compare=False)
    """Scheme, host and port: where a connection to it leads."""

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        authority = host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"
        # Told once: one that is polled is asked for them at every call.
        object.__setattr__(self, "authority", authority)
        object.__setattr__(self, "origin", (self.scheme, self.host, self.port))

    @property
    def literal(self) -> Address | None:
        """The address that the URL spells out itself, or None where it gives a name to resolve."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"


def parse_bot_url(text: str) -> BotUrl:
    """Take a tenant's URL apart and bring it to canonical form.

    Accepts what people paste: any case in scheme and host, a trailing slash, the `/api/v1` that belongs to the routes,
    spaces around it. Idempotent: parsing `str()` of the result gives the result again. Raises `UrlRefused`.
    """
    if len(text) > MAX_URL_LENGTH:
        raise UrlRefused("url_too_long", f"Give a URL of at most {MAX_URL_LENGTH} characters.")
    text = text.strip(" ")
    if any(character <= " " or character in "\x7f\\" for character in text):
        raise UrlRefused("url_invalid", "Give a URL without spaces, backslashes or control characters.")
    match = _URL.fullmatch(text)
    if match is None:
        raise UrlRefused("url_invalid", "Give a full URL such as https://bot.example.com:8080.")
    scheme = match["scheme"].lower()
    if scheme not in DEFAULT_PORTS:
        raise UrlRefused("url_scheme", "Give a URL that starts with http:// or https://.")
    host, port = _parse_authority(match["authority"], DEFAULT_PORTS[scheme])
    return BotUrl(scheme, host, port, _parse_prefix(match["rest"]))


def _parse_authority(authority: str, default_port: int) -> tuple[str, int]:
    if "@" in authority:
        raise UrlRefused("url_userinfo", "Leave user name and password out of the URL; give them as credentials.")
    match = _AUTHORITY.fullmatch(authority)
    if match is None or not match["host"]:
        raise UrlRefused("url_host", "Give a URL with one host name or address; IPv6 addresses go in brackets.")
    return _parse_host(match["host"]), default_port if match["port"] is None else _parse_port(match["port"])


def _parse_port(text: str) -> int:
    port = int(text) if _PORT.fullmatch(text) else 0
    if (port in {80, 443} or 1024 <= port <= 65535) and port not in INFRASTRUCTURE_PORTS:
        return port
    raise UrlRefused("url_port", "Use port 80, 443 or one from 1024 to 65535 that no database or engine uses.")


def _parse_host(text: str) -> str:
    if text.startswith("["):
        return _parse_ipv6(text[1:-1])
    if not text.isascii():
        raise UrlRefused("url_host", "Write an international host name in its ASCII form (xn--...).")
    # One trailing dot means "fully qualified" to a resolver, but no certificate carries it.
    host = text.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused("url_host", "Give a host name of letters, digits, hyphens and dots, or an IP address.")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        return _parse_ipv4(host)
    return host


def _parse_ipv4(host: str) -> str:
    """Resolvers read 127.1, 0x7f.1, 0177.0.0.1 and 2130706433 as addresses, each in its own way: only one is plain."""
    try:
        return str(IPv4Address(host))
    except AddressValueError:
        raise UrlRefused("url_host", "Write an IPv4 address as four decimal numbers such as 198.51.100.7.") from None


def _parse_ipv6(text: str) -> str:
    if "%" in text:
        raise UrlRefused("url_host", "Leave the zone (%...) out of an IPv6 address.")
    try:
        return str(IPv6Address(text))
    except AddressValueError:
        raise UrlRefused("url_host", "What stands in brackets is not an IPv6 address.") from None


def _parse_prefix(rest: str) -> str:
    if "#" in rest:
        raise UrlRefused("url_fragment", "Leave the part from # on out of the URL.")
    if "?" in rest:
        raise UrlRefused("url_query", "Leave the part from ? on out of the URL.")
    if not _PATH.fullmatch(rest) or any(_DOT_SEGMENT.fullmatch(segment) for segment in rest.split("/")):
        raise UrlRefused("url_path", "Give a plain path, without . or .. and with other characters percent-encoded.")
    path = rest.rstrip("/")
    while path.endswith(_API_SUFFIX):
        path = path.removesuffix(_API_SUFFIX).rstrip("/")
    return path


def check_address(address: Address, allow: Sequence[Network] = ()) -> None:
    """Refuse every address that is not global unicast by our own table, unless the operator allows its network.

    `allow` holds the operator's networks (`TRADEWISE_EGRESS_ALLOW`). A metadata service is opened only by naming it
    exactly, as a /32 or /128, however wide the rest of the list is. Raises `UrlRefused` with code `address_refused`.
    """
    # The standard library's `is_global` is no help: it calls translated, 6to4, multicast and platform addresses global.
    exact = any(network.num_addresses == 1 and address in network for network in allow)
    if exact:
        return
    reaches_metadata = not _METADATA.isdisjoint({address, *_carried(address)})
    if not reaches_metadata and (_is_global(address) or any(address in network for network in allow)):
        return
    raise UrlRefused(
        "address_refused",
        "This address may not be reached: give a public one, or ask the operator to allow its network.",
    )


def check_literal_host(url: BotUrl, allow: Sequence[Network] = ()) -> None:
    """Refuse at once, without DNS, a URL whose host is itself a refused address or a name for this very machine.

    Names in general are judged by what they resolve to, when a connection is made. Raises `UrlRefused`.
    """
    literal = url.literal
    if literal is not None:
        check_address(literal, allow)
    elif url.host in _METADATA_NAMES:
        raise UrlRefused("address_refused", "This name belongs to a cloud's metadata service.")
    elif _is_loopback_name(url.host) and not any(here in network for here in _LOOPBACKS for network in allow):
        raise UrlRefused("address_refused", "This name means the platform's own machine.")


def _is_loopback_name(host: str) -> bool:
    return host in _LOOPBACK_NAMES or host.endswith(".localhost")


def _is_global(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    if address not in _GLOBAL_V6 or any(address in network for network in _REFUSED_V6):
        return False
    # ISATAP hides an IPv4 address behind the interface id 0000:5efe or 0200:5efe, under any prefix.
    return (int(address) >> 32) & 0xFDFFFFFF != 0x00005EFE


def _carried(address: Address) -> list[Address]:
    """IPv4 addresses that an IPv6 address stands for: mapped, compatible, translated (NAT64), 6to4, Teredo, ISATAP."""
    if isinstance(address, IPv4Address):
        return []
    teredo = address.teredo or ()
    return [IPv4Address(int(address) & 0xFFFFFFFF), *filter(None, (address.sixtofour, *teredo))]
