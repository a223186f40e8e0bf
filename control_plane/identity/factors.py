"""A person's second factor: set up, asked for at sign-in, taken away. No code is accepted twice."""

from __future__ import annotations

import time
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.audit.notes import note_person
from control_plane.database.sessions import Database
from control_plane.errors import AppError, ConflictError, UnavailableError, unacceptable
from control_plane.identity import totp
from control_plane.identity.factor_schemas import RecoveryCodes, TotpSeed, TotpView
from control_plane.identity.principal import Principal
from control_plane.security.datakey import DataKeyError, DataKeyStore, Encrypted, Spot
from control_plane.security.limits import Rule, forget, take

#: Five attempts in fifteen minutes, for an account and not for an address: whoever guesses has many addresses.
TOTP_RULE: Final = Rule("totp", each_s=180, burst=5)

_IS_ON = text("select exists (select from totp_factors where user_id = :user and confirmed_at is not null)")
_SECRET = text("select id, secret, secret_format, secret_key_id, confirmed_at from totp_secret()")
_ENROLL = text("select totp_enroll(:id, :secret, :format, :key)")
_CONFIRM = text("select totp_confirm(:id, :step)")
_SPEND = text("select totp_spend(:id, :step)")
_RECOVER = text("select recovery_spend(:digest)")
_REPLACE = text("select recovery_replace(:ids, :digests)")
_REMOVE = text("select totp_remove()")
_VIEW = text(
    "select (select confirmed_at from totp_factors where user_id = :user) as since,"
    " (select count(*) from recovery_codes where user_id = :user and used_at is null) as left"
)
_END_OTHERS = text(
    "update sessions set revoked_at = now() where user_id = :user and id <> :session and revoked_at is null"
)


class TotpRequiredError(AppError):
    """The password was right; the account asks for a second factor too."""

    status, code, title = 401, "totp_required", "A second factor is needed"

    def __init__(self) -> None:
        super().__init__(
            "this account has a second factor: enter a code of your authenticator or a recovery code, too (`totp`)",
            headers={"WWW-Authenticate": "Bearer"},
        )


class TotpFailedError(AppError):
    """The second factor did not match, or was used before."""

    status, code, title = 401, "totp_failed", "That code did not match"

    def __init__(self) -> None:
        super().__init__(
            "the code does not match, or was used already: wait for the next one, or use a recovery code",
            headers={"WWW-Authenticate": "Bearer"},
        )


def totp_spot(row_id: UUID, user_id: UUID) -> Spot:
    """Where a seed lives."""
    return Spot("totp_factors", "secret", row_id, user_id)


async def pass_second_factor(
    database: Database, store: DataKeyStore, user_id: UUID, code: str | None, *, address: str | None
) -> None:
    """Return where the account has no second factor or ``code`` is one that was not used yet.

    Raises :class:`TotpRequiredError`, :class:`TotpFailedError`, TooManyAttemptsError, and UnavailableError where seeds
    cannot be opened: an account with a second factor is never let in without.
    """
    async with database.user(user_id) as session:
        if not await session.scalar(_IS_ON, {"user": user_id}):
            return
    if code is None:
        raise TotpRequiredError
    if not await _try(database, store, user_id, code, address=address):
        raise TotpFailedError


async def begin(session: AsyncSession, principal: Principal, store: DataKeyStore) -> TotpSeed:
    """A fresh seed, in the place of one that was never confirmed. Raises 409 where a factor is in force."""
    seed, row_id = totp.new_seed(), uuid7()
    encrypted = store.keys().encrypt(seed, totp_spot(row_id, principal.user_id))
    values = {"id": row_id, "secret": encrypted.value, "format": encrypted.format, "key": encrypted.key_id}
    if not await session.scalar(_ENROLL, values):
        raise ConflictError("a second factor is on already; take it away first", code="totp_on")
    account = principal.email or principal.full_name or str(principal.user_id)
    return TotpSeed(secret=totp.shown_seed(seed), otpauth_uri=totp.otpauth_uri(seed, account))


