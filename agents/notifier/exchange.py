"""Carries out sign-ins by an OpenID provider that the web tier has begun, and publishes what it learns of the provider.

The web tier makes no call outside and has no client secret. It leaves a code, sealed, and reads the outcome.
"""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar, Final
from uuid import UUID

import asyncpg
import msgspec
import structlog
from uuid_utils.compat import uuid7

from agents.notifier.id_token import Claims, claims_of
from agents.notifier.provider import Provider, ProviderError
from agents.secrets import open_row
from control_plane.database.away import DATABASE_AWAY
from control_plane.security.sealing import Place
from control_plane.security.vault import OpenError, Vault
from control_plane.settings import Settings

CHANNEL: Final = "tradewise_exchange"
_IDLE_S = 60.0
_UNCONFIGURED_S = 300.0
_PUBLISH_EVERY_S = 3600.0
_PUBLISH_AGAIN_S = 15.0
_AT_ONCE = 16

# Claimed before the provider is asked and never asked again: a code is good once, whatever became of it.
_CLAIM = """
    update sign_in_exchanges set status = 'working' where id in (
        select id from sign_in_exchanges where status = 'asked' and expires_at > now()
        order by created_at limit $1 for update skip locked
    ) returning id
"""
_OPEN = """
    select e.id, e.sealed_{column} as value, e.{column}_key_version as key_version, e.{column}_suite as sealed_suite,
        i.id as tenant_id, k.version, k.suite, k.public_key, k.wrapped_private_key, k.kek_id
    from sign_in_exchanges e cross join installation i
    left join platform_keys k on k.version = e.{column}_key_version
    where e.id = $1
"""
_OPEN_PROOF, _OPEN_CODE = _OPEN.format(column="proof"), _OPEN.format(column="code")
_FINISH = """
    update sign_in_exchanges set status = $2, issuer = $3, subject = $4, email = $5, email_verified = $6, name = $7,
        error = $8, sealed_proof = null, sealed_code = null
    where id = $1 and status = 'working'
"""
_PUBLISH = """
    insert into identity_providers (id, issuer, authorization_endpoint) values ($1, $2, $3)
    on conflict (issuer) do update set authorization_endpoint = excluded.authorization_endpoint, refreshed_at = now()
"""


class Began(msgspec.Struct, frozen=True):
    """What the web tier sealed at the beginning."""

    nonce: str
    verifier: str
    redirect_uri: str

    def __repr__(self) -> str:
        return "Began(…)"


class Exchange:
    """A pass takes what is asked for and answers each on a task of its own, so that a slow provider holds up nobody."""

    channel: ClassVar[str] = CHANNEL

    def __init__(self, settings: Settings, pool: asyncpg.Pool, vault: Vault) -> None:
        self._pool, self._vault = pool, vault
        self._provider: Provider | None = None
        if settings.oidc_issuer is not None and settings.oidc_client_id is not None:
            self._provider = Provider(settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret)
        self._publish_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("exchange")

    async def close(self) -> None:
        """Let what is under way come to its end, then close connections."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._provider is not None:
            await self._provider.close()

    async def work(self) -> float:
        """One pass. Returns the seconds until the next one if nothing wakes the agent earlier."""
        if self._provider is None:
            return _UNCONFIGURED_S
        room = _AT_ONCE - len(self._tasks)
        rows = await self._pool.fetch(_CLAIM, room) if room > 0 else []
        for row in rows:
            task = asyncio.create_task(self._answer(self._provider, row["id"]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if time.monotonic() >= self._publish_at:
            await self._publish(self._provider)
        if room <= len(rows):
            return 0.2  # there may be more than we had hands for
        return min(_IDLE_S, max(0.0, self._publish_at - time.monotonic()))

    async def _publish(self, provider: Provider) -> None:
        try:
            found = await provider.discovery(fresh=True)
        except ProviderError as error:
            self._publish_at = time.monotonic() + _PUBLISH_AGAIN_S
            self._log.warning("provider_not_found", code=error.code, why=str(error))
            return
        await self._pool.execute(_PUBLISH, uuid7(), found.issuer, found.authorization_endpoint)
        self._publish_at = time.monotonic() + _PUBLISH_EVERY_S

    async def _answer(self, provider: Provider, exchange_id: UUID) -> None:
        try:
            claims: Claims | None = await self._redeem(provider, exchange_id)
            error = None
        except ProviderError as refused:
            claims, error = None, refused.code
            self._log.warning("exchange_failed", code=refused.code, why=str(refused))
        except OpenError as refused:
            claims, error = None, "token_invalid"
            self._log.error("exchange_does_not_open", why=str(refused))
        except DATABASE_AWAY as away:
            self._log.warning("exchange_lost", error=type(away).__name__)
            return
        try:
            await self._pool.execute(
                _FINISH,
                exchange_id,
                "done" if claims else "failed",
                provider.issuer if claims else None,
                claims.subject if claims else None,
                claims.email if claims else None,
                claims.email_verified if claims else None,
                claims.name if claims else None,
                error,
            )
        except DATABASE_AWAY as away:
            # Whoever waits is told so when their time is up; the code is spent.
            self._log.warning("outcome_lost", error=type(away).__name__)

    async def _redeem(self, provider: Provider, exchange_id: UUID) -> Claims:
        opened = await self._open(_OPEN_PROOF, exchange_id, "sealed_proof")
        try:
            began = msgspec.json.decode(opened, type=Began)
        except msgspec.DecodeError:
            raise OpenError("what was sealed at the beginning is not what it should be") from None
        code = (await self._open(_OPEN_CODE, exchange_id, "sealed_code")).decode()
        token = await provider.id_token(code, began.verifier, began.redirect_uri)
        return await claims_of(provider, token, began.nonce)

    async def _open(self, statement: str, exchange_id: UUID, column: str) -> bytes:
        row = await self._pool.fetchrow(statement, exchange_id)
        if row is None or row["value"] is None:
            raise OpenError("the exchange is not in the database")
        return (
            await open_row(self._vault, row, Place(row["tenant_id"], "sign_in_exchanges", column, exchange_id))
        ).reveal()
