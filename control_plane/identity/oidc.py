"""Sign-in by an OpenID provider: authorization code with PKCE (S256), state and nonce. This half asks nobody outside.

The nonce and the PKCE verifier are sealed to agents when a sign-in begins, the code when it comes back; the notifier
redeems it (agents/notifier/exchange.py) and leaves the outcome in columns that only it may write.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.database.connection import Binding
from control_plane.database.sessions import Database
from control_plane.errors import AppError, UnavailableError
from control_plane.identity import identities
from control_plane.identity.factor_schemas import OidcProof, OidcSignIn, OidcStart
from control_plane.identity.identities import NotConfiguredError, Proof, full_name_of
from control_plane.identity.principal import Principal
from control_plane.identity.sessions import SignedIn
from control_plane.security.datakey import DataKeyStore
from control_plane.security.keyring import platform_key
from control_plane.security.sealing import Place, Sealed, seal
from control_plane.settings import Settings

LIFETIME: Final = timedelta(minutes=10)
CALLBACK_PATH: Final = "/sign-in/oidc/callback"
_WAIT_S = 10.0
_LOOK_EVERY_S = 0.1
_TABLE = "sign_in_exchanges"

_PROVIDER = text("select authorization_endpoint from identity_provider(:issuer)")
_BEGIN = text("select exchange_begin(:id, :state, :sealed, :key_version, :suite, :lifetime)")
_ASK = text("select exchange_ask(:id, :state, :code, :sealed, :key_version, :suite)")
_OUTCOME = text("select status, issuer, subject, email, email_verified, name, error from exchange_outcome(:id, :state)")
_END = text("select exchange_end(:id, :state)")


class ExchangeRefusedError(AppError):
    """The state or the code is not, or no longer, good."""

    status, code, title = 401, "exchange_refused", "This sign-in does not hold"

    def __init__(self, detail: str | None = None, code: str | None = None) -> None:
        super().__init__(
            detail or "this sign-in is unknown, too old, used already or somebody else's: begin it again", code=code
        )


class Began(msgspec.Struct, frozen=True):
    """What the notifier needs besides the code; sealed to it. Must not be shown."""

    nonce: str
    verifier: str
    redirect_uri: str

    def __repr__(self) -> str:
        return "Began(…)"


class Exchange(msgspec.Struct, frozen=True):
    """One sign-in as the web tier finds it: by the state that only its browser and the provider have."""

    id: UUID
    state_hash: bytes
    binding: Binding

    @property
    def key(self) -> dict[str, Any]:
        """Parameters that name it."""
        return {"id": self.id, "state": self.state_hash}


def redirect_uri(settings: Settings) -> str:
    """Where the provider sends browsers back to. It must be registered there in these very letters."""
    return (settings.public_url or "").rstrip("/") + CALLBACK_PATH


def is_configured(settings: Settings) -> bool:
    """Whether people may sign in by an OpenID provider here."""
    return bool(settings.oidc_issuer and settings.oidc_client_id and settings.public_url)


async def start(database: Database, settings: Settings, principal: Principal | None) -> OidcStart:
    """Begin a sign-in, or with ``principal`` a link to their account that nobody else can finish.

    Raises :class:`NotConfiguredError`, and UnavailableError while the notifier has not found the provider.
    """
    if not is_configured(settings):
        raise NotConfiguredError("an OpenID provider", "oidc_not_configured")
    began = Began(
        nonce=secrets.token_urlsafe(32), verifier=secrets.token_urlsafe(48), redirect_uri=redirect_uri(settings)
    )
    exchange_id = uuid7()
    state = _encode(exchange_id.bytes + secrets.token_bytes(32))
    async with database.transaction(principal.binding if principal else Binding()) as session:
        endpoint = await session.scalar(_PROVIDER, {"issuer": settings.oidc_issuer})
        if endpoint is None:
            raise UnavailableError(
                "the OpenID provider has not been reached yet; is the notifier agent running?", code="provider_pending"
            )
        sealed = await _sealed(session, msgspec.json.encode(began), "sealed_proof", exchange_id)
        values = {"id": exchange_id, "state": _digest(state), **sealed, "lifetime": LIFETIME}
        await session.execute(_BEGIN, values)
    query = {
        "response_type": "code",
        "client_id": settings.oidc_client_id,
        "redirect_uri": began.redirect_uri,
        "scope": "openid email profile",
        "state": state,
        "nonce": began.nonce,
        "code_challenge": _encode(hashlib.sha256(began.verifier.encode()).digest()),
        "code_challenge_method": "S256",
    }
    return OidcStart(authorization_url=f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}", state=state)


async def redeem(
    database: Database, settings: Settings, principal: Principal | None, data: OidcProof
) -> tuple[Proof, Exchange]:
    """Have the notifier redeem the code, and give who it is. The exchange is still there: end it with :func:`end`.

    The same code and state may be sent again until then, with a second factor. Raises :class:`NotConfiguredError`,
    :class:`ExchangeRefusedError`, UnavailableError where the provider or the notifier does not answer.
    """
    if not is_configured(settings):
        raise NotConfiguredError("an OpenID provider", "oidc_not_configured")
    exchange = Exchange(
        id=UUID(bytes=base64.urlsafe_b64decode(data.state)[:16]),
        state_hash=_digest(data.state),
        binding=principal.binding if principal else Binding(),
    )
    async with database.transaction(exchange.binding) as session:
        sealed = await _sealed(session, data.code.encode(), "sealed_code", exchange.id)
        status = await session.scalar(_ASK, {**exchange.key, "code": _digest(data.code), **sealed})
    if status is None:
        raise ExchangeRefusedError
    row = await _outcome(database, exchange)
    if row.status == "failed":
        await end(database, exchange)
        raise _error(row.error)
    email = row.email if row.email_verified else None
    name = full_name_of(row.name)
    proof = Proof(
        provider="oidc",
        issuer=row.issuer,
        subject=row.subject,
        label=row.email or name,
        full_name=name,
        verified_email=email,
    )
    return proof, exchange


async def end(database: Database, exchange: Exchange) -> bool:
    """Take the exchange away; True for the one who did."""
    async with database.transaction(exchange.binding) as session:
        return bool(await session.scalar(_END, exchange.key))


async def _outcome(database: Database, exchange: Exchange) -> Row[Any]:
    deadline = time.monotonic() + _WAIT_S
    while True:
        async with database.transaction(exchange.binding) as session:
            row = (await session.execute(_OUTCOME, exchange.key)).one_or_none()
        if row is None:
            raise ExchangeRefusedError
        if row.status in {"done", "failed"}:
            return row
        if time.monotonic() > deadline:
            await end(database, exchange)
            raise UnavailableError("the OpenID provider did not answer in time: begin again", code="provider_slow")
        await asyncio.sleep(_LOOK_EVERY_S)


def _error(code: str | None) -> AppError:
    if code == "code_refused":
        return ExchangeRefusedError("the OpenID provider did not take the code: begin again", code="code_refused")
    if code == "token_invalid":
        return ExchangeRefusedError(
            "what the OpenID provider says of you does not hold, so nobody was signed in: begin again, and tell the"
            " operator if it stays so",
            code="identity_not_proved",
        )
    if code == "provider_invalid":
        return UnavailableError(
            "the OpenID provider answers with something that it should not; the operator can help",
            code="provider_invalid",
            retry_after_s=60,
        )
    return UnavailableError("the OpenID provider does not answer: begin again in a moment", code="provider_unreachable")


async def _sealed(session: AsyncSession, value: bytes, column: str, row_id: UUID) -> dict[str, Any]:
    installation, key = await platform_key(session)
    sealed: Sealed = seal(value, key, Place(installation, _TABLE, column, row_id))
    return {"sealed": sealed.value, "key_version": sealed.key_version, "suite": sealed.suite}


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


async def sign_in(
    database: Database,
    settings: Settings,
    data_keys: DataKeyStore,
    data: OidcSignIn,
    *,
    address: str | None,
    user_agent: str | None,
) -> SignedIn:
    """Finish a sign-in that was begun in this browser. Raises what :func:`redeem` and :func:`identities.enter` do."""
    await identities.count_attempt(database, address)
    proof, exchange = await redeem(database, settings, None, data)

    async def spend() -> bool:
        return await end(database, exchange)

    return await identities.enter(
        database,
        settings,
        data_keys,
        proof,
        spend=spend,
        totp=data.totp,
        address=address,
        user_agent=user_agent,
    )
