"""A person who deletes their account, with the tenants that nobody else is in."""

from __future__ import annotations

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.audit.notes import note_person
from control_plane.database.sessions import Database
from control_plane.errors import ConflictError, unacceptable
from control_plane.identity.permissions import granted
from control_plane.identity.principal import Principal, TenantSuspendedError
from control_plane.identity.schemas import TenantView
from control_plane.identity.sign_in import tenants_of
from control_plane.tenants import service
from control_plane.tenants.queries import get_tenant, hold
from control_plane.tenants.schemas import EndMe

_OTHERS = text(
    "select count(*) as members, count(*) filter (where role = 'owner') as owners from memberships"
    " where tenant_id = :tenant and user_id <> :user"
)
_END = text("select end_person()")


async def end_me(database: Database, principal: Principal, data: EndMe) -> None:
    """Delete the person who calls. Each tenant of theirs alone ends in a transaction of its own, the person last.

    Where that is cut off half-way, what has ended has, and asking again does the rest. Raises 403 for a tenant that the
    operator has suspended, 409 for one that others are in, or subscribe to, and 422 for a wrong ``confirm``.
    """
    principal.require_person()
    if data.confirm.lower() != (principal.email or str(principal.user_id)).lower():
        raise unacceptable("confirm", "must be the address of your account", code="not_confirmed")
    person = msgspec.structs.replace(principal, tenant=None)
    async with database.transaction(person.binding) as session:
        owned = [tenant for tenant in await tenants_of(session, principal.user_id) if tenant.role == "owner"]
    # Every tenant is looked at before the first ends, and once more under its hold: somebody may have joined.
    alone = []
    for there in (_in(principal, tenant) for tenant in owned):
        async with database.transaction(there.binding) as session:
            if await _is_alone(session, there, data):
                alone.append(there)
    for there in alone:
        async with database.transaction(there.binding) as session:
            await hold(session, there)
            if await _is_alone(session, there, data):
                await service.wind_up(session, there, end_subscriptions=data.end_subscriptions)
    async with database.transaction(person.binding) as session:
        await note_person(session, principal.user_id, "person.deleted")
        if not await session.scalar(_END):
            raise _needed("a tenant")


async def _is_alone(session: AsyncSession, there: Principal, data: EndMe) -> bool:
    """Whether nobody else is in a tenant, which then ends. Raises 403, 409 where it cannot be left or ended."""
    others = (await session.execute(_OTHERS, {"tenant": there.tenant_id, "user": there.user_id})).one()
    if others.members:
        if not others.owners:
            raise _needed(f'"{there.tenant_name}"')
        return False
    if (await get_tenant(session, there)).suspended_by == "operator":
        raise TenantSuspendedError
    await service.check_subscribers(session, end_subscriptions=data.end_subscriptions)
    return True


def _in(principal: Principal, tenant: TenantView) -> Principal:
    return msgspec.structs.replace(
        principal,
        tenant=tenant.id,
        tenant_name=tenant.name,
        tenant_status=tenant.status,
        role=tenant.role,
        scopes=granted(tenant.role, None),
    )


def _needed(what: str) -> ConflictError:
    return ConflictError(
        f"you are the last owner of {what}, and others are in it: hand it over or delete it first", code="last_owner"
    )
