"""Signing in and out, and telling who a token belongs to. Everybody's password is checked with the same work."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text

from control_plane.api_keys.lookup import key_principal
from control_plane.audit.notes import note_person
from control_plane.database.sessions import Database
from control_plane.identity.attempts import Attempt
from control_plane.identity.codes import send_code
from control_plane.identity.factors import pass_second_factor
from control_plane.identity.password import account_at, rehash_if_stale
from control_plane.identity.people import tenants_of, user_view
from control_plane.identity.permissions import granted
from control_plane.identity.principal import NotAMemberError, Principal
from control_plane.identity.sessions import EmailNotVerifiedError, SignedIn, SignInFailedError, open_session
from control_plane.security.datakey import DataKeyStore
from control_plane.security.limits import TooManyAttemptsError
from control_plane.security.passwords import Passwords
from control_plane.security.tokens import digest_of, is_api_key
from control_plane.settings import Settings

__all__ = ["SignInFailedError", "SignedIn", "principal_of", "sign_in", "sign_out", "tenants_of", "user_view"]


async def sign_in(
    database: Database,
    passwords: Passwords,
    settings: Settings,
    *,
    data_keys: DataKeyStore,
    email: str,
    password: str,
    totp: str | None = None,
    address: str | None,
    user_agent: str | None,
) -> SignedIn:
    """Check the password, then the second factor where there is one, and open a session.

    Raises :class:`SignInFailedError`, :class:`EmailNotVerifiedError` (and mails a fresh code),
    :class:`TooManyAttemptsError`, and what :func:`pass_second_factor` does.
    """
    async with Attempt(database, email, address) as attempt:
        account = await account_at(database, email)
        attempt.user_id = account.user_id if account else None
        good = await passwords.verify(account.password_hash if account else None, password)
        if not good or account is None or account.status != "active":
            raise SignInFailedError
        # Inside the attempt: until the whole of it has succeeded, earlier failures are not forgiven.
        await pass_second_factor(database, data_keys, account.user_id, totp, address=address)
    await rehash_if_stale(database, passwords, account, password)
    try:
        return await open_session(database, settings, account.user_id, address=address, user_agent=user_agent)
    except EmailNotVerifiedError:
        await _send_fresh_code(database, settings, account.email, address)
        raise


async def _send_fresh_code(database: Database, settings: Settings, email: str, address: str | None) -> None:
    try:
        await send_code(database, settings, "verify_email", email, address)
    except TooManyAttemptsError:
        return  # enough codes are on their way


async def sign_out(database: Database, principal: Principal) -> None:
    """End the session that the caller is using."""
    async with database.transaction(principal.binding) as session:
        await session.execute(
            text("update sessions set revoked_at = now() where id = :id and revoked_at is null"),
            {"id": principal.session_id},
        )
        await note_person(session, principal.user_id, "session.revoked", detail={"session": str(principal.session_id)})


async def principal_of(
    database: Database, settings: Settings, token: str, tenant_id: UUID | None = None, *, address: str | None = None
) -> Principal | None:
    """Who holds ``token``: a session's person in ``tenant_id`` (their first tenant by default), or a key's creator.

    None where the token is not good. Without ``tenant_id``, a person who is in no tenant acts in none. Raises
    :class:`NotAMemberError` for a tenant that the caller is not in, and :class:`ForbiddenError` for a key that may not
    be used from ``address``.
    """
    if is_api_key(token):
        return await key_principal(database, token, tenant_id, address)
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
        tenants=tuple(tenants),
        session_id=row.session_id,
    )
