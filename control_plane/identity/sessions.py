"""Sessions of people: opened in one place whatever way somebody signed in, listed, and ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.audit.notes import note_person
from control_plane.database.sessions import Database
from control_plane.errors import AppError, NotFoundError
from control_plane.identity.attempts import WrongCredentialError
from control_plane.identity.people import tenants_of, user_view
from control_plane.identity.principal import Principal
from control_plane.identity.schemas import SessionView, TenantView, UserView
from control_plane.security.tokens import new_token
from control_plane.settings import Settings

_LONGEST_USER_AGENT = 400

_INSERT = text(
    "insert into sessions (id, user_id, token_hash, expires_at, ip, user_agent)"
    " values (:id, :user, :digest, :expires_at, cast(:ip as inet), :user_agent)"
)
_SIGNED_IN = text("update users set last_sign_in_at = now() where id = :user")
# Policies show a person their own sessions alone; what has ended is of no use to anybody.
_LIST = text(
    "select id, created_at, last_seen_at, expires_at, host(ip), user_agent, id = :own from sessions"
    " where user_id = :user and revoked_at is null and expires_at > now()"
    " and last_seen_at > now() - make_interval(secs => :idle) and (cast(:before as uuid) is null or id < :before)"
    " order by id desc limit :limit"
)
_REVOKE = text(
    "update sessions set revoked_at = now() where id = :id and user_id = :user and revoked_at is null"
    " and expires_at > now() and last_seen_at > now() - make_interval(secs => :idle) returning id"
)
_REVOKE_OTHERS = text(
    "update sessions set revoked_at = now() where user_id = :user and id is distinct from :own"
    " and revoked_at is null returning id"
)


class SignInFailedError(WrongCredentialError):
    """One answer for an unknown address, a wrong password and a suspended person."""

    status, code, title = 401, "sign_in_failed", "That did not match"

    def __init__(self) -> None:
        super().__init__(
            "the e-mail address and the password do not match an active account",
            headers={"WWW-Authenticate": "Bearer"},
        )


class EmailNotVerifiedError(AppError):
    """Told to nobody but who has proved to be the person."""

    status, code, title = 403, "email_not_verified", "Confirm your e-mail address"

    def __init__(self) -> None:
        super().__init__("this e-mail address is not confirmed yet: enter the code that was mailed to it, then sign in")


class SignedIn(msgspec.Struct, frozen=True):
    """A fresh session: the token is shown here and never again."""

    access_token: str
    expires_at: datetime
    user: UserView
    tenants: list[TenantView]


def require_may_open(user: UserView, settings: Settings) -> None:
    """Whether somebody who has proved who they are may have a session. The one place that decides it.

    Raises :class:`SignInFailedError` unless they are active, and :class:`EmailNotVerifiedError` where an address has to
    be verified and is not. Who signs in by another provider that tells no address has none to verify.
    """
    if user.status != "active":
        raise SignInFailedError
    if settings.require_verified_email and user.email is not None and not user.email_verified:
        raise EmailNotVerifiedError


async def open_session(
    database: Database,
    settings: Settings,
    user_id: UUID,
    *,
    address: str | None,
    user_agent: str | None,
    method: str = "password",
) -> SignedIn:
    """A session for somebody who has proved who they are. Every way of signing in ends here.

    ``method`` is how they proved it, for the log. Raises what :func:`require_may_open` raises.
    """
    token = new_token()
    expires_at = datetime.now(UTC) + timedelta(seconds=settings.session_lifetime)
    agent = user_agent[:_LONGEST_USER_AGENT] if user_agent else None
    async with database.user(user_id, address=address) as session:
        user = await user_view(session, user_id)
        require_may_open(user, settings)
        values = {
            "id": uuid7(),
            "user": user_id,
            "digest": token.digest,
            "expires_at": expires_at,
            "ip": address,
            "user_agent": agent,
        }
        await session.execute(_INSERT, values)
        await session.execute(_SIGNED_IN, {"user": user_id})
        await note_person(session, user_id, "session.opened", detail={"method": method, "user_agent": agent})
        user = await user_view(session, user_id)
        tenants = await tenants_of(session, user_id)
    return SignedIn(access_token=token.text, expires_at=expires_at, user=user, tenants=tenants)


async def list_sessions(
    session: AsyncSession, settings: Settings, principal: Principal, before: UUID | None, limit: int
) -> list[SessionView]:
    """The person's live sessions, newest first."""
    values = {
        "user": principal.user_id,
        "own": principal.session_id,
        "idle": settings.session_idle,
        "before": before,
        "limit": limit,
    }
    return [SessionView(*row) for row in await session.execute(_LIST, values)]


async def revoke_session(session: AsyncSession, settings: Settings, principal: Principal, session_id: UUID) -> None:
    """End one of the person's sessions. Raises :class:`NotFoundError` for one that is not theirs or not live."""
    values = {"id": session_id, "user": principal.user_id, "idle": settings.session_idle}
    if await session.scalar(_REVOKE, values) is None:
        raise NotFoundError("session")
    await note_person(session, principal.user_id, "session.revoked", detail={"session": str(session_id)})


async def revoke_others(session: AsyncSession, principal: Principal) -> int:
    """End every session of the person but the one that is calling; how many those were."""
    values = {"user": principal.user_id, "own": principal.session_id}
    ended = (await session.execute(_REVOKE_OTHERS, values)).scalars().all()
    for identity in ended:
        await note_person(session, principal.user_id, "session.revoked", detail={"session": str(identity)})
    return len(ended)
