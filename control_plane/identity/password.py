"""Checking a person's password, and changing it."""

from __future__ import annotations

from uuid import UUID

import msgspec
from sqlalchemy import text

from control_plane.audit.notes import note_person
from control_plane.database.sessions import Database
from control_plane.errors import ConflictError, FieldError, UnacceptableError
from control_plane.identity.attempts import Attempt, WrongCredentialError
from control_plane.identity.principal import Principal
from control_plane.identity.sessions import revoke_others
from control_plane.mail import messages
from control_plane.mail.outbox import post, until_ready
from control_plane.security.passwords import Passwords
from control_plane.settings import Settings

_ACCOUNT = text("select user_id, password_hash, status, email, verified from auth_account(:email)")
_SET = text("select auth_set_password(:old, :new)")


class WrongPasswordError(WrongCredentialError, UnacceptableError):
    """The password that somebody gave to confirm what they want is not theirs."""

    status, code, title = 422, "wrong_password", "That did not match"

    def __init__(self) -> None:
        words = "this is not your password"
        super().__init__(f"current_password: {words}", errors=[FieldError("current_password", words)])


class Account(msgspec.Struct, frozen=True):
    """What the sign-in function tells of an address. Holds a password hash, so it shows nothing of itself."""

    user_id: UUID
    password_hash: str | None
    status: str
    email: str
    verified: bool

    def __repr__(self) -> str:
        return "Account(…)"


async def account_at(database: Database, email: str) -> Account | None:
    """The account of an address, whatever its state; None where nobody has it."""
    async with database.anonymous() as session:
        row = (await session.execute(_ACCOUNT, {"email": email})).one_or_none()
    return Account(*row) if row else None


async def rehash_if_stale(database: Database, passwords: Passwords, account: Account, password: str) -> None:
    """Hash a password that has just proved right once more, where the parameters have changed since."""
    if account.password_hash is None or not passwords.is_stale(account.password_hash):
        return
    renewed = await passwords.hash(password)
    async with database.user(account.user_id) as session:
        await session.execute(_SET, {"old": account.password_hash, "new": renewed})


async def change_password(
    database: Database,
    passwords: Passwords,
    settings: Settings,
    principal: Principal,
    *,
    current_password: str,
    new_password: str,
) -> None:
    """Set a new password for somebody who knows the old one. Every other session ends, and a mail tells the owner.

    Raises :class:`WrongPasswordError`, counted like a failure to sign in, and :class:`TooManyAttemptsError`.
    """
    if principal.email is None:
        raise ConflictError("this account has no e-mail address, and so no password", code="no_password")
    async with Attempt(database, principal.email, principal.address) as attempt:
        account = await account_at(database, principal.email)
        attempt.user_id = principal.user_id
        good = await passwords.verify(account.password_hash if account else None, current_password)
        if not good or account is None or account.user_id != principal.user_id:
            raise WrongPasswordError
    renewed = await passwords.hash(new_password)
    await until_ready(database)
    async with database.transaction(principal.binding) as session:
        if not await session.scalar(_SET, {"old": account.password_hash, "new": renewed}):
            raise ConflictError("the password was changed elsewhere at the same time", code="password_changed")
        ended = await revoke_others(session, principal)
        await note_person(session, principal.user_id, "password.changed", detail={"sessions_ended": ended})
        await post(session, messages.password_changed(account.email, settings.public_url))
