"""What changes of bots have in common: the row that is held, the value that is sealed, the note in its history."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.errors import ConflictError, NotFoundError
from control_plane.identity.principal import Principal
from control_plane.security.sealing import Place, PublicKey, seal

_SEAL = text(
    "insert into bot_secrets (id, bot_id, kind, sealed, key_version, suite, last4)"
    " values (:id, :bot, :kind, :sealed, :key_version, :suite, :last4)"
)
_UNSEAL = text("delete from bot_secrets where bot_id = :bot and kind = :kind")
_LOCKED = text(
    "select id, bot_type, engine, desired, status, generation, api_url, template_version_id,"
    " engine_config::text as engine_config from bots where id = :id and deleted_at is null for update"
)
_EVENT = text(
    "insert into bot_events (id, bot_id, kind, reason, detail, cause, actor)"
    " values (:id, :bot, :kind, :reason, :detail, :cause, :actor)"
)


async def store(
    session: AsyncSession,
    principal: Principal,
    key: PublicKey,
    bot_id: UUID,
    kind: str,
    value: bytes,
    last4: str | None,
) -> None:
    """Seal ``value`` in the place of what was kept of that kind."""
    # A new value is a new row: a sealed value is bound to its row's id, so an old one can never be put back under it.
    row_id = uuid7()
    sealed = seal(value, key, Place(principal.tenant_id, "bot_secrets", "sealed", row_id))
    await session.execute(_UNSEAL, {"bot": bot_id, "kind": kind})
    await session.execute(
        _SEAL,
        {
            "id": row_id,
            "bot": bot_id,
            "kind": kind,
            "sealed": sealed.value,
            "key_version": sealed.key_version,
            "suite": sealed.suite,
            "last4": last4,
        },
    )


async def note(
    session: AsyncSession, principal: Principal, bot_id: UUID, kind: str, *, reason: str | None = None
) -> None:
    """Write what the caller did into the bot's history."""
    await session.execute(
        _EVENT,
        {
            "id": uuid7(),
            "bot": bot_id,
            "kind": kind,
            "reason": reason,
            "detail": None,
            "cause": principal.cause,
            "actor": principal.actor,
        },
    )


async def locked(session: AsyncSession, bot_id: UUID) -> Row[Any]:
    """The bot's row, held until the transaction ends. Raises 404."""
    row = (await session.execute(_LOCKED, {"id": bot_id})).one_or_none()
    if row is None:
        raise NotFoundError("bot")
    return row


async def refuse_subscribed(session: AsyncSession, bot_id: UUID) -> None:
    """A bot that carries somebody's capital is steered by its subscription. Raises 409."""
    carried = await session.scalar(
        text("select id from subscriptions where bot_id = :bot and status <> 'cancelled' limit 1"), {"bot": bot_id}
    )
    if carried is not None:
        raise ConflictError(
            f"this bot carries subscription {carried}: pause, resume or cancel that instead",
            code="managed_by_subscription",
        )
