"""A person as they see themself, and the tenants they are in."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.identity.schemas import TenantView, UserView

_USER = text(
    "select id, email, full_name, case when deleted_at is null then status else 'deleted' end,"
    " email_verified_at is not null,"
    " exists (select from totp_factors f where f.user_id = users.id and f.confirmed_at is not null),"
    " last_sign_in_at, created_at from users where id = :id"
)
_TENANTS = text(
    "select t.id, t.name, t.plan, m.role, t.status from memberships m join tenants t on t.id = m.tenant_id"
    " where m.user_id = :user and t.status <> 'deleted' order by m.id"
)

_VERIFIED = text("select email is null or email_verified_at is not null from users where id = :id")
_RENAME = text("update users set full_name = :name where id = :id")


async def user_view(session: AsyncSession, user_id: UUID) -> UserView:
    """A person as they see themself."""
    row = (await session.execute(_USER, {"id": user_id})).one()
    return UserView(*row)


async def is_verified(session: AsyncSession, user_id: UUID) -> bool:
    """Whether a person has shown that their address is theirs, or has none to show it of."""
    return bool(await session.scalar(_VERIFIED, {"id": user_id}))


async def rename(session: AsyncSession, user_id: UUID, full_name: str | None) -> None:
    """Call a person otherwise."""
    await session.execute(_RENAME, {"id": user_id, "name": full_name})


async def tenants_of(session: AsyncSession, user_id: UUID) -> list[TenantView]:
    """The tenants a person is in, suspended ones included, oldest membership first."""
    return [TenantView(*row) for row in await session.execute(_TENANTS, {"user": user_id})]
