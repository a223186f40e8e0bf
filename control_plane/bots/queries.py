"""Reads of bots: one statement a page, columns straight into structs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.bots.kinds import HOSTED_TYPES, stale_after_s
from control_plane.bots.schemas import BotView, EventView, HealthView, LatestView, LimitsView, SecretView
from control_plane.bots.status import Facts, Presented, present
from control_plane.bots.trading import is_pending, trading_view
from control_plane.bots.warnings import resets_since, warnings_view
from control_plane.dashboard.reasons import remedy_of
from control_plane.errors import NotFoundError
from control_plane.plans import memory_of, plan_of
from control_plane.settings import Settings

_SELECT = """
    select b.id, b.bot_type, b.engine, b.name, b.description, b.status, b.desired, b.generation, b.observed_generation,
        b.reason, b.reason_detail, b.status_since, b.api_url, b.engine_config,
        b.exposed_host_port, b.on_stop, b.orders_unconfirmed,
        b.created_at, b.updated_at,
        b.crash_policy, b.attempt, b.next_retry_at,
        h.state, h.reason as health_reason, h.detail as health_detail, h.observed_at, h.healthy_at, h.latency_ms,
        h.failures, h.credential_ok, h.trading_state, h.loop_age_s, h.version, h.simulated, h.engine_lost_at,
        c.last4 as credentials_last4, c.updated_at as credentials_at,
        g.last4 as config_last4, g.updated_at as config_at,
        v.template_id, s.id as subscription_id,
        p.observed_at as latest_at, p.currency, p.simulated as latest_simulated, p.equity, p.capital_base,
        (select t.plan from tenants t where t.id = b.tenant_id) as plan,
        p.realized_profit, p.open_profit, p.win_rate, p.max_drawdown, p.closed_trades, p.open_positions,
        w.wanted as trading_wanted, w.requested_at as trading_requested_at, w.confirmed_at as trading_confirmed_at,
        w.problem as trading_problem, w.problem_detail as trading_problem_detail,
        (
            select jsonb_agg(jsonb_build_object('id', o.id, 'name', o.name)) from (
                select x.id, y.name from bot_health x
                join bots y on y.tenant_id = x.tenant_id and y.id = x.id and y.deleted_at is null
                where x.tenant_id = h.tenant_id and x.identity = h.identity and x.id <> h.id
                order by x.id limit 5
            ) o
        ) as twins,
        r.created_at as reset_at, r.detail as reset_detail
    from bots b
    join bot_health h on h.tenant_id = b.tenant_id and h.id = b.id
    left join bot_secrets c on c.tenant_id = b.tenant_id and c.bot_id = b.id and c.kind = 'credentials'
    left join bot_secrets g on g.tenant_id = b.tenant_id and g.bot_id = b.id and g.kind = 'config'
    left join template_versions v on v.tenant_id = b.template_tenant_id and v.id = b.template_version_id
    left join subscriptions s on s.tenant_id = b.tenant_id and s.bot_tenant_id = b.tenant_id and s.bot_id = b.id
        and s.status <> 'cancelled'
    left join lateral (
        select * from performance_snapshots q where q.tenant_id = b.tenant_id and q.bot_id = b.id
        order by q.observed_at desc limit 1
    ) p on true
    left join bot_trading w on w.tenant_id = b.tenant_id and w.bot_id = b.id
    left join lateral (
        select e.created_at, e.detail from bot_events e
        where e.tenant_id = b.tenant_id and e.bot_id = b.id and e.id >= :resets_since and e.kind = 'counter_reset'
        order by e.id desc limit 1
    ) r on true
    where b.deleted_at is null
"""
_TWINS = {"twins": JSONB}
_ONE = text(_SELECT + " and b.id = :id").columns(**_TWINS)
_MANY = text(
    _SELECT
    + """
    and (cast(:before as uuid) is null or b.id < :before)
    and (cast(:bot_type as text) is null or b.bot_type = :bot_type)
    and (cast(:q as text) is null or position(lower(:q) in lower(b.name)) > 0)
    order by b.id desc limit :limit
