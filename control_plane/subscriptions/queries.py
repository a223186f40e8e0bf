"""Reads of subscriptions, valued as they are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.bots.queries import get_bot, silence_of
from control_plane.errors import NotFoundError
from control_plane.performance.schemas import Interval
from control_plane.performance.series import bot_performance, checked_span
from control_plane.performance.steps import SECONDS, ceiled
from control_plane.settings import Settings
from control_plane.subscriptions.schemas import EntryView, SubscriptionView, WorthPoint, WorthView
from control_plane.subscriptions.valuation import Movement, Worth, dedicated_worth, shared_worth, worth_over_time

_SELECT = """
    select s.id, s.template_id, s.creator_tenant_id, s.template_version_id, s.hosting, s.bot_tenant_id, s.bot_id,
        s.status, s.currency, s.allocation_amount, s.units, s.cash, s.created_at, s.updated_at, s.cancelled_at,
        l.name as template_name, l.strategy_type, l.version,
        p.observed_at, p.equity, p.capital_base, p.unit_value, p.simulated,
        f.observed_at as index_at, f.unit_value as index_value, f.simulated as index_simulated
    from subscriptions s
    left join marketplace_listings l on l.id = s.template_id
    left join lateral (
        select * from (
            (select q.observed_at, q.equity, q.capital_base, q.unit_value, q.simulated from performance_snapshots q
            where s.hosting = 'dedicated' and q.tenant_id = s.bot_tenant_id and q.bot_id = s.bot_id
                and q.equity is not null and (s.cancelled_at is null or q.observed_at <= s.cancelled_at)
            order by q.observed_at desc limit 1)
            union all
            -- Single readings are not kept for good.
            (select coalesce(d.unit_at, d.last_at), d.equity_last, d.capital_base, d.unit_last, d.simulated
            from performance_daily d
            where s.hosting = 'dedicated' and d.tenant_id = s.bot_tenant_id and d.bot_id = s.bot_id
                and d.equity_last is not null and (s.cancelled_at is null or d.last_at <= s.cancelled_at)
            order by d.bucket desc limit 1)
        ) k
        order by k.observed_at desc limit 1
    ) p on true
    left join followed_unit_values() f on f.subscription_id = s.id and s.hosting = 'shared'
"""
_ONE = text(_SELECT + " where s.id = :id")
_MANY = text(_SELECT + " where (cast(:before as uuid) is null or s.id < :before) order by s.id desc limit :limit")
_LEDGER = text(
    "select id, created_at, kind, amount, units, unit_value, actor from subscription_ledger"
    " where subscription_id = :subscription order by id"
)
_LEDGER_PAGE = text(
    "select id, created_at, kind, amount, units, unit_value, actor from subscription_ledger"
    " where subscription_id = :subscription and (cast(:before as uuid) is null or id < :before)"
    " order by id desc limit :limit"
)

_APART: dict[str, float] = {**{name: float(length) for name, length in SECONDS.items()}, "raw": 0.0}
_KEPT = text("select subscription_kept(:id, :since)")
_HOUR_S, _DAY_S = 3600.0, 86400.0
#: From steps of so many seconds on, what is rolled up is told by the hour; and by the day, so that a curve of years
#: reads no more than one of months.
_IN_HOURS, _IN_DAYS = 600.0, 6 * _HOUR_S
_LIVE = text("select id from subscriptions where user_id = :user and template_id = :template and status <> 'cancelled'")


async def movements_of(session: AsyncSession, subscription_id: UUID) -> list[Movement]:
    """The whole ledger of a subscription, oldest first."""
    rows = await session.execute(_LEDGER, {"subscription": subscription_id})
    return [Movement(row.created_at, row.kind, row.amount, row.units, row.unit_value) for row in rows]


async def worth_of(session: AsyncSession, row: Row[Any]) -> Worth:
    """What a subscription's row is worth now; a cancelled one keeps the worth that it was redeemed at."""
    if row.hosting == "dedicated":
        return dedicated_worth(row.equity, row.capital_base, row.unit_value, row.observed_at)
    movements = await movements_of(session, row.id)
    if row.status == "cancelled":
        return _redeemed(movements, row.cancelled_at)
    return shared_worth(row.units or Decimal(0), row.cash, row.index_value, movements, row.index_at)


def _redeemed(movements: list[Movement], cancelled_at: datetime) -> Worth:
    last = next((item for item in reversed(movements) if item.kind == "redemption"), None)
    if last is None:
        return Worth(None, None, None, None, cancelled_at)
    before = [item for item in movements if item.kind != "redemption"]
    equity = -last.amount
    return shared_worth(Decimal(0), equity, last.unit_value, before, cancelled_at)


