"""Reads of tenants, members and invitations, and the hold that their changes take turns by."""

from __future__ import annotations

from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.errors import NotFoundError
from control_plane.identity.permissions import granted
from control_plane.identity.principal import Principal
from control_plane.tenants.schemas import InvitationView, MemberView, TenantDetail

_DETAIL = """
    select t.id, t.name, t.plan, m.role, t.status, t.suspended_at, t.suspended_by, t.suspended_reason, t.created_at,
        t.updated_at
    from tenants t join memberships m on m.tenant_id = t.id and m.user_id = :user
"""
_ONE = text(_DETAIL + " where t.id = :id and t.status <> 'deleted'")
_MINE = text(
    _DETAIL
    + " where t.status <> 'deleted' and (cast(:only as uuid) is null or t.id = :only)"
    + " and (cast(:before as uuid) is null or t.id < :before) order by t.id desc limit :limit"
)
_MEMBER = """
    select m.user_id, u.email, u.full_name, m.role, m.created_at
    from memberships m join users u on u.id = m.user_id where m.tenant_id = :tenant
"""
_ONE_MEMBER = text(_MEMBER + " and m.user_id = :user")
_MEMBERS = text(
    _MEMBER + " and (cast(:before as uuid) is null or m.user_id < :before) order by m.user_id desc limit :limit"
)
_INVITATION = """
    select id, email, role, invited_by, expires_at, created_at from invitations
    where accepted_at is null and revoked_at is null
"""
_ONE_INVITATION = text(_INVITATION + " and id = :id")
_INVITATIONS = text(_INVITATION + " and (cast(:before as uuid) is null or id < :before) order by id desc limit :limit")
# Nothing that only refers to the tenant waits for this: its bots, events and keys are written meanwhile.
_HOLD = text("select id from tenants where id = :tenant and status <> 'deleted' for no key update")
_ROLE = text("select role from memberships where tenant_id = :tenant and user_id = :user")


async def hold(session: AsyncSession, principal: Principal) -> Principal:
    """Make changes of one tenant's members take turns; the caller with the role that they have now, in their turn.

    Raises 404 for a tenant that has ended, or that the caller was removed from, since the request came in.
    """
    values = {"tenant": principal.tenant_id, "user": principal.user_id}
    if await session.scalar(_HOLD, values) is None:
        raise NotFoundError("tenant")
    role: str | None = await session.scalar(_ROLE, values)
    if role is None:
        raise NotFoundError("tenant")
    return msgspec.structs.replace(principal, role=role, scopes=granted(role, principal.scopes))


async def get_tenant(session: AsyncSession, principal: Principal) -> TenantDetail:
    """The tenant acted in. Raises 404."""
    row = (await session.execute(_ONE, {"id": principal.tenant_id, "user": principal.user_id})).one_or_none()
    if row is None:
        raise NotFoundError("tenant")
    return TenantDetail(*row)


async def my_tenants(
    session: AsyncSession, principal: Principal, before: UUID | None, limit: int
) -> list[TenantDetail]:
    """The tenants that the caller is in, newest first; an API key is in one."""
    only = principal.tenant if principal.key_id is not None else None
    values = {"user": principal.user_id, "only": only, "before": before, "limit": limit}
    return [TenantDetail(*row) for row in await session.execute(_MINE, values)]


async def get_member(session: AsyncSession, principal: Principal, user_id: UUID) -> MemberView:
    """One member of the tenant. Raises 404."""
    row = (await session.execute(_ONE_MEMBER, {"tenant": principal.tenant_id, "user": user_id})).one_or_none()
    if row is None:
        raise NotFoundError("member")
    return MemberView(*row)


async def list_members(
    session: AsyncSession, principal: Principal, before: UUID | None, limit: int
) -> list[MemberView]:
    """Everybody who is in the tenant, newest account first."""
    principal.require("members:read")
    values = {"tenant": principal.tenant_id, "before": before, "limit": limit}
    return [MemberView(*row) for row in await session.execute(_MEMBERS, values)]


async def get_invitation(session: AsyncSession, invitation_id: UUID) -> InvitationView:
    """One open invitation of the bound tenant. Raises 404."""
    row = (await session.execute(_ONE_INVITATION, {"id": invitation_id})).one_or_none()
    if row is None:
        raise NotFoundError("invitation")
    return InvitationView(*row)


async def list_invitations(
    session: AsyncSession, principal: Principal, before: UUID | None, limit: int
) -> list[InvitationView]:
    """Invitations that are neither accepted nor revoked, newest first; expired ones too, until they are replaced."""
    principal.require("members:read")
    rows = await session.execute(_INVITATIONS, {"before": before, "limit": limit})
    return [InvitationView(*row) for row in rows]
