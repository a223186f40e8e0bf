"""Where hosted bots may connect to: what is closed to all of them and why, and how destinations are written.

Pure. The API shows these rules to tenants; the launcher hands them to the firewall, so what is shown is what holds.
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from typing import Final, Literal, get_args

import msgspec

Mode = Literal["public", "listed", "none"]
MODES: Final[tuple[str, ...]] = get_args(Mode)


class Destination(msgspec.Struct, frozen=True, order=True):
    """IPv4 addresses, and one port of them where one is named (TCP and UDP)."""

    network: str
    port: int | None = None

    def __str__(self) -> str:
        return self.network if self.port is None else f"{self.network}:{self.port}"

    @property
    def one_service(self) -> bool:
        """Whether it names one port of one address."""
        return self.port is not None and self.network.endswith("/32")


class Blocked(msgspec.Struct, frozen=True):
    """Addresses that no bot reaches, and why."""

    network: str
    reason: str


def parse_destination(text: str) -> Destination:
    """``203.0.113.0/24``, ``203.0.113.7`` or either with ``:443``. Raises ValueError with what is accepted."""
    words = text.strip()
    if words.count(":") > 1:
        raise ValueError("is IPv6, which hosted bots do not have: give an IPv4 network such as 203.0.113.0/24")
    addresses, colon, port = words.partition(":")
    if colon and not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise ValueError("must end with a port from 1 to 65535 where it has a colon, such as 203.0.113.7:443")
    try:
        network = IPv4Network(addresses)
    except (AddressValueError, NetmaskValueError):
        raise ValueError("must be an IPv4 address or network such as 203.0.113.7 or 203.0.113.0/24") from None
    except ValueError:
        # The one fault left: bits are set behind the prefix.
        meant = IPv4Network(addresses, strict=False)
        raise ValueError(f"is no network: write {meant} for the whole of it") from None
    return Destination(str(network), int(port) if colon else None)


METADATA: Final = tuple(
    Blocked(network, "where clouds hand out credentials of the machine")
    for network in (
        "100.100.100.200/32",
        "168.63.129.16/32",
        "169.254.169.254/32",
        "169.254.170.2/32",
        "192.0.0.192/32",
    )
)
"""Closed even where the operator's list is wide enough to hold them."""

BLOCKED: Final = (
    *METADATA,
    Blocked("0.0.0.0/8", "this network"),
    Blocked("10.0.0.0/8", "private network"),
    Blocked("100.64.0.0/10", "addresses shared by a carrier's customers"),
    Blocked("127.0.0.0/8", "the machine itself"),
    Blocked("169.254.0.0/16", "link-local addresses"),
    Blocked("172.16.0.0/12", "private network, other containers"),
    Blocked("192.0.0.0/24", "protocol assignments"),
    Blocked("192.0.2.0/24", "documentation"),
    Blocked("192.31.196.0/24", "AS112 name servers"),
    Blocked("192.52.193.0/24", "multicast tunnels"),
    Blocked("192.88.99.0/24", "relays into IPv6"),
    Blocked("192.168.0.0/16", "private network"),
    Blocked("192.175.48.0/24", "AS112 name servers"),
    Blocked("198.18.0.0/15", "benchmarks"),
    Blocked("198.51.100.0/24", "documentation"),
    Blocked("203.0.113.0/24", "documentation"),
    Blocked("224.0.0.0/4", "multicast"),
    Blocked("240.0.0.0/4", "reserved, and broadcast"),
)
"""Closed unless the operator opens a part of them by TRADEWISE_BOT_EGRESS_ALLOW."""

ALSO_BLOCKED: Final = (
    Blocked("::/0", "IPv6: hosted bots have none"),
    Blocked("the host", "every address and service of the machine that runs the bots"),
    Blocked("other bots", "every other bot, of this tenant as well as of others"),
)
"""What is closed by other means than a range of IPv4 addresses."""