async def _view(session: AsyncSession, settings: Settings, row: Row[Any]) -> SubscriptionView:
    worth = await worth_of(session, row)
    bot_status = None
    if row.hosting == "dedicated" and row.status != "cancelled":
        bot_status = (await get_bot(session, settings, row.bot_id)).status
    return SubscriptionView(
        id=row.id,
        template_id=row.template_id,
        template_name=row.template_name,
        strategy_type=row.strategy_type,
        version=row.version,
        bot_id=row.bot_id,
        hosting=row.hosting,
        status=row.status,
        bot_status=bot_status,
        allocation_amount=row.allocation_amount,
        currency=row.currency,
        simulated=row.simulated if row.hosting == "dedicated" else row.index_simulated,
        equity=worth.equity,
        net_deposits=worth.net_deposits,
        profit=worth.profit,
        return_=worth.return_,
        as_of=worth.as_of,
        created_at=row.created_at,
        updated_at=row.updated_at,
        cancelled_at=row.cancelled_at,
    )


async def subscription_row(session: AsyncSession, subscription_id: UUID) -> Row[Any]:
    """The row that worth and changes rest on. Raises 404."""
    row = (await session.execute(_ONE, {"id": subscription_id})).one_or_none()
    if row is None:
        raise NotFoundError("subscription")
    return row


async def get_subscription(session: AsyncSession, settings: Settings, subscription_id: UUID) -> SubscriptionView:
    """One subscription of the bound tenant. Raises 404."""
    return await _view(session, settings, await subscription_row(session, subscription_id))


async def list_subscriptions(
    session: AsyncSession, settings: Settings, *, before: UUID | None, limit: int
) -> list[SubscriptionView]:
    """Subscriptions of the bound tenant, newest first."""
    rows = (await session.execute(_MANY, {"before": before, "limit": limit})).all()
    return [await _view(session, settings, row) for row in rows]


async def live_subscription(session: AsyncSession, user_id: UUID, template_id: UUID) -> UUID | None:
    """A person's own subscription to a template that is not cancelled: there is one at most."""
    found: UUID | None = await session.scalar(_LIVE, {"user": user_id, "template": template_id})
    return found


async def list_ledger(
    session: AsyncSession, subscription_id: UUID, *, before: UUID | None, limit: int
) -> list[EntryView]:
    """Movements of a subscription, newest first. Raises 404."""
    await subscription_row(session, subscription_id)
    rows = await session.execute(_LEDGER_PAGE, {"subscription": subscription_id, "before": before, "limit": limit})
    return [EntryView(*row) for row in rows]


async def subscription_performance(
    session: AsyncSession,
    settings: Settings,
    subscription_id: UUID,
    since: datetime | None,
    until: datetime | None,
    interval: Interval | None,
) -> WorthView:
    """A subscription's worth over time, oldest first. Raises 404."""
    row = await subscription_row(session, subscription_id)
    begin, end = checked_span(since, until)
    if row.hosting == "dedicated":
        silence = await silence_of(session, settings, row.bot_id)
        series = await bot_performance(session, row.bot_id, begin, end, interval, silence=silence)
        points = [WorthPoint(point.at, point.equity) for point in series.points]
        apart = _APART[series.interval]
        return WorthView(row.currency, series.simulated, series.interval, apart, points)
    kept = (await session.execute(_KEPT, {"id": subscription_id, "since": begin})).scalar_one()
    step = _step(min(end, datetime.now(UTC)) - max(begin, row.created_at), kept)
    if kept > 1:
        # What is kept is told whole: it cannot be cut at the end of the span.
        end = ceiled(end, timedelta(seconds=kept))
    index = (
        await session.execute(
            text(
                "select observed_at, unit_value from subscription_index(:id, :since, :until,"
                " make_interval(secs => :seconds))"
            ),
            {"id": subscription_id, "since": begin, "until": end, "seconds": step},
        )
    ).all()
    movements = await movements_of(session, subscription_id)
    worth = worth_over_time(movements, [(item.observed_at, item.unit_value) for item in index])
    # Of longer steps, hours have one value (policies/performance.sql).
    apart = step if step < _IN_HOURS else max(step, _HOUR_S)
    points = [WorthPoint(at, equity) for at, equity in worth]
    return WorthView(row.currency, row.index_simulated, "auto", apart, points)


def _step(shown: timedelta, kept_s: int) -> float:
    """Seconds between points, so that a span shows about 500 of them; no less than what is still kept lies apart."""
    step = max(shown.total_seconds() / 500, float(kept_s))
    return max(step, _DAY_S) if step >= _IN_DAYS else step
