"""People as other providers know them: found, made, linked and taken away again.

An identity is an issuer and a subject. An address says nothing of who somebody is here, even a verified one: whoever
has an account with it signs in there and links the identity.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.audit.notes import note_person
from control_plane.database.sessions import Database
from control_plane.errors import AppError, ConflictError, NotFoundError
from control_plane.identity.factor_schemas import IdentityView
from control_plane.identity.factors import end_other_sessions, pass_second_factor
from control_plane.identity.principal import Principal
from control_plane.identity.sessions import SignedIn, open_session
from control_plane.security.datakey import DataKeyStore
from control_plane.security.limits import Rule, network_of, take
from control_plane.settings import Settings

#: Attempts to sign in by another provider, for a network; links, for an account.
ATTEMPT_RULE: Final = Rule("sign_in_by_other", each_s=6, burst=30)
SIGN_UP_RULE: Final = Rule("sign_up_by_other", each_s=180, burst=10)
LINK_RULE: Final = Rule("link_identity", each_s=60, burst=10)

#: Marks a proof as used; False where it was already.
Spend = Callable[[], Awaitable[bool]]

_VIEW = "select id, provider, issuer, label, created_at, last_used_at from auth_identities where user_id = :user"
_LIST = text(_VIEW + " and (cast(:before as uuid) is null or id < :before) order by id desc limit :limit")
_ONE = text(_VIEW + " and id = :id")
_PERSON = text("select identity_id, user_id, active from identity_person(:provider, :issuer, :subject)")
_LINK = text("select identity_link(:id, :provider, :issuer, :subject, :label)")
_UNLINK = text("select identity_unlink(:id)")
_USED = text("update auth_identities set last_used_at = now() where id = :id")
_SPEND = text("select spend_proof(:digest, :until)")
_SIGN_UP = text(
    "select auth_sign_up_by(:identity, :provider, :issuer, :subject, :label, :user, :email, :name, :tenant,"
    " :tenant_name, :membership)"
)


class NotConfiguredError(AppError):
    """This installation does not sign people in by that provider."""

    status, title = 404, "Not found"

    def __init__(self, name: str, code: str) -> None:
        super().__init__(f"this installation does not sign people in by {name}; use another way", code=code)


class ProofSpentError(AppError):
    """The provider's answer was used before; each is good once."""

    status, code, title = 401, "proof_spent", "That was used already"

    def __init__(self) -> None:
        super().__init__("this answer of the provider was used already: begin the sign-in again")


