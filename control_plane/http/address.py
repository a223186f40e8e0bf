"""Where a request comes from, and which one it is."""

from __future__ import annotations

import ipaddress
from typing import Any
from uuid import UUID

from litestar.connection import ASGIConnection
from uuid_utils.compat import uuid7

from control_plane.settings import Settings

Connection = ASGIConnection[Any, Any, Any, Any]


def client_address(connection: Connection) -> str | None:
    """The client's IP address in its normal form; None where the server does not tell one.

    ``X-Forwarded-For`` is believed only as far as it was written by proxies in ``TRADEWISE_TRUSTED_PROXIES``: read from
    the right, the first address that is not one of them is the client. Anybody can write what stands further left.
    """
    settings: Settings = connection.app.state.settings
    peer = _address(connection.client.host if connection.client else "")
    if peer is None or not _trusted(peer, settings):
        return str(peer) if peer is not None else None
    hops = [part.strip() for value in connection.headers.getall("x-forwarded-for", []) for part in value.split(",")]
    for hop in reversed(hops):
        address = _address(hop)
        if address is None:
            break
        peer = address
        if not _trusted(address, settings):
            break
    return str(peer)


def request_id(connection: Connection) -> UUID:
    """An id for this request, made at the first question and told in its log line, its answer and the audit log."""
    state = connection.scope["state"]
    found: UUID | None = state.get("request_id")
    if found is None:
        found = state["request_id"] = uuid7()
    return found


def _trusted(address: ipaddress.IPv4Address | ipaddress.IPv6Address, settings: Settings) -> bool:
    return any(address in network for network in settings.trusted_proxies)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    # A zone (fe80::1%eth0) says something of our machine, not of the client, and does not go into the database.
    return mapped or (ipaddress.IPv6Address(int(found)) if getattr(found, "scope_id", None) else found)
