"""Where a tenant's hosted bots may connect to: as it narrows it, and as that comes out with the operator's rules."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.bots.queries import limits_view
from control_plane.bots.quota import wished
from control_plane.bots.schemas import LimitsView
from control_plane.errors import unacceptable
from control_plane.identity.principal import Principal
from control_plane.plans import plan_of
from control_plane.security.egress import ALSO_BLOCKED, BLOCKED, MODES, Destination, Mode, parse_destination
from control_plane.settings import Settings
from control_plane.tenants.queries import get_tenant, hold

_READ = text("""
    select mode, destinations, revision, applied_revision, applied_at, updated_at from tenant_egress
    where tenant_id = :tenant
""")
_WRITE = text("""
    insert into tenant_egress (id, mode, destinations) values (:id, :mode, :destinations)
    on conflict (tenant_id) do update
    set mode = excluded.mode, destinations = excluded.destinations, revision = tenant_egress.revision + 1
""")
# Beats come every five seconds; what was said half a minute ago says nothing of now.
_GUARD = text("""
    select detail -> 'containment' ->> 'guard' from agent_beats
    where kind = 'launcher' and detail ->> 'role' = 'acting' and beat_at > now() - interval '30 seconds'
    order by beat_at desc limit 1
""")
_OFF: Final = "The operator has switched the guard off: these rules are written down, and nothing enforces them."
_HOLDS: Final = "The firewall of the machine that runs the bots enforces these rules, whatever a bot's program does."
_UNKNOWN: Final = "Nobody has confirmed these rules lately. No bot starts before they hold."


class PutEgress(msgspec.Struct, forbid_unknown_fields=True):
    """Where bots may connect to: public addresses, only ``destinations``, or nowhere."""

    mode: Mode
    destinations: Annotated[list[Annotated[str, msgspec.Meta(max_length=40)]], msgspec.Meta(max_length=64)] = []


class BlockedView(msgspec.Struct, frozen=True):
    """Addresses that stay closed, and why."""

    range: str
    reason: str


class EffectiveView(msgspec.Struct, frozen=True):
    """What comes out of the tenant's rules and the operator's."""

    mode: str
    destinations: list[str]
    opened_by_operator: list[str]
    blocked: list[BlockedView]


class EgressView(msgspec.Struct, frozen=True):
    """The tenant's rules, whether they are in force, and what they come to."""

    mode: str
    destinations: list[str]
    updated_at: datetime | None
    applied: bool
    applied_at: datetime | None
    guard: str
    note: str
    effective: EffectiveView


class PlanView(msgspec.Struct, frozen=True):
    """The plan of a tenant: how many hosted bots may run, how many are wished running, and what each may take."""

    plan: str
    running_bots: int | None
    running_bots_used: int
    limits: LimitsView


async def get_plan(session: AsyncSession, settings: Settings, principal: Principal) -> PlanView:
    """The tenant's plan and what is used of it."""
    name = (await get_tenant(session, principal)).plan
    return PlanView(
        name, plan_of(settings.plans, name).running_bots, await wished(session), limits_view(settings, name)
    )


async def get_egress(session: AsyncSession, settings: Settings, principal: Principal) -> EgressView:
    """What the tenant's bots may reach."""
    principal.require("tenant:read")
    row = (await session.execute(_READ, {"tenant": principal.tenant_id})).one_or_none()
    return _view(settings, row, await session.scalar(_GUARD))


async def put_egress(session: AsyncSession, settings: Settings, principal: Principal, data: PutEgress) -> EgressView:
    """Replace the tenant's rules. They can only narrow what the operator lets through. Raises 422."""
    principal.require("tenant:write")
    destinations = _checked(data)
    await hold(session, principal)
    values = {"id": uuid7(), "mode": data.mode, "destinations": [str(place) for place in destinations]}
    await session.execute(_WRITE, values)
    return await get_egress(session, settings, principal)


def _checked(data: PutEgress) -> list[Destination]:
    found: list[Destination] = []
    for number, words in enumerate(data.destinations):
        try:
            place = parse_destination(words)
        except ValueError as error:
            raise unacceptable(f"destinations[{number}]", str(error)) from error
        if place not in found:
            found.append(place)
    if data.mode == "listed" and not found:
        raise unacceptable("destinations", "must name at least one network; choose the mode none to close everything")
    if data.mode != "listed" and found:
        raise unacceptable("destinations", "are for the mode listed: leave them out, or choose that mode")
    return found


def _view(settings: Settings, row: Row[Any] | None, guard: str | None) -> EgressView:
    off = settings.egress_guard == "off"
    state = "off" if off else guard or "unknown"
    mode, destinations = (row.mode, list(row.destinations)) if row is not None else ("public", [])
    return EgressView(
        mode=mode,
        destinations=destinations,
        updated_at=row.updated_at if row is not None else None,
        applied=state == "holds" and (row is None or row.applied_revision == row.revision),
        applied_at=row.applied_at if row is not None else None,
        guard=state,
        note=_OFF if off else _HOLDS if state == "holds" else _UNKNOWN,
        effective=_effective(settings, mode, destinations),
    )


def _effective(settings: Settings, mode: str, destinations: list[str]) -> EffectiveView:
    narrower = max((mode, settings.bot_egress), key=MODES.index)
    opened = [] if narrower == "none" else [str(place) for place in settings.bot_egress_allow]
    return EffectiveView(
        mode=narrower,
        destinations=destinations if mode == "listed" and narrower == "listed" else [],
        opened_by_operator=opened,
        blocked=[BlockedView(item.network, item.reason) for item in (*BLOCKED, *ALSO_BLOCKED)],
    )
