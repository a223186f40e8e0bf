"""Changes of who is in a tenant and as what. The rules are in rules.py; here they are held, one change at a time."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.api_keys import service as api_keys
from control_plane.audit.notes import note
from control_plane.errors import AppError, ConflictError, ForbiddenError, unacceptable
from control_plane.identity.principal import Principal, TenantSuspendedError
from control_plane.tenants import rules
from control_plane.tenants.queries import get_member, hold
from control_plane.tenants.rules import Refusal
from control_plane.tenants.schemas import MemberView

_OWNERS = text("select count(*) from memberships where tenant_id = :tenant and role = 'owner'")
_SET_ROLE = text("update memberships set role = :role where tenant_id = :tenant and user_id = :user")
_REMOVE = text("delete from memberships where tenant_id = :tenant and user_id = :user")
_TAKE_BACK = text(
    "update invitations set revoked_at = now() where invited_by = :user and accepted_at is null and revoked_at is null"
)
_WORDS = {
    Refusal.ABOVE_YOURS: "this is above your own role: ask somebody who has it",
    Refusal.LAST_OWNER: "a tenant keeps an owner: make another member an owner first, or delete the tenant",
    Refusal.NOT_AN_OWNER: "only an owner hands a tenant over",
}


def refused(refusal: Refusal) -> AppError:
    """A rule's answer as the client is told it: 409 for what the tenant's state forbids, 403 for what a role does."""
    kind = ConflictError if refusal is Refusal.LAST_OWNER else ForbiddenError
    return kind(_WORDS[refusal], code=refusal.value)


def check(refusal: Refusal | None) -> None:
    """Raise :func:`refused` where a rule says no."""
    if refusal is not None:
        raise refused(refusal)


async def change_role(session: AsyncSession, principal: Principal, user_id: UUID, role: str) -> MemberView:
    """Give a member another role. Raises 403 above the caller's own, 404, 409 for the last owner."""
    principal.require("members:write")
    actor = await hold(session, principal)
    actor.require("members:write")
    member = await get_member(session, actor, user_id)
    check(rules.change_role(_role(actor), member.role, role, owners=await _owners(session, actor)))
    if member.role != role:
        await session.execute(_SET_ROLE, {"tenant": actor.tenant_id, "user": user_id, "role": role})
    return await get_member(session, actor, user_id)


async def remove(session: AsyncSession, principal: Principal, user_id: UUID) -> None:
    """End a membership, with the keys that the member made here and the invitations they gave. Oneself: leave.

    Raises 403 for somebody above the caller, 404, 409 for the last owner.
    """
    leaving = user_id == principal.user_id
    if leaving:
        principal.require_person()
        if principal.tenant_status == "suspended":
            raise TenantSuspendedError
    else:
        principal.require("members:write")
    actor = await hold(session, principal)
    if not leaving:
        actor.require("members:write")
    member = await get_member(session, actor, user_id)
    check(rules.remove(_role(actor), member.role, owners=await _owners(session, actor)))
    # While the membership still stands: afterwards, this person's rows are no longer those of a fellow member.
    await api_keys.revoke_keys_of(session, user_id)
    await session.execute(_TAKE_BACK, {"user": user_id})
    await session.execute(_REMOVE, {"tenant": actor.tenant_id, "user": user_id})
    if leaving:
        await note(session, "member.left", resource="member", resource_id=user_id)


async def hand_over(session: AsyncSession, principal: Principal, user_id: UUID) -> None:
    """Make another member the owner; the caller becomes an admin. Raises 403, 404, 422 for oneself or no member."""
    principal.require("tenant:delete")
    actor = await hold(session, principal)
    check(rules.hand_over(_role(actor)))
    if user_id == actor.user_id:
        raise unacceptable("user_id", "is you, who owns this tenant already", code="owner_already")
    known = await session.scalar(
        text("select user_id from memberships where tenant_id = :tenant and user_id = :user"),
        {"tenant": actor.tenant_id, "user": user_id},
    )
    if known is None:
        raise unacceptable("user_id", "is no member of this tenant: invite them first", code="not_a_member")
    for user, role in ((user_id, "owner"), (actor.user_id, "admin")):
        await session.execute(_SET_ROLE, {"tenant": actor.tenant_id, "user": user, "role": role})
    await note(session, "tenant.handed_over", resource="member", resource_id=user_id)


async def _owners(session: AsyncSession, principal: Principal) -> int:
    found: int = await session.scalar(_OWNERS, {"tenant": principal.tenant_id}) or 0
    return found


def _role(principal: Principal) -> str:
    if principal.role is None:
        raise ForbiddenError("you are not a member of this tenant", code="not_a_member")
    return principal.role
