"""Webhooks: made with a secret that is shown once, changed, rotated with an overlap, tested, removed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.alerts import channels
from control_plane.audit.notes import note
from control_plane.errors import NotFoundError, unacceptable
from control_plane.identity.principal import Principal
from control_plane.security.addresses import UrlRefused
from control_plane.security.sealing import PublicKey
from control_plane.settings import Settings
from control_plane.webhooks.address import checked_webhook_url
from control_plane.webhooks.schemas import (
    DeliveryView,
    NewWebhook,
    PatchWebhook,
    RotateSecret,
    SecretView,
    TestView,
    WebhookView,
)
from control_plane.webhooks.signing import new_secret

_SELECT: Final = """
    select c.id, c.name, e.url, c.enabled, c.quiet, c.failing_since, c.disabled_at, c.disabled_reason, c.created_at,
        c.updated_at, s.updated_at as secret_at, s.previous_until
    from alert_channels c join webhook_endpoints e on e.tenant_id = c.tenant_id and e.id = c.id
    cross join lateral (
        select max(x.created_at) filter (where x.expires_at is null) as updated_at,
            max(x.expires_at) filter (where x.expires_at > now()) as previous_until
        from channel_secrets x where x.tenant_id = c.tenant_id and x.channel_id = c.id and x.kind = 'signing'
    ) s
"""
_ONE: Final = text(_SELECT + " where c.id = :id")
_MANY: Final = text(_SELECT + " where cast(:before as uuid) is null or c.id < :before order by c.id desc limit :limit")
_LOCK: Final = text("select id from alert_channels where id = :id and kind = 'webhook' for update")
_ADD: Final = text("insert into webhook_endpoints (id, url) values (:id, :url)")
_SET_URL: Final = text("update webhook_endpoints set url = :url where id = :id and url <> :url")
_EXPIRED: Final = text(
    "delete from channel_secrets where channel_id = :id and kind = 'signing'"
    " and (expires_at is not null or cast(:overlap as float8) = 0)"
)
_EXPIRE: Final = text(
    "update channel_secrets set expires_at = now() + make_interval(secs => :overlap)"
    " where channel_id = :id and kind = 'signing' and expires_at is null"
)
_DELIVERIES: Final = text(
    "select id, message_id, type, attempt, outcome, status_code, latency_ms, error, created_at from webhook_deliveries"
    " where endpoint_id = :id and (cast(:before as uuid) is null or id < :before) order by id desc limit :limit"
)


async def create(
    session: AsyncSession, principal: Principal, settings: Settings, key: PublicKey, data: NewWebhook
) -> WebhookView:
    """Make a webhook; its secret is in this one answer. Raises 409 for one too many, 422 for the address."""
    url = _checked(settings, data.url)
    channel_id = await channels.add(
        session, principal, kind="webhook", name=data.name or url.split("/")[2], quiet=data.quiet, verified=True
    )
    await session.execute(_ADD, {"id": channel_id, "url": url})
    secret = new_secret()
    await channels.seal_secret(session, principal, key, channel_id, "signing", secret)
    return await get(session, principal, channel_id, signing_secret=secret)


async def get(
    session: AsyncSession, principal: Principal, webhook_id: UUID, *, signing_secret: str | None = None
) -> WebhookView:
    """A webhook. Raises 404."""
    principal.require("alerts:read")
    row = (await session.execute(_ONE, {"id": webhook_id})).one_or_none()
    if row is None:
        raise NotFoundError("webhook")
    return _view(row, signing_secret)


async def many(session: AsyncSession, principal: Principal, before: UUID | None, limit: int) -> list[WebhookView]:
    """The tenant's webhooks, newest first."""
    principal.require("alerts:read")
    rows = await session.execute(_MANY, {"before": before, "limit": limit})
    return [_view(row, None) for row in rows]


async def change(
    session: AsyncSession, principal: Principal, settings: Settings, webhook_id: UUID, data: PatchWebhook
) -> WebhookView:
    """Change what is named. Raises 404, 422."""
    await _lock(session, principal, webhook_id)
    if data.url is not None:
        await session.execute(_SET_URL, {"id": webhook_id, "url": _checked(settings, data.url)})
    await channels.set_fields(session, webhook_id, name=data.name, enabled=data.enabled, quiet=data.quiet)
    return await get(session, principal, webhook_id)


async def remove(session: AsyncSession, principal: Principal, webhook_id: UUID) -> None:
    """Remove a webhook with its log; what was on its way is not sent any more. Raises 404."""
    await _lock(session, principal, webhook_id)
    await channels.remove(session, webhook_id)


async def rotate(
    session: AsyncSession, principal: Principal, key: PublicKey, webhook_id: UUID, data: RotateSecret
) -> WebhookView:
    """A new secret, in this one answer; the old one signs beside it for as long as is said. Raises 404."""
    await _lock(session, principal, webhook_id)
    values = {"id": webhook_id, "overlap": float(data.overlap_seconds)}
    # Two at most: whoever rotates again has no more use for what came before the present one.
    await session.execute(_EXPIRED, values)
    await session.execute(_EXPIRE, values)
    secret = new_secret()
    await channels.seal_secret(session, principal, key, webhook_id, "signing", secret)
    detail = {"overlap_seconds": data.overlap_seconds}
    await note(session, "webhook.rotated", resource="webhook", resource_id=webhook_id, detail=detail)
    return await get(session, principal, webhook_id, signing_secret=secret)


async def test(session: AsyncSession, principal: Principal, webhook_id: UUID) -> TestView:
    """Put a test message in line. Raises 404."""
    await _lock(session, principal, webhook_id)
    return await channels.post_test(session, webhook_id)


async def deliveries(
    session: AsyncSession, principal: Principal, webhook_id: UUID, before: UUID | None, limit: int
) -> list[DeliveryView]:
    """Every try of the last thirty days, newest first. Raises 404."""
    await get(session, principal, webhook_id)
    rows = await session.execute(_DELIVERIES, {"id": webhook_id, "before": before, "limit": limit})
    return [DeliveryView(**row._mapping) for row in rows]  # noqa: SLF001 - a row's public name for its columns


def without_secret(view: WebhookView) -> WebhookView:
    """The same webhook as it may be stored and shown again."""
    return msgspec.structs.replace(view, signing_secret=None)


async def _lock(session: AsyncSession, principal: Principal, webhook_id: UUID) -> None:
    principal.require("alerts:write")
    if await session.scalar(_LOCK, {"id": webhook_id}) is None:
        raise NotFoundError("webhook")


def _checked(settings: Settings, url: str) -> str:
    try:
        return checked_webhook_url(url, settings.egress_allow)
    except UrlRefused as error:
        raise unacceptable("url", error.message, code=error.code) from error


def _view(row: Row[Any], signing_secret: str | None) -> WebhookView:
    at: datetime | None = row.secret_at
    return WebhookView(
        id=row.id,
        name=row.name,
        url=row.url,
        enabled=row.enabled,
        quiet=row.quiet,
        secret=SecretView(at is not None, at, row.previous_until),
        signing_secret=signing_secret,
        failing_since=row.failing_since,
        disabled_at=row.disabled_at,
        disabled_reason=row.disabled_reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
