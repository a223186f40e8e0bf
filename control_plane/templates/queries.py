"""Reads of a creator's own templates. The sealed configuration is not among the columns that the web tier may read."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.errors import NotFoundError
from control_plane.templates.schemas import ConfigView, TemplateView, VersionView

_SELECT = """
    select t.id, t.name, t.description, t.engine, t.strategy_type, t.risk_level, t.hosting, t.currency,
        t.minimum_allocation, t.status, t.created_at, t.updated_at,
        coalesce(l.subscribers_count, own_subscribers(t.id)) as subscribers_count,
        v.id as version_id, v.version, v.parameters, v.image, v.account_field, v.config_fields, v.config_digest,
        v.created_at as version_at
    from bot_templates t
    join template_versions v on v.tenant_id = t.tenant_id and v.template_id = t.id and v.version = t.latest_version
    left join marketplace_listings l on l.id = t.id
    where t.deleted_at is null
"""
_ONE = text(_SELECT + " and t.id = :id")
_MANY = text(
    _SELECT
    + """
        and (cast(:before as uuid) is null or t.id < :before)
        and (cast(:q as text) is null
            or position(lower(:q) in lower(t.name || ' ' || coalesce(t.description, ''))) > 0)
        and v.parameters @> all(coalesce(cast(:parameters as jsonb[]), '{}'))
    order by t.id desc limit :limit
    """
)
_LATEST = text("""
    select v.id from bot_templates t
    join template_versions v on v.tenant_id = t.tenant_id and v.template_id = t.id and v.version = t.latest_version
    where t.id = :id and t.deleted_at is null
""")


def _view(row: Row[Any]) -> TemplateView:
    return TemplateView(
        id=row.id,
        name=row.name,
        description=row.description,
        engine=row.engine,
        strategy_type=row.strategy_type,
        risk_level=row.risk_level,
        hosting=row.hosting,
        currency=row.currency,
        minimum_allocation=row.minimum_allocation,
        status=row.status,
        version=VersionView(
            id=row.version_id,
            version=row.version,
            parameters=row.parameters,
            image=row.image,
            account_field=row.account_field,
            config=ConfigView(set=True, fields=row.config_fields, digest=row.config_digest),
            created_at=row.version_at,
        ),
        subscribers_count=row.subscribers_count,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


async def get_template(session: AsyncSession, template_id: UUID) -> TemplateView:
    """One template of the bound tenant. Raises 404."""
    row = (await session.execute(_ONE, {"id": template_id})).one_or_none()
    if row is None:
        raise NotFoundError("template")
    return _view(row)


async def list_templates(
    session: AsyncSession,
    *,
    before: UUID | None,
    limit: int,
    q: str | None = None,
    parameters: list[str] | None = None,
) -> list[TemplateView]:
    """Templates of the bound tenant, newest first; ``parameters`` are JSON documents that theirs must contain."""
    values = {"before": before, "limit": limit, "q": q or None, "parameters": parameters}
    return [_view(row) for row in await session.execute(_MANY, values)]


async def latest_own_version(session: AsyncSession, template_id: UUID) -> UUID:
    """The newest version of one of the tenant's own templates. Raises 404."""
    version: UUID | None = await session.scalar(_LATEST, {"id": template_id})
    if version is None:
        raise NotFoundError("template")
    return version
