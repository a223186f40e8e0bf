"""A tenant's own life: made, renamed, suspended, resumed, ended."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.api_keys import service as api_keys
from control_plane.audit.notes import note
from control_plane.bots import service as bots
from control_plane.database.sessions import Database
from control_plane.errors import ConflictError, ForbiddenError, unacceptable
from control_plane.identity.principal import Principal, TenantSuspendedError
from control_plane.security import limits
from control_plane.security.limits import Rule
from control_plane.subscriptions import service as subscriptions
from control_plane.templates import service as templates
from control_plane.tenants.queries import get_tenant, hold
from control_plane.tenants.schemas import EndTenant, NewTenant, PatchTenant, TenantDetail

_A_PERSON: Final = Rule("tenants_of_person", each_s=360, burst=10)
_FOUND = text("select found_tenant(:tenant, :name, :membership)")
_RENAME = text("update tenants set name = :name where id = :id")
_SUSPEND = text("select suspend_tenant()")
_RESUME = text("select resume_tenant()")
_END = text("select end_tenant()")
_FOREIGN = text("select foreign_subscribers()")


async def count_founding(database: Database, principal: Principal) -> None:
    """Count one more tenant of a person. Raises 429."""
    await limits.take(database, _A_PERSON, str(principal.user_id))


async def found(session: AsyncSession, principal: Principal, tenant_id: UUID, data: NewTenant) -> None:
    """Make a further tenant, which the person who calls owns."""
    principal.require_person()
    await session.execute(_FOUND, {"tenant": tenant_id, "name": data.name.strip(), "membership": uuid7()})


async def rename(session: AsyncSession, principal: Principal, data: PatchTenant) -> TenantDetail:
    """Another name, in the marketplace too."""
    principal.require("tenant:write")
    await hold(session, principal)
    name = data.name.strip()
    await session.execute(_RENAME, {"name": name, "id": principal.tenant_id})
    await templates.rename_creator(session, principal, name)
    return await get_tenant(session, principal)


async def suspend(session: AsyncSession, principal: Principal) -> TenantDetail:
    """Stop what the tenant runs until it is resumed. What people wish of their bots stays. Again: changes nothing."""
    principal.require("tenant:delete", even_suspended=True)
    principal.require_person()
    await session.scalar(_SUSPEND)
    return await get_tenant(session, principal)


async def resume(session: AsyncSession, principal: Principal) -> TenantDetail:
    """End an owner's suspension; bots start again as they are wished. Raises 403 for one by the operator."""
    principal.require("tenant:delete", even_suspended=True)
    principal.require_person()
    await session.scalar(_RESUME)
    tenant = await get_tenant(session, principal)
    if tenant.suspended_by == "operator":
        raise ForbiddenError(
            "the operator of this installation has suspended this tenant: ask them", code="suspended_by_operator"
        )
    return tenant


async def end(session: AsyncSession, principal: Principal, data: EndTenant) -> None:
    """Delete the tenant for good: nothing of it runs, nobody is in it, and what it sealed can never be opened again.

    Raises 403 for one that the operator has suspended, 409 while others subscribe to its templates, 422 for a
    ``confirm`` that is not its name.
    """
    principal.require("tenant:delete", even_suspended=True)
    principal.require_person()
    await hold(session, principal)
    tenant = await get_tenant(session, principal)
    if tenant.suspended_by == "operator":
        raise TenantSuspendedError
    if data.confirm != tenant.name:
        raise unacceptable("confirm", "must be the name of the tenant, letter by letter", code="not_confirmed")
    await wind_up(session, principal, end_subscriptions=data.end_subscriptions)


async def check_subscribers(session: AsyncSession, *, end_subscriptions: bool) -> int:
    """How many subscriptions of others end with the tenant. Raises 409 where there are some and it is not meant."""
    others: int = await session.scalar(_FOREIGN) or 0
    if others and not end_subscriptions:
        raise ConflictError(
            f"{others} subscription{'s' if others > 1 else ''} of others rest on this tenant's templates: set"
            " end_subscriptions to end what they rest on too",
            code="has_subscribers",
        )
    return others


async def wind_up(session: AsyncSession, principal: Principal, *, end_subscriptions: bool) -> None:
    """Everything that ends with a tenant, in one transaction. Agents take away what still runs. Raises 409."""
    others = await check_subscribers(session, end_subscriptions=end_subscriptions)
    if others:
        await note(session, "subscribers.left_behind", resource="tenant", detail={"subscriptions": others})
    await subscriptions.cancel_all(session)
    await templates.withdraw_all(session, principal)
    await bots.retire_all(session)
    await api_keys.revoke_all(session)
    # Last: it ends the membership by which everything before is allowed, and destroys the keys.
    if not await session.scalar(_END):
        raise ForbiddenError("only an owner deletes a tenant", code="not_an_owner")
