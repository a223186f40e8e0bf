"""What a key may do, and whether that is more than its maker may. No database, no clock."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final
from uuid import UUID

import msgspec

from control_plane.errors import unacceptable
from control_plane.identity.permissions import SCOPES

Network = IPv4Network | IPv6Network

#: What a key that is restricted to some bots may carry: everything else is of the tenant as a whole.
RESTRICTED_SCOPES: Final = tuple(scope for scope in SCOPES if scope.startswith("bots:"))

_MAPPED: Final = ip_network("::ffff:0:0/96")


class Powers(msgspec.Struct, frozen=True):
    """What somebody may do, for how long, to which bots and from where. None is without a bound."""

    scopes: frozenset[str]
    expires_at: datetime | None = None
    bots: frozenset[UUID] | None = None
    networks: tuple[Network, ...] | None = None


class Excess(msgspec.Struct, frozen=True):
    """Where a key would go beyond its maker: the field, and why in words."""

    field: str
    message: str
    code: str


def excess(wanted: Powers, held: Powers) -> Excess | None:
    """The first thing in which ``wanted`` is more than ``held``, None where it is within it."""
    for scope in sorted(wanted.scopes - held.scopes):
        return Excess("scopes", f"you do not hold {scope} yourself", "scope_not_held")
    if held.expires_at is not None and (wanted.expires_at is None or wanted.expires_at > held.expires_at):
        until = held.expires_at.isoformat()
        return Excess(
            "expires_at", f"your own key ends at {until}: no key of its making lasts longer", "outlives_maker"
        )
    if held.bots is not None and (wanted.bots is None or not wanted.bots <= held.bots):
        return Excess("bot_ids", "your own key is restricted to some bots: name ones among them", "bots_not_held")
    if held.networks is not None and not _inside(wanted.networks, held.networks):
        return Excess(
            "allowed_addresses",
            "your own key is restricted to some addresses: name ones among them",
            "addresses_not_held",
        )
    return None


def _inside(inner: Sequence[Network] | None, outer: Sequence[Network]) -> bool:
    return inner is not None and all(any(_within(network, other) for other in outer) for network in inner)


def _within(network: Network, other: Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(other, IPv4Network) and network.subnet_of(other)
    return isinstance(other, IPv6Network) and network.subnet_of(other)


def checked_scopes(scopes: Collection[str], *, restricted: bool) -> frozenset[str]:
    """Scopes that there are. Raises 422 for others, and for those that a key ``restricted`` to some bots cannot use."""
    for scope in scopes:
        if scope not in SCOPES:
            raise unacceptable(
                "scopes", f"{scope[:60]!r} is not a scope; choose from {', '.join(SCOPES)}", code="unknown_scope"
            )
        if restricted and scope not in RESTRICTED_SCOPES:
            raise unacceptable(
                "scopes",
                f"{scope} is not for a key that is restricted to some bots; leave bot_ids out, or choose from"
                f" {', '.join(RESTRICTED_SCOPES)}",
                code="scope_too_wide",
            )
    return frozenset(scopes)


def checked_networks(texts: Sequence[str] | None) -> tuple[Network, ...] | None:
    """Addresses and networks in their normal form, each once. Raises 422 naming the one that is neither."""
    if texts is None:
        return None
    found = dict.fromkeys(_network(number, text) for number, text in enumerate(texts))
    return tuple(sorted(found, key=lambda network: (network.version, network)))


def _network(number: int, text: str) -> Network:
    field = f"allowed_addresses.{number}"
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError:
        raise unacceptable(field, "must be an IP address, or a network such as 203.0.113.0/24") from None
    if "%" in text:
        raise unacceptable(field, "must be an address without a zone: leave out what follows the %")
    if "/" in text and str(network.network_address) != str(ip_network(text.strip().partition("/")[0]).network_address):
        raise unacceptable(field, f"has an address within its network: write {network}, or the address alone")
    if isinstance(network, IPv6Network) and isinstance(_MAPPED, IPv6Network) and network.subnet_of(_MAPPED):
        # Clients are known by their IPv4 address, however the server was reached.
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def shown(network: Network) -> str:
    """A network as people write it: without the length where it is one address."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)
