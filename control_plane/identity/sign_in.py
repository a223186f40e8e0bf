"""Signing up, in and out, and telling who a token belongs to. Everybody's password is checked with the same work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.database.sessions import Database
from control_plane.errors import AppError, ForbiddenError
from control_plane.identity.permissions import granted
from control_plane.identity.principal import Principal
from control_plane.identity.schemas import SignUp, TenantView, UserView
from control_plane.security.passwords import Passwords
from control_plane.security.tokens import api_key_prefix, digest_of, new_token
from control_plane.settings import Settings


class SignInFailedError(AppError):
    """One answer for an unknown address, a wrong password and a suspended person."""

    status, code, title = 401, "sign_in_failed", "That did not match"

    def __init__(self) -> None:
        super().__init__(
            "the e-mail address and the password do not match an active account",
            headers={"WWW-Authenticate": "Bearer"},
        )


class NotAMemberError(ForbiddenError):
    """The tenant that was asked for is none of the caller's, whether or not there is one of that id."""

    code = "not_a_member"


class SignedIn(msgspec.Struct, frozen=True):
    """A fresh session: the token is shown here and never again."""

    access_token: str
    expires_at: datetime
    user: UserView
    tenants: list[TenantView]


async def sign_up(database: Database, passwords: Passwords, data: SignUp) -> None:
    """Make the person and a tenant of their own; where the address is taken, do the same work and change nothing."""
    digest = await passwords.hash(data.password)
    name = data.full_name or data.email.partition("@")[0]
    async with database.anonymous() as session:
        await session.execute(
            text("select auth_sign_up(:user, :email, :hash, :name, :tenant, :tenant_name, :membership)"),
            {
                "user": uuid7(),
                "email": data.email,
                "hash": digest,
                "name": data.full_name,
                "tenant": uuid7(),
                "tenant_name": f"{name}'s workspace",
                "membership": uuid7(),
            },
        )


async def sign_in(
    database: Database,
    passwords: Passwords,
    settings: Settings,
    *,
    email: str,
    password: str,
    address: str | None,
    user_agent: str | None,
) -> SignedIn:
    """Check the password and open a session. Raises :class:`SignInFailedError`."""
    async with database.anonymous() as session:
        account = (
            await session.execute(
                text("select user_id, password_hash, status from auth_account(:email)"), {"email": email}
            )
        ).one_or_none()
    good = await passwords.verify(account.password_hash if account else None, password)
    if not good or account is None or account.status != "active":
        raise SignInFailedError
    token = new_token()
    expires_at = datetime.now(UTC) + timedelta(seconds=settings.session_lifetime)
    async with database.user(account.user_id, address=address) as session:
        await session.execute(
            text(
                "insert into sessions (id, user_id, token_hash, expires_at, ip, user_agent)"
                " values (:id, :user, :digest, :expires_at, cast(:ip as inet), :user_agent)"
            ),
            {
                "id": uuid7(),
                "user": account.user_id,
                "digest": token.digest,
                "expires_at": expires_at,
                "ip": address,
                "user_agent": user_agent[:400] if user_agent else None,
            },
        )
        await session.execute(
            text("update users set last_sign_in_at = now() where id = :user"), {"user": account.user_id}
        )
        user = await user_view(session, account.user_id)
        tenants = await tenants_of(session, account.user_id)
    return SignedIn(access_token=token.text, expires_at=expires_at, user=user, tenants=tenants)


async def sign_out(database: Database, principal: Principal) -> None:
    """End the session that the caller is using."""
    async with database.user(principal.user_id) as session:
        await session.execute(
            text("update sessions set revoked_at = now() where id = :id and revoked_at is null"),
            {"id": principal.session_id},
        )


async def principal_of(
    database: Database, settings: Settings, token: str, tenant_id: UUID | None = None
) -> Principal | None:
    """Who holds ``token``: a session's person in ``tenant_id`` (their first tenant by default), or a key's creator.

    None where the token is not good. Without ``tenant_id``, a person who is in no tenant acts in none. Raises
    :class:`NotAMemberError` for a tenant that the caller is not in.
    """
    prefix = api_key_prefix(token)
    if prefix is not None:
        return await _key_principal(database, token, prefix, tenant_id)
    async with database.anonymous() as session:
        row = (
            await session.execute(
                text("select * from auth_session(:digest, make_interval(secs => :idle))"),
                {"digest": digest_of(token), "idle": settings.session_idle},
            )
        ).one_or_none()
    if row is None:
        return None
    async with database.user(row.user_id) as session:
        tenants = await tenants_of(session, row.user_id)
    chosen = next((item for item in tenants if tenant_id is None or item.id == tenant_id), None)
    if chosen is None and tenant_id is not None:
        raise NotAMemberError("you are not a member of this tenant")
    return Principal(
        user_id=row.user_id,
        email=row.email,
        full_name=row.full_name,
        tenant=chosen.id if chosen else None,
        tenant_name=chosen.name if chosen else None,
        tenant_status=chosen.status if chosen else "active",
        role=chosen.role if chosen else None,
        scopes=granted(chosen.role, None) if chosen else frozenset(),
        session_id=row.session_id,
    )


async def _key_principal(database: Database, token: str, prefix: str, tenant_id: UUID | None) -> Principal | None:
    async with database.anonymous() as session:
        row = (
            await session.execute(
                text("select * from auth_api_key(:prefix, :digest)"), {"prefix": prefix, "digest": digest_of(token)}
            )
        ).one_or_none()
    if row is None:
        return None
    if tenant_id is not None and tenant_id != row.tenant_id:
        raise NotAMemberError("this API key belongs to another tenant")
    return Principal(
        user_id=row.user_id,
        email=row.email,
        full_name=row.full_name,
        tenant=row.tenant_id,
        role=row.role,
        scopes=granted(row.role, row.scopes),
        key_id=row.key_id,
    )


async def user_view(session: AsyncSession, user_id: UUID) -> UserView:
    """A person as they see themself."""
    row = (
        await session.execute(
            text("select id, email, full_name, status, last_sign_in_at, created_at from users where id = :id"),
            {"id": user_id},
        )
    ).one()
    return UserView(*row)


async def tenants_of(session: AsyncSession, user_id: UUID) -> list[TenantView]:
    """The tenants a person is in, suspended ones included, oldest membership first."""
    rows = await session.execute(
        text(
            "select t.id, t.name, t.plan, m.role, t.status from memberships m join tenants t on t.id = m.tenant_id"
            " where m.user_id = :user and t.status <> 'deleted' order by m.id"
        ),
        {"user": user_id},
    )
    return [TenantView(*row) for row in rows]
