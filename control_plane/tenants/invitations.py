"""Invitations: a role offered to an address by mail, taken up by whoever reads it there and signs in with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.database.sessions import Database
from control_plane.errors import ConflictError, ForbiddenError, NotFoundError
from control_plane.identity.principal import Principal, TenantSuspendedError
from control_plane.mail.outbox import post
from control_plane.security import limits
from control_plane.security.limits import Rule
from control_plane.security.tokens import digest_of, new_token
from control_plane.settings import Settings
from control_plane.tenants import letters, rules
from control_plane.tenants.members import check
from control_plane.tenants.queries import get_invitation, get_tenant, hold
from control_plane.tenants.schemas import InvitationView, NewInvitation, TenantDetail

LIFETIME: Final = timedelta(days=7)
MOST_OPEN: Final = 50
#: 30 mails an hour, counted for the tenant and for the person, who might have several tenants.
_A_TENANT: Final = Rule("invitations_of_tenant", each_s=120, burst=30)
_A_PERSON: Final = Rule("invitations_of_person", each_s=120, burst=30)
_ACCEPTS: Final = Rule("invitation_accepts", each_s=6, burst=20)

_MEMBER = text(
    "select m.user_id from memberships m join users u on u.id = m.user_id"
    " where m.tenant_id = :tenant and lower(u.email) = lower(:email)"
)
_OPEN = text(
    "select count(*) from invitations"
    " where accepted_at is null and revoked_at is null and expires_at > now() and lower(email) <> lower(:email)"
)
_REPLACE = text(
    "update invitations set revoked_at = now()"
    " where lower(email) = lower(:email) and accepted_at is null and revoked_at is null"
)
_INSERT = text(
    "insert into invitations (id, email, role, token_hash, invited_by, expires_at)"
    " values (:id, :email, :role, :digest, :user, :expires_at)"
)
_REVOKE = text("update invitations set revoked_at = now() where id = :id")
_FIND = text("select tenant_id, tenant_status, for_me from invitation_of(:digest)")
_ACCEPT = text("select accept_invitation(:digest, :membership)")


async def count_invitation(database: Database, principal: Principal) -> None:
    """Count one more mail. Raises 429."""
    await limits.take(database, _A_PERSON, str(principal.user_id))
    await limits.take(database, _A_TENANT, str(principal.tenant_id))


async def invite(
    session: AsyncSession, principal: Principal, settings: Settings, data: NewInvitation
) -> InvitationView:
    """Offer a role to an address, in the place of an earlier offer. It is the same whether or not the address is known.

    Raises 403 for a role above the caller's own, 409 for somebody who is in the tenant, or for too many open offers.
    """
    principal.require("members:write")
    actor = await hold(session, principal)
    actor.require("members:write")
    check(rules.invite(actor.role or "", data.role))
    if await session.scalar(_MEMBER, {"tenant": actor.tenant_id, "email": data.email}) is not None:
        raise ConflictError("this address belongs to a member: change their role instead", code="already_a_member")
    if (await session.scalar(_OPEN, {"email": data.email}) or 0) >= MOST_OPEN:
        raise ConflictError(
            f"there are {MOST_OPEN} open invitations: take some back, or wait until they are accepted",
            code="too_many_invitations",
        )
    await session.execute(_REPLACE, {"email": data.email})
    token, identity, expires_at = new_token(), uuid7(), datetime.now(UTC) + LIFETIME
    await session.execute(
        _INSERT,
        {
            "id": identity,
            "email": data.email,
            "role": data.role,
            "digest": token.digest,
            "user": actor.user_id,
            "expires_at": expires_at,
        },
    )
    letter = letters.invitation(
        to=data.email,
        tenant=(await get_tenant(session, actor)).name,
        inviter=actor.full_name or actor.email,
        role=data.role,
        token=token.text,
        expires_at=expires_at,
        public_url=settings.public_url,
    )
    await post(session, letter)
    return await get_invitation(session, identity)


async def take_back(session: AsyncSession, principal: Principal, invitation_id: UUID) -> None:
    """Make an invitation worthless. Raises 403 for one to a role above the caller's own, 404."""
    principal.require("members:write")
    actor = await hold(session, principal)
    actor.require("members:write")
    found = await get_invitation(session, invitation_id)
    check(rules.invite(actor.role or "", found.role))
    await session.execute(_REVOKE, {"id": invitation_id})


async def accept(database: Database, principal: Principal, token: str) -> TenantDetail:
    """Join the tenant that a mailed token leads to. Raises 404 for a token that is worth nothing, 403 for another's.

    The token was written in one mail and nowhere else: whoever has it reads the mail of the invited address. So it
    suffices that the account has that address, and the address is verified by it.
    """
    principal.require_person()
    await limits.take(database, _ACCEPTS, str(principal.user_id))
    digest = digest_of(token)
    person = msgspec.structs.replace(principal.binding, tenant_id=None)
    async with database.transaction(person) as session:
        found = (await session.execute(_FIND, {"digest": digest})).one_or_none()
    if found is None:
        raise _worthless()
    if not found.for_me:
        raise ForbiddenError(
            "this invitation was mailed to another address: sign in with that one, or ask to be invited with yours",
            code="invited_address_differs",
        )
    if found.tenant_status == "suspended":
        raise TenantSuspendedError
    there = msgspec.structs.replace(principal, tenant=found.tenant_id)
    async with database.transaction(there.binding) as session:
        if not await session.scalar(_ACCEPT, {"digest": digest, "membership": uuid7()}):
            raise _worthless()
        return await get_tenant(session, there)


def _worthless() -> NotFoundError:
    return NotFoundError("invitation, or it has expired, was used or taken back: ask for a new one")
