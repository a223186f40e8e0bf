"""What a judgement rests on, read from what the poller and the launcher wrote. No tenant's rows meet another's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from agents.engines.base import Reason
from agents.notifier.judgement import Incident, Tenant
from agents.notifier.judging import FLAP_WITHIN
from agents.notifier.verdict import Seen
from agents.poller.trouble import RECOVERING
from control_plane.alerts.kinds import Rule, rules_in_force

# One walk over the narrow health rows finds who is not known to be well; only for those is history looked at. A run of
# a state begins after the newest row that says otherwise: one that refuses us and one that is down are both unhealthy,
# and neither is the other. A single good look among bad ones begins no run and ends none.
_SEEN: Final = r"""
    select b.tenant_id, b.id as bot_id, b.name, b.bot_type <> 'external' as hosted, b.status,
        b.reason as status_reason, b.status_since, b.deleted_at is null and b.desired = 'running' as watched,
        substring(b.api_url from '^https?://(\[[^]]+\]|[^/:]+)') as host, h.state, h.reason, h.observed_at, h.failures,
        h.engine_lost_at,
        -- What was changed, or switched on again, since the last look is about to be looked at.
        case when h.observed_generation < b.generation then b.updated_at end as changed_at,
        -- Whoever asked for it need not be told that it has stopped.
        case when wish.wanted is null then h.trading_state end as trading_state,
        coalesce((
            select min(c.at) from bot_health_changes c
            where c.tenant_id = b.tenant_id and c.bot_id = b.id and c.reason is distinct from $4 and c.at > coalesce((
                select max(x.at) from bot_health_changes x
                where x.tenant_id = b.tenant_id and x.bot_id = b.id and x.reason is distinct from $4
                    and (x.state <> h.state or (x.reason is not distinct from $5) <> (h.reason is not distinct from $5))
            ), '-infinity')
        ), h.healthy_at, b.created_at) as state_since,
        (
            select min(c.at) from bot_health_changes c
            where c.tenant_id = b.tenant_id and c.bot_id = b.id and c.trading_state = any(w.same) and c.at > (
                select max(x.at) from bot_health_changes x
                where x.tenant_id = b.tenant_id and x.bot_id = b.id and x.trading_state = any(w.other)
            )
        ) as trading_since,
        case when b.id = any($6::uuid[]) then (
            select min(c.at) from bot_health_changes c
            where c.tenant_id = b.tenant_id and c.bot_id = b.id and c.at > (
                select max(x.at) from bot_health_changes x
                where x.tenant_id = b.tenant_id and x.bot_id = b.id and x.state = 'unknown'
            )
        ) end as watched_since,
        case when p.peak > 0 and p.latest is not null then greatest(0, 1 - p.latest / p.peak) end as drawdown
    from bots b
    join bot_health h on h.tenant_id = b.tenant_id and h.id = b.id
    join tenants t on t.id = b.tenant_id and t.status = 'active'
    left join bot_trading wish on wish.tenant_id = b.tenant_id and wish.bot_id = b.id and wish.problem is null
        and wish.wanted in ('stopped', 'paused') and h.trading_state in ('stopped', 'paused')
    left join alert_peaks p on p.tenant_id = b.tenant_id and p.bot_id = b.id
    cross join lateral (
        select case when s.stopped then s.off else s.running end as same,
            case when s.stopped then s.running else s.off end as other
        from (select coalesce(h.trading_state in ('stopped', 'paused'), false) as stopped,
            array['running'] as running, array['stopped', 'paused'] as off) s
    ) w
    where (b.deleted_at is null and b.desired = 'running' and (
            h.state in ('unhealthy', 'stale') or h.failures > 0 or h.credential_ok is false
            or h.trading_state in ('stopped', 'paused') or h.engine_lost_at is not null
            or h.observed_at < now() - make_interval(secs => $1)
            or (b.bot_type <> 'external' and b.status = 'error')
            or p.latest < p.peak * (1 - $2::numeric)
        )) or b.id = any($3::uuid[])