async def confirm(database: Database, principal: Principal, store: DataKeyStore, code: str) -> RecoveryCodes:
    """Put the seed in force by a code of it; gives recovery codes and ends the person's other sessions.

    Raises 409 where there is nothing to confirm, 422 for a code that does not match.
    """
    await take(database, TOTP_RULE, str(principal.user_id))
    async with database.transaction(principal.binding) as session:
        row = (await session.execute(_SECRET)).one_or_none()
        if row is None:
            raise ConflictError("begin with POST /me/totp", code="totp_not_begun")
        if row.confirmed_at is not None:
            raise ConflictError("a second factor is on already", code="totp_on")
        spot = totp_spot(row.id, principal.user_id)
        seed = _opened(store, Encrypted(bytes(row.secret), row.secret_format, row.secret_key_id), spot)
        step = totp.matching_step(seed, totp.totp_form(code) or "", time.time())
        if step is None:
            raise unacceptable("code", "does not match; is the clock of your device right?", code="totp_failed")
        if not await session.scalar(_CONFIRM, {"id": row.id, "step": step}):
            raise ConflictError("a second factor is on already", code="totp_on")
        codes = await _new_codes(session, principal.user_id)
        await _changed(session, principal, "totp.enabled")
    await forget(database, TOTP_RULE, str(principal.user_id))
    return codes


async def renew_codes(database: Database, principal: Principal, store: DataKeyStore, code: str) -> RecoveryCodes:
    """A new set of recovery codes; the old ones are worthless. Raises 409 where no factor is on, 422."""
    await _prove(database, principal, store, code)
    async with database.transaction(principal.binding) as session:
        codes = await _new_codes(session, principal.user_id)
        await note_person(session, principal.user_id, "recovery_codes.renewed")
    return codes


async def remove(database: Database, principal: Principal, store: DataKeyStore, code: str) -> None:
    """Take the second factor away, with its recovery codes. Raises 409 where none is on, 422."""
    await _prove(database, principal, store, code)
    async with database.transaction(principal.binding) as session:
        await session.execute(_REMOVE)
        await _changed(session, principal, "totp.disabled")


async def view(session: AsyncSession, user_id: UUID) -> TotpView:
    """How it stands with a person's second factor."""
    row = (await session.execute(_VIEW, {"user": user_id})).one()
    return TotpView(enabled=row.since is not None, enabled_at=row.since, recovery_codes_left=row.left)


async def end_other_sessions(session: AsyncSession, principal: Principal) -> None:
    """Sign the person out everywhere but here."""
    await session.execute(_END_OTHERS, {"user": principal.user_id, "session": principal.session_id})


async def _prove(database: Database, principal: Principal, store: DataKeyStore, code: str) -> None:
    async with database.transaction(principal.binding) as session:
        if not await session.scalar(_IS_ON, {"user": principal.user_id}):
            raise ConflictError("no second factor is on", code="totp_off")
    if not await _try(database, store, principal.user_id, code, address=principal.address):
        raise unacceptable("code", "does not match, or was used already", code="totp_failed")


async def _try(database: Database, store: DataKeyStore, user_id: UUID, code: str, *, address: str | None) -> bool:
    """Spend ``code``, counted before it is looked at, so that many at once are no more guesses than one by one."""
    await take(database, TOTP_RULE, str(user_id))
    async with database.user(user_id, address=address) as session:
        good = await _spend(session, store, user_id, code)
        if not good:
            await note_person(session, user_id, "totp.failed")
    if good:
        await forget(database, TOTP_RULE, str(user_id))
    return good


async def _spend(session: AsyncSession, store: DataKeyStore, user_id: UUID, code: str) -> bool:
    recovery = totp.recovery_form(code)
    if recovery is not None:
        digest = totp.recovery_digest(user_id.bytes, recovery)
        used = bool(await session.scalar(_RECOVER, {"digest": digest}))
        if used:
            await note_person(session, user_id, "recovery_code.used")
        return used
    plain = totp.totp_form(code)
    row = (await session.execute(_SECRET)).one_or_none()
    if plain is None or row is None:
        return False
    spot = totp_spot(row.id, user_id)
    seed = _opened(store, Encrypted(bytes(row.secret), row.secret_format, row.secret_key_id), spot)
    step = totp.matching_step(seed, plain, time.time())
    return step is not None and bool(await session.scalar(_SPEND, {"id": row.id, "step": step}))


def _opened(store: DataKeyStore, encrypted: Encrypted, spot: Spot) -> bytes:
    try:
        return store.keys().decrypt(encrypted, spot).reveal()
    except DataKeyError:
        raise UnavailableError(
            "your authenticator's seed cannot be read here; use a recovery code, and set the authenticator up anew",
            code="totp_unreadable",
        ) from None


async def _new_codes(session: AsyncSession, user_id: UUID) -> RecoveryCodes:
    codes = totp.new_recovery_codes()
    digests = [totp.recovery_digest(user_id.bytes, totp.recovery_form(code) or "") for code in codes]
    await session.execute(_REPLACE, {"ids": [uuid7() for _ in codes], "digests": digests})
    return RecoveryCodes(recovery_codes=codes)


async def _changed(session: AsyncSession, principal: Principal, action: str) -> None:
    await end_other_sessions(session, principal)
    await note_person(session, principal.user_id, action)
