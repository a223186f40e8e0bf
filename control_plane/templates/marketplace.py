"""The public side of templates: a projection that never held a secret, and the creator's own result on it."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.errors import NotFoundError
from control_plane.templates.schemas import ListingPerformance, ListingView

Sort = Literal["newest", "subscribers", "return"]

_SELECT = """
    select l.id, l.creator_name, l.creator_tenant_id, l.name, l.description, l.engine, l.strategy_type, l.risk_level,
        l.hosting, l.currency, l.minimum_allocation, l.parameters, l.version, l.subscribers_count, l.published_at,
        p.since, p.observed_at, p.simulated, p.max_drawdown, p.growth
"""
_ONE = text(_SELECT + " from marketplace_listings l left join lateral listing_result(l.id) p on true where l.id = :id")
_FILTERS = """
    where (cast(:risk_level as text) is null or l.risk_level = :risk_level)
        and (cast(:strategy_type as text) is null or l.strategy_type = :strategy_type)
        and (cast(:q as text) is null or position(lower(:q) in lower(l.name || ' ' || coalesce(l.description, ''))) > 0)
"""
# By return: as the scheduler last saw it, a minute ago at the most. What is shown beside it is of this moment.
_ORDERS: dict[Sort, str] = {
    "newest": "l.id desc",
    "subscribers": "l.subscribers_count desc, l.id desc",
    "return": "l.score desc nulls last, l.id desc",
}
# Containment is no leakproof operator: under a policy no index would be used for it. The function looks past the policy
# and tells ids alone; the rows are then read under it.
_BY_PARAMETERS = " and l.id in (select f.id from find_listings(cast(:parameters as jsonb[])) f (id))"
_CHOSEN = "with l as materialized (select * from marketplace_listings l"
# Positions rather than keys: a listing's rank moves while people read, and a page of a marketplace is no ledger. It is
# chosen before anybody's figures are looked at, so that only those on it are.
_PAGES = {
    (sort, narrowed): text(
        f"{_CHOSEN} {_FILTERS} {_BY_PARAMETERS if narrowed else ''} order by {order} limit :limit offset :offset)"
        f" {_SELECT} from l left join lateral listing_result(l.id) p on true order by {order}"
    )
    for sort, order in _ORDERS.items()
    for narrowed in (False, True)
}


def _view(row: Row[Any], tenant_id: UUID) -> ListingView:
    performance = None
    if row.growth is not None:
        performance = ListingPerformance(
            since=row.since,
            as_of=row.observed_at,
            simulated=row.simulated,
            max_drawdown=row.max_drawdown,
            return_=row.growth - 1,
        )
    return ListingView(
        id=row.id,
        template_id=row.id,
        creator=row.creator_name,
        mine=row.creator_tenant_id == tenant_id,
        name=row.name,
        description=row.description,
        engine=row.engine,
        strategy_type=row.strategy_type,
        risk_level=row.risk_level,
        hosting=row.hosting,
        currency=row.currency,
        minimum_allocation=row.minimum_allocation,
        parameters=row.parameters,
        version=row.version,
        subscribers_count=row.subscribers_count,
        published_at=row.published_at,
        performance=performance,
    )


async def get_listing(session: AsyncSession, tenant_id: UUID, template_id: UUID) -> ListingView:
    """One published template. Raises 404."""
    row = (await session.execute(_ONE, {"id": template_id})).one_or_none()
    if row is None:
        raise NotFoundError("published template")
    return _view(row, tenant_id)


async def browse(
    session: AsyncSession,
    tenant_id: UUID,
    *,
    risk_level: str | None,
    strategy_type: str | None,
    q: str | None,
    sort: Sort,
    limit: int,
    offset: int,
    parameters: list[str] | None = None,
) -> list[ListingView]:
    """Published templates of every creator; ``parameters`` are JSON documents that theirs must contain."""
    values: dict[str, Any] = {
        "risk_level": risk_level,
        "strategy_type": strategy_type,
        "q": q or None,
        "limit": limit,
        "offset": offset,
    }
    if parameters:
        values["parameters"] = parameters
    rows = await session.execute(_PAGES[sort, bool(parameters)], values)
    return [_view(row, tenant_id) for row in rows]
