"""The firewall's rules for one installation, as data: pure. `program.py` writes them into the kernel.

They hold for packets that come in or go out by one of our bridges and for nothing else, whatever else the machine's
firewall has. A `drop` is final; an `accept` only ends our own table, and the engine's rules come after it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from agents.launcher.runtimes.base import Egress, Reach
from control_plane.security.egress import BLOCKED, METADATA, Destination

Match = list[tuple[str, str | int]]
Rule = tuple[Match, str]

#: Before the engine's own chains, which are at 0.
_PRIORITY: Final = -10
_FORWARDED: Final[tuple[str, str | int]] = ("forwarded", 1)


def table_name(installation: UUID) -> str:
    """One table an installation, so that two on one engine leave each other's alone."""
    return f"tradewise_{installation.hex}"


def nothing(installation: UUID) -> dict[str, Any]:
    """What takes the table away."""
    return {"table": table_name(installation), "mark": "none", "chains": []}


def look(installation: UUID) -> dict[str, Any]:
    """What changes nothing, and tells whether the table is there."""
    return {**nothing(installation), "look": True}


def document(installation: UUID, egress: Egress, bridges: str, bridge_of: Callable[[UUID], str]) -> dict[str, Any]:
    """The whole table. ``bridges`` is the beginning of all our bridges' names, with a star.

    The mark is a chain without rules whose name tells this table from one with other rules.
    """
    chains = [
        # The one chain that the host itself fills: with the name servers that containers ask.
        {"name": "resolvers", "rules": []},
        {"name": "operator", "rules": _operator(egress)},
        *(
            {"name": bridge_of(tenant), "rules": _narrowed(reach)}
            for tenant, reach in sorted(egress.tenants.items())
            if reach.mode != "public"
        ),
        {"name": "egress", "rules": _egress(egress, bridges, bridge_of)},
        {"name": "input", "hook": "input", "priority": _PRIORITY, "rules": [([("iif", bridges)], "goto egress")]},
        {"name": "forward", "hook": "forward", "priority": _PRIORITY, "rules": _forward(bridges)},
    ]
    digest = hashlib.sha256(json.dumps(chains, sort_keys=True).encode()).hexdigest()[:16]
    mark = f"rules_{digest}"
    return {"table": table_name(installation), "mark": mark, "chains": [{"name": mark, "rules": []}, *chains]}


def _forward(bridges: str) -> list[Rule]:
    """Out of a bot: what it may. Into a bot: answers to it, and what comes by its published port."""
    return [
        ([("iif", bridges)], "goto egress"),
        ([("oif", bridges), ("known", 1)], "accept"),
        ([("oif", bridges), ("published", 1)], "accept"),
        ([("oif", bridges)], "drop"),
    ]


def _egress(egress: Egress, bridges: str, bridge_of: Callable[[UUID], str]) -> list[Rule]:
    """What a bot sends, to the host or through it. Only answers pass unseen: a narrower rule ends what is open."""
    narrowed: list[Rule] = [
        ([("iif", bridge_of(tenant))], f"goto {bridge_of(tenant)}")
        for tenant, reach in sorted(egress.tenants.items())
        if reach.mode != "public"
    ]
    return [
        ([("family", "ipv6")], "drop"),
        ([("reply", 1), ("known", 1)], "accept"),
        # Neighbours, on the same bridge and on others, before anything that somebody may have opened.
        ([("oif", bridges)], "drop"),
        *narrowed,
        ([], "goto operator"),
    ]


def _narrowed(reach: Reach) -> list[Rule]:
    """A tenant's own list leads to what the operator opens, and to nothing beside it."""
    if reach.mode == "none":
        return [([], "drop")]
    listed: list[Rule] = [(match, "goto operator") for place in reach.destinations for match in _matches(place)]
    return [([], "jump resolvers"), *listed, ([], "drop")]


def _operator(egress: Egress) -> list[Rule]:
    """What is open to everybody. The host's own services are opened one by one, never by a range that holds them."""
    if egress.mode == "none":
        return [([], "drop")]
    opened: list[Rule] = [
        (match if place.one_service else [*match, _FORWARDED], "accept")
        for place in egress.allowed
        for match in _matches(place)
    ]
    never: list[Rule] = [([("to", item.network)], "drop") for item in METADATA]
    rules: list[Rule] = [([], "jump resolvers"), *never, *opened]
    if egress.mode == "public":
        rules += [([("to", item.network)], "drop") for item in BLOCKED]
        rules.append(([_FORWARDED], "accept"))
    return [*rules, ([], "drop")]


def _matches(place: Destination) -> list[Match]:
    if place.port is None:
        return [[("to", place.network)]]
    return [[("to", place.network), ("protocol", kind), ("port", place.port)] for kind in ("tcp", "udp")]