class InactiveError(AppError):
    """The identity is somebody's whose account is closed or suspended."""

    status, code, title = 401, "sign_in_failed", "That did not match"

    def __init__(self) -> None:
        super().__init__("this identity does not belong to an active account", headers={"WWW-Authenticate": "Bearer"})


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider has proved of somebody. ``verified_email`` is one that the provider vouches for."""

    provider: str
    issuer: str
    subject: str
    label: str | None
    full_name: str | None
    verified_email: str | None


def full_name_of(text_: str | None) -> str | None:
    """A name as we keep it: without control characters, 200 characters at most; None where nothing is left."""
    return "".join(character for character in text_ or "" if character.isprintable()).strip()[:200] or None


async def count_attempt(database: Database, address: str | None) -> None:
    """Count one attempt of a network. Raises TooManyAttemptsError."""
    await take(database, ATTEMPT_RULE, network_of(address))


async def spend_once(database: Database, digest: bytes, until: float) -> bool:
    """Mark a proof as used until ``until`` (seconds since 1970), when it is too old in any case."""
    async with database.anonymous() as session:
        return bool(await session.scalar(_SPEND, {"digest": digest, "until": datetime.fromtimestamp(until, UTC)}))


async def enter(
    database: Database,
    settings: Settings,
    store: DataKeyStore,
    proof: Proof,
    *,
    spend: Spend,
    totp: str | None,
    address: str | None,
    user_agent: str | None,
) -> SignedIn:
    """Open a session for whoever ``proof`` is about, making them and a tenant of their own where nobody is yet.

    The second factor comes before the proof is spent, so that asking for one costs no new round at the provider. Raises
    what :func:`pass_second_factor` does, :class:`ProofSpentError`, :class:`InactiveError`, and 409 ``email_known``
    where the address that the provider vouches for is somebody's here.
    """
    person = await _person(database, proof)
    if person is not None:
        if not person.active:
            raise InactiveError
        await pass_second_factor(database, store, person.user_id, totp, address=address)
    if not await spend():
        raise ProofSpentError
    if person is None:
        await take(database, SIGN_UP_RULE, network_of(address))
        outcome = await _make(database, proof, address)
        if outcome == "email_taken":
            raise ConflictError(
                "there is an account with the address that the provider vouches for: sign in there as you used to, and"
                " link this identity",
                code="email_known",
            )
        person = await _person(database, proof)
        if person is None or not person.active:
            raise InactiveError
        if outcome == "identity_taken":
            # Another request made them a moment ago; a factor of theirs counts here too.
            await pass_second_factor(database, store, person.user_id, totp, address=address)
    signed_in = await open_session(
        database, settings, person.user_id, address=address, user_agent=user_agent, method=proof.provider
    )
    async with database.user(person.user_id) as session:
        await session.execute(_USED, {"id": person.identity_id})
    return signed_in


async def link(database: Database, principal: Principal, proof: Proof, spend: Spend) -> IdentityView:
    """Make ``proof`` a further way in for the caller; their own identity again changes nothing.

    Raises :class:`ProofSpentError`, and 409 where it is somebody else's, without a word of whose.
    """
    if not await spend():
        raise ProofSpentError
    async with database.transaction(principal.binding) as session:
        identity = uuid7()
        outcome = await session.scalar(_LINK, {"id": identity, **_key(proof), "label": proof.label})
        if outcome == "taken":
            raise ConflictError("this identity belongs to another account here", code="identity_taken")
        if outcome == "linked":
            await note_person(session, principal.user_id, "identity.linked", detail={"provider": proof.provider})
        else:
            found = (await session.execute(_PERSON, _key(proof))).one()
            identity = found.identity_id
        row = (await session.execute(_ONE, {"user": principal.user_id, "id": identity})).one()
    return IdentityView(*row)


async def list_identities(session: AsyncSession, user_id: UUID, before: UUID | None, limit: int) -> list[IdentityView]:
    """A person's identities, newest first."""
    rows = await session.execute(_LIST, {"user": user_id, "before": before, "limit": limit})
    return [IdentityView(*row) for row in rows]


async def unlink(session: AsyncSession, principal: Principal, identity_id: UUID) -> None:
    """Take an identity away and end the person's other sessions. Raises 404, and 409 for the last way in."""
    outcome = await session.scalar(_UNLINK, {"id": identity_id})
    if outcome == "absent":
        raise NotFoundError("identity")
    if outcome == "last":
        raise ConflictError(
            "this is the only way into your account: set a password or link another identity first", code="last_way_in"
        )
    await end_other_sessions(session, principal)
    await note_person(session, principal.user_id, "identity.unlinked")


async def _person(database: Database, proof: Proof) -> Row[Any] | None:
    async with database.anonymous() as session:
        found: Row[Any] | None = (await session.execute(_PERSON, _key(proof))).one_or_none()
    return found


async def _make(database: Database, proof: Proof, address: str | None) -> str:
    name = proof.full_name or proof.label or proof.provider
    async with database.anonymous(address=address) as session:
        outcome: str = await session.scalar(
            _SIGN_UP,
            {
                "identity": uuid7(),
                **_key(proof),
                "label": proof.label,
                "user": uuid7(),
                "email": proof.verified_email,
                "name": proof.full_name,
                "tenant": uuid7(),
                "tenant_name": f"{name}'s workspace",
                "membership": uuid7(),
            },
        )
    return outcome


def _key(proof: Proof) -> dict[str, str]:
    return {"provider": proof.provider, "issuer": proof.issuer, "subject": proof.subject}
