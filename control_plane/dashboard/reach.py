"""What bots may reach in words: which entries of a tenant's list count, and what stays closed. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import Final

from control_plane.dashboard.forms import sentence
from control_plane.security.egress import BLOCKED, METADATA, Blocked, Destination, parse_destination
from control_plane.tenants.egress import BlockedView, EffectiveView

_LISTED: Final = "It is on your list."
_PARTLY: Final = "It is on your list. Parts of it stay closed, as said below."


def listed(effective: EffectiveView) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The tenant's destinations with a sentence each: those that are open, and those that stay closed all the same."""
    operators = [parse_destination(place) for place in effective.opened_by_operator]
    opened, shut = list[tuple[str, str]](), list[tuple[str, str]]()
    for place in effective.destinations:
        rule, whole = _closed_by(parse_destination(place), operators)
        if rule is None:
            opened.append((place, _LISTED))
        elif whole:
            shut.append((place, f"It is on your list, and stays closed: {sentence(rule.reason)}"))
        else:
            opened.append((place, _PARTLY))
    return opened, shut


def _closed_by(place: Destination, operators: Iterable[Destination]) -> tuple[Blocked | None, bool]:
    """The rule that closes a place, and whether it closes the whole of it. Metadata stays closed to everybody."""
    network = IPv4Network(place.network)
    freed = any(one.port in {None, place.port} and network.subnet_of(IPv4Network(one.network)) for one in operators)
    rules = [rule for rule in (METADATA if freed else BLOCKED) if network.overlaps(IPv4Network(rule.network))]
    for rule in rules:
        if network.subnet_of(IPv4Network(rule.network)):
            return rule, True
    return (rules[0] if rules else None), False


def closed(blocked: Iterable[BlockedView]) -> list[tuple[str, list[str]]]:
    """What stays closed to every bot, by the reason why, in the order of the rules."""
    found: dict[str, list[str]] = {}
    for rule in blocked:
        found.setdefault(sentence(rule.reason), []).append(rule.range)
    return list(found.items())
