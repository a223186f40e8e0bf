"""Is it still them? Asked before what a session left open on a stranger's screen must not do."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from control_plane.database.sessions import Database
from control_plane.errors import ForbiddenError
from control_plane.identity.principal import Principal
from control_plane.security.limits import Rule, forget, take
from control_plane.security.passwords import Passwords

#: Five passwords in fifteen minutes, for an account.
REAUTHENTICATION_RULE: Final = Rule("reauthentication", each_s=180, burst=5)

_FRESH = text("select created_at > now() - interval '5 minutes' from sessions where id = :session")
_OWN_HASH = text("select own_password_hash()")


async def require_recent(
    database: Database, principal: Principal, passwords: Passwords, password: str | None = None
) -> None:
    """Return for the person's right password, or without one in the first five minutes of a session.

    Who signs in by another provider alone has no password and signs in anew. Raises :class:`ForbiddenError`,
    TooManyAttemptsError.
    """
    if password is None:
        async with database.transaction(principal.binding) as session:
            if await session.scalar(_FRESH, {"session": principal.session_id}):
                return
        raise ForbiddenError(
            "this session is older than five minutes: send your password as well where there is a field for it, or sign"
            " in again and retry",
            code="reauthentication_needed",
        )
    await take(database, REAUTHENTICATION_RULE, str(principal.user_id))
    async with database.transaction(principal.binding) as session:
        stored: str | None = await session.scalar(_OWN_HASH)
    if not await passwords.verify(stored, password):
        raise ForbiddenError("the password does not match", code="wrong_password")
    await forget(database, REAUTHENTICATION_RULE, str(principal.user_id))