"""
_INCIDENTS: Final = """
    select i.id, i.tenant_id, i.kind, i.scope, i.cause, i.bot_ids, i.met_ids as met, i.opened_at, i.told_at,
        i.closed_at, i.reason, i.flaps, i.reminded_at
    from alert_incidents i join tenants t on t.id = i.tenant_id and t.status = 'active'
    where i.closed_at is null or i.closed_at > now() - $1::interval
    order by i.id desc
"""
_RULES: Final = """
    select tenant_id, id, kind, bot_id, enabled, delay_s, limit_percent, severity, channel_ids, tell_recovery
    from alert_rules where tenant_id = any($1::uuid[])
"""
_COUNTS: Final = r"""
    select tenant_id, substring(api_url from '^https?://(\[[^]]+\]|[^/:]+)') as host, count(*) as bots from bots
    where tenant_id = any($1::uuid[]) and deleted_at is null and desired = 'running' group by 1, 2
"""
_REMINDERS: Final = """
    select tenant_id, remind_after_s from alert_settings
    where tenant_id = any($1::uuid[]) and remind_after_s is not null
"""
#: No rule may have a lower limit: below it nobody's drawdown is even read.
LEAST_DRAWDOWN: Final = 0.009


async def read(connection: asyncpg.Connection, stale_after: timedelta) -> dict[UUID, Tenant]:
    """Every tenant that there may be something to say to."""
    incidents: dict[UUID, list[Incident]] = defaultdict(list)
    for row in await connection.fetch(_INCIDENTS, FLAP_WITHIN):
        inside = frozenset(row["bot_ids"])
        # A program before this one wrote no `met_ids`.
        values = dict(row) | {"bot_ids": inside, "met": inside.union(row["met"])}
        incidents[values.pop("tenant_id")].append(Incident(**values))
    open_now = [one for of in incidents.values() for one in of if one.closed_at is None]
    held = [bot for one in open_now for bot in one.met]
    unseen = [bot for one in open_now if one.kind == "not_watched" for bot in one.bot_ids]
    seen: dict[UUID, list[Seen]] = defaultdict(list)
    for row in await connection.fetch(
        _SEEN, stale_after.total_seconds(), LEAST_DRAWDOWN, held, RECOVERING, Reason.AUTH.value, unseen
    ):
        values = dict(row)
        seen[values.pop("tenant_id")].append(Seen(**values))
    tenants = list(seen.keys() | {tenant for tenant, of in incidents.items() if any(i.closed_at is None for i in of)})
    rules: dict[UUID, list[Rule]] = defaultdict(list)
    for row in await connection.fetch(_RULES, tenants):
        values = dict(row)
        channels = values["channel_ids"]
        values["channel_ids"] = tuple(channels) if channels is not None else None
        rules[values.pop("tenant_id")].append(Rule(**values))
    counts = await _counts(connection, tenants)
    reminders = {row["tenant_id"]: row["remind_after_s"] for row in await connection.fetch(_REMINDERS, tenants)}
    return {
        tenant: Tenant(
            rules=rules_in_force(tenant, tuple(rules[tenant])),
            seen=tuple(seen[tenant]),
            watched=sum(counts[tenant].values()),
            by_host=counts[tenant],
            incidents=tuple(incidents[tenant]),
            remind_after=timedelta(seconds=reminders[tenant]) if tenant in reminders else None,
        )
        for tenant in tenants
    }


async def _counts(connection: asyncpg.Connection, tenants: list[UUID]) -> Mapping[UUID, dict[str, int]]:
    found: dict[UUID, dict[str, int]] = defaultdict(dict)
    for row in await connection.fetch(_COUNTS, tenants):
        found[row["tenant_id"]][row["host"] or ""] = row["bots"]
    return found


async def present(connection: asyncpg.Connection) -> datetime:
    """The database's clock, which the rows are written by."""
    now: datetime = await connection.fetchval("select now()")
    return now
