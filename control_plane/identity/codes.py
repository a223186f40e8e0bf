"""Codes by mail: to show that an address is one's own, and to set a new password."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Literal
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.audit.notes import note_person
from control_plane.database.sessions import Database
from control_plane.errors import FieldError, UnacceptableError
from control_plane.identity.attempts import forgive
from control_plane.identity.limits import (
    CODE_TRIES,
    CODES_OF_ACCOUNT,
    CODES_OF_NETWORK,
    FAILURES_OF_ACCOUNT,
    RESET_WITHIN_S,
    TRIES_OF_ACCOUNT,
    TRIES_OF_NETWORK,
    VERIFY_WITHIN_S,
    account_of,
)
from control_plane.mail import messages
from control_plane.mail.outbox import post, until_ready
from control_plane.security.limits import forget, network_of, take
from control_plane.security.passwords import Passwords
from control_plane.settings import Settings

Purpose = Literal["verify_email", "reset_password"]

#: Crockford's base32: no I, L, O and U, which are taken for other characters.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_GROUPS, _GROUP = 6, 4  # 24 characters of 5 bits each: 120 bits
_MISREAD = str.maketrans({"O": "0", "I": "1", "L": "1", **dict.fromkeys("- \t", None)})
_WITHIN_S: dict[Purpose, int] = {"verify_email": VERIFY_WITHIN_S, "reset_password": RESET_WITHIN_S}

_ISSUE = text("select * from auth_issue_code(:id, :purpose, :email, :hash, :lifetime)")
_VERIFY = text("select auth_verify_email(:email, :hash, :most)")
_RESET = text("select * from auth_reset_password(:email, :hash, :password_hash, :most)")


class WrongCodeError(UnacceptableError):
    """One answer for a code that is wrong, old, used or worn out, and for an address that nobody has."""

    code = "invalid_code"

    def __init__(self) -> None:
        words = "this code is not, or no longer, good for this address: ask for a new one"
        super().__init__(words, errors=[FieldError("code", words)])


class Recipient(msgspec.Struct, frozen=True):
    """Whose an address is, spelled as they gave it."""

    user_id: UUID
    email: str
    verified: bool


def new_code() -> str:
    """A code as people see it: six groups of four characters."""
    groups = ("".join(secrets.choice(ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
    return "-".join(groups)


def hash_of(code: str) -> bytes:
    """What the database keeps of a code, however it was typed. 120 random bits need no slow hash."""
    return hashlib.sha256(code.upper().translate(_MISREAD).encode()).digest()


async def issue(session: AsyncSession, purpose: Purpose, email: str, code: str) -> Recipient | None:
    """Make ``code`` the one that is good for ``purpose`` at ``email``; whose that is. Works in any session."""
    values = {
        "id": uuid7(),
        "purpose": purpose,
        "email": email,
        "hash": hash_of(code),
        "lifetime": timedelta(seconds=_WITHIN_S[purpose]),
    }
    row = (await session.execute(_ISSUE, values)).one_or_none()
    return Recipient(row.user_id, row.email, row.verified) if row else None


async def send_code(database: Database, settings: Settings, purpose: Purpose, email: str, address: str | None) -> None:
    """Mail a fresh code to whoever has ``email``. For an address that nobody has, the same work and a mail to nobody.

    Somebody whose address is verified needs no code for it, and gets none. Raises :class:`TooManyAttemptsError`.
    """
    await take(database, CODES_OF_NETWORK, network_of(address))
    await take(database, CODES_OF_ACCOUNT, account_of(email))
    await until_ready(database)
    code = new_code()
    async with database.anonymous(address=address) as session:
        person = await issue(session, purpose, email, code)
        wanted = person is not None and not (purpose == "verify_email" and person.verified)
        to = person.email if person is not None and wanted else messages.NOBODY
        write = messages.reset_password if purpose == "reset_password" else messages.verify_email
        await post(session, write(to, email, code, settings.public_url))


async def verify_email(database: Database, *, email: str, code: str, address: str | None) -> None:
    """Note that ``email`` is its owner's. Raises :class:`WrongCodeError`, :class:`TooManyAttemptsError`."""
    await _count_try(database, email, address)
    async with database.anonymous(address=address) as session:
        values = {"email": email, "hash": hash_of(code), "most": CODE_TRIES}
        user_id: UUID | None = await session.scalar(_VERIFY, values)
        if user_id is not None:
            await note_person(session, user_id, "email.verified")
    if user_id is None:
        raise WrongCodeError  # after the transaction, which has counted the try
    await forget(database, TRIES_OF_ACCOUNT, account_of(email))


async def reset_password(
    database: Database,
    passwords: Passwords,
    settings: Settings,
    *,
    email: str,
    code: str,
    new_password: str,
    address: str | None,
) -> None:
    """Set a new password by a mailed code. Every session ends; a second factor stays as it is.

    Raises :class:`WrongCodeError`, :class:`TooManyAttemptsError`.
    """
    await _count_try(database, email, address)
    password_hash = await passwords.hash(new_password)  # before the code is looked at: the same work for every code
    await until_ready(database)
    values = {"email": email, "hash": hash_of(code), "password_hash": password_hash, "most": CODE_TRIES}
    async with database.anonymous(address=address) as session:
        row = (await session.execute(_RESET, values)).one_or_none()
        if row is not None:
            await note_person(session, row.user_id, "password.reset", detail={"sessions_ended": row.sessions_ended})
            await post(session, messages.password_changed(row.email, settings.public_url))
    if row is None:
        raise WrongCodeError
    await forget(database, TRIES_OF_ACCOUNT, account_of(email))
    await forget(database, FAILURES_OF_ACCOUNT, account_of(email))
    await forgive(database, email)


async def _count_try(database: Database, email: str, address: str | None) -> None:
    await take(database, TRIES_OF_NETWORK, network_of(address))
    await take(database, TRIES_OF_ACCOUNT, account_of(email))