"""
).columns(**_TWINS)
_EVENTS = text(
    "select id, created_at, kind, from_status, to_status, reason, detail, cause, actor from bot_events"
    " where bot_id = :bot and (cast(:before as uuid) is null or id < :before) order by id desc limit :limit"
)

_PLAN_OF = text("select t.plan from tenants t join bots b on b.tenant_id = t.id where b.id = :id")
_NAMES = text("select id, name from bots where deleted_at is null order by id desc limit :limit")
_LAST_LINES = text(
    "select last_lines from bot_instances where bot_id = :bot and last_lines is not null order by id desc limit 1"
).columns(last_lines=JSONB)


def stale_after(settings: Settings, plan_name: str) -> timedelta:
    """How old an observation may be before it is called stale: three polls of its plan, as a rule."""
    interval = plan_of(settings.plans, plan_name).poll_interval or settings.poll_interval
    return timedelta(seconds=stale_after_s(interval))


async def seen_until(session: AsyncSession, settings: Settings, bot: BotView) -> datetime | None:
    """How long the last look at a bot of the bound tenant is good for; None where nobody has looked."""
    if bot.health.observed_at is None:
        return None
    return bot.health.observed_at + stale_after(settings, await _plan_name(session, bot.id))


async def silence_of(session: AsyncSession, settings: Settings, bot_id: UUID) -> timedelta:
    """How long nothing may have been read of a bot of the bound tenant before its curve is interrupted."""
    return unread_after(settings, await _plan_name(session, bot_id))


async def _plan_name(session: AsyncSession, bot_id: UUID) -> str:
    name: str = (await session.execute(_PLAN_OF, {"id": bot_id})).scalar_one()
    return name


def unread_after(settings: Settings, plan_name: str) -> timedelta:
    """How long nothing may have been read before figures are old, and nothing is drawn: three readings of its plan."""
    plan = plan_of(settings.plans, plan_name)
    # Every full look is a look: none comes more often than these.
    interval = max(plan.poll_interval or settings.poll_interval, plan.reading_interval or settings.reading_interval)
    return timedelta(seconds=stale_after_s(interval))


def gap_after(settings: Settings) -> timedelta:
    """The same of a bot whose plan is not known: by the plan that is read least often."""
    return max(unread_after(settings, name) for name in settings.plans)


def _presented(row: Row[Any], settings: Settings) -> Presented:
    facts = Facts(
        bot_type=row.bot_type,
        desired=row.desired,
        generation=row.generation,
        observed_generation=row.observed_generation,
        status=row.status,
        reason=row.reason,
        health_state=row.state,
        health_reason=row.health_reason,
        observed_at=row.observed_at,
        engine_lost_at=row.engine_lost_at,
    )
    return present(facts, datetime.now(UTC), stale_after(settings, row.plan))


def _view(row: Row[Any], shown: Presented, settings: Settings) -> BotView:
    own = shown.reason == row.reason and shown.status == row.status
    return BotView(
        id=row.id,
        bot_type=row.bot_type,
        engine=row.engine,
        name=row.name,
        description=row.description,
        status=shown.status,
        desired=row.desired,
        reason=shown.reason,
        reason_detail=row.reason_detail if own else None,
        status_since=row.status_since,
        health=HealthView(
            state=shown.health,
            reason=shown.health_reason,
            detail=row.health_detail if shown.health_reason == row.health_reason else None,
            observed_at=row.observed_at,
            healthy_at=row.healthy_at,
            latency_ms=row.latency_ms,
            failures=row.failures,
            credential_ok=row.credential_ok,
            trading_state=row.trading_state,
            loop_age_s=row.loop_age_s,
            version=row.version,
            simulated=row.simulated,
            remedy=remedy_of(shown.health_reason),
        ),
        api_url=row.api_url,
        engine_config=_jsonb(row.engine_config),
        exposed_host_port=row.exposed_host_port,
        on_stop=row.on_stop,
        # Of a copy that trades nothing is confirmed yet, and nothing amiss.
        orders_unconfirmed=None if shown.status in {"running", "stopping"} else row.orders_unconfirmed,
        template_id=row.template_id,
        subscription_id=row.subscription_id,
        credentials=SecretView(row.credentials_at is not None, row.credentials_last4, row.credentials_at),
        config=SecretView(row.config_at is not None, row.config_last4, row.config_at),
        latest=_latest(row, settings),
        limits=limits_view(settings, row.plan, row.engine) if row.bot_type in HOSTED_TYPES else None,
        created_at=row.created_at,
        updated_at=row.updated_at,
        crash_policy=row.crash_policy if row.bot_type in HOSTED_TYPES else None,
        attempt=row.attempt if own else 0,
        next_retry_at=row.next_retry_at if own else None,
        remedy=remedy_of(shown.reason),
        trading=trading_view(row, datetime.now(UTC), known=shown.health in {"healthy", "unhealthy"}),
        warnings=warnings_view(row, shown.health_reason),
    )


def _jsonb(value: Any) -> dict[str, Any] | None:
    """A jsonb column of a statement in plain SQL, which comes as text."""
    decoded: dict[str, Any] | None = msgspec.json.decode(value) if isinstance(value, str) else value
    return decoded


def limits_view(settings: Settings, plan_name: str, engine: str = "tradewise") -> LimitsView:
    """What one bot of ``engine`` may take by a plan."""
    plan = plan_of(settings.plans, plan_name)
    return LimitsView(plan.cpus, memory_of(plan, engine), plan.processes, plan.disk_bytes, plan.log_bytes)


def _latest(row: Row[Any], settings: Settings) -> LatestView | None:
    if row.latest_at is None:
        return None
    old = datetime.now(UTC) - row.latest_at > unread_after(settings, row.plan)
    return LatestView(
        observed_at=row.latest_at,
        currency=row.currency,
        simulated=row.latest_simulated,
        equity=row.equity,
        capital_base=row.capital_base,
        realized_profit=row.realized_profit,
        open_profit=row.open_profit,
        win_rate=row.win_rate,
        max_drawdown=row.max_drawdown,
        closed_trades=row.closed_trades,
        open_positions=row.open_positions,
        stale=old,
    )


async def get_bot(session: AsyncSession, settings: Settings, bot_id: UUID) -> BotView:
    """One bot of the bound tenant. Raises 404."""
    view, _ = await get_bot_and_whether_settled(session, settings, bot_id)
    return view


async def get_bot_and_whether_settled(session: AsyncSession, settings: Settings, bot_id: UUID) -> tuple[BotView, bool]:
    """One bot, and whether its status is an outcome rather than on its way to one. Raises 404."""
    row = (await session.execute(_ONE, {"id": bot_id, "resets_since": resets_since(datetime.now(UTC))})).one_or_none()
    if row is None:
        raise NotFoundError("bot")
    shown = _presented(row, settings)
    view = _view(row, shown, settings)
    return view, shown.settled and not is_pending(view.trading)


async def list_bots(
    session: AsyncSession,
    settings: Settings,
    *,
    before: UUID | None,
    limit: int,
    bot_type: str | None = None,
    status: str | None = None,
    q: str | None = None,
) -> list[BotView]:
    """Bots of the bound tenant, newest first.

    ``status`` is what is *shown*, which is derived; so pages are read until enough match.
    """
    found: list[BotView] = []
    wanted = {"bot_type": bot_type, "q": q or None, "limit": limit, "resets_since": resets_since(datetime.now(UTC))}
    while len(found) < limit:
        rows = (await session.execute(_MANY, {**wanted, "before": before})).all()
        views = [_view(row, _presented(row, settings), settings) for row in rows]
        found += [view for view in views if status is None or view.status == status]
        if len(rows) < limit:
            break
        before = views[-1].id
    return found[:limit]


async def bot_names(session: AsyncSession, limit: int) -> dict[UUID, str]:
    """The names of the newest bots of the bound tenant."""
    rows = await session.execute(_NAMES, {"limit": limit})
    return {row.id: row.name for row in rows}


async def list_events(session: AsyncSession, bot_id: UUID, *, before: UUID | None, limit: int) -> list[EventView]:
    """A bot's history, newest first."""
    rows = await session.execute(_EVENTS, {"bot": bot_id, "before": before, "limit": limit})
    return [EventView(*row) for row in rows]


async def last_lines(session: AsyncSession, bot_id: UUID) -> list[str]:
    """What the newest copy of a hosted bot that ended said last, as its launcher kept it: without secrets."""
    lines: list[str] | None = await session.scalar(_LAST_LINES, {"bot": bot_id})
    return lines or []
