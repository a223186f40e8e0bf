"""The statements of rollups. Each builds whole buckets from their rows, so that it may be run again at any time."""

from __future__ import annotations

from typing import Final

from control_plane.performance.latency import HIGHEST, STEPS

#: The row of progress, for whoever builds; no row where another process builds. Before the first pass it begins where
#: the partitions do.
HOLD: Final = """
    select case when isfinite(seen_until) then seen_until else coalesce((
            select min(to_date(right(c.relname, 7), 'YYYY_MM'))::timestamp at time zone 'utc'
            from pg_inherits h join pg_class c on c.oid = h.inhrelid
            where h.inhparent = 'performance_snapshots'::regclass
        ), now() - $1::interval) end as seen_until, now() - $1::interval as horizon
    from rollup_progress for update skip locked
"""
SEEN: Final = "update rollup_progress set seen_until = $1"
READY: Final = "update rollup_progress set ready_until = seen_until where ready_until <> seen_until"
TAKE: Final = """
    delete from rollup_pending p using (
        select tenant_id, bot_id, kind, bucket from rollup_pending order by tenant_id, bot_id, kind, bucket limit $1
    ) t
    where p.tenant_id = t.tenant_id and p.bot_id = t.bot_id and p.kind = t.kind and p.bucket = t.bucket
    returning p.tenant_id, p.bot_id, p.kind, p.bucket
"""
MARK_READINGS: Final = """
    insert into rollup_pending (tenant_id, bot_id, kind, bucket)
    select distinct tenant_id, bot_id, 'performance', date_trunc('hour', observed_at, 'UTC')
    from performance_snapshots where created_at > $1 and created_at <= $2
    on conflict do nothing
"""
MARK_HEALTH: Final = """
    insert into rollup_pending (tenant_id, bot_id, kind, bucket)
    select distinct tenant_id, bot_id, 'health', date_trunc('day', at, 'UTC')
    from bot_health_changes where created_at > $1 and created_at <= $2
    on conflict do nothing
"""

_WANTED: Final = "unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as w (tenant_id, bot_id, bucket)"
_FIGURES: Final = ("equity_last", "capital_base", "realized_profit", "open_profit", "closed_trades")
_COLUMNS: Final = (
    "readings",
    "first_at",
    "last_at",
    "currency",
    "simulated",
    "equity_first",
    "equity_min",
    "equity_max",
    *_FIGURES,
    "unit_first",
    "unit_last",
    "unit_min",
    "unit_max",
    "unit_at",
    "unit_drawdown",
    "simulated_at",
    "live_at",
    "latency_count",
    "latency_sum",
    "latency_max",
    "latency_bins",
    "latency_counts",
)


def _known(column: str, *, by: str, first: bool = False, money: bool = False) -> str:
    """The newest known value of a column (the oldest: ``first``); of amounts, those of the newest currency."""
    order = by if first else f"{by} desc"
    same = " and x.currency is not distinct from l.currency" if money else ""
    return f"(array_agg(x.{column} order by x.{order}) filter (where x.{column} is not null{same}))[1]"


def _upsert(table: str, select: str) -> str:
    given = ", ".join(_COLUMNS)
    changed = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)
    return f"""
        insert into {table} (tenant_id, bot_id, bucket, {given})
        select w.tenant_id, w.bot_id, w.bucket, {", ".join(f"r.{name}" for name in _COLUMNS)}
        from {_WANTED} {select}
        on conflict (tenant_id, bot_id, bucket) do update set {changed}
    """


def _lower(column: str, order: str) -> str:
    """The worst fall of ``x.low`` below what was the highest before, over rows that carry ``x.high_before``."""
    return f"max(greatest(x.{column}, 1 - x.{order} / nullif(x.high_before, 0), 0))"


_OF_BOT: Final = "s.tenant_id = w.tenant_id and s.bot_id = w.bot_id"

#: Hours, from readings.
HOURS: Final = _upsert(
    "performance_hourly",
    f"""
    left join lateral (
        select s.currency from performance_snapshots s
        where {_OF_BOT} and s.observed_at >= w.bucket and s.observed_at < w.bucket + interval '1 hour'
            and s.currency is not null
        order by s.observed_at desc limit 1
    ) l on true
    cross join lateral (
        select count(*) as readings, min(x.observed_at) as first_at, max(x.observed_at) as last_at, l.currency,
            {_known("simulated", by="observed_at")} as simulated,
            {_known("equity", by="observed_at", first=True, money=True)} as equity_first,
            min(x.equity) filter (where x.currency is not distinct from l.currency) as equity_min,
            max(x.equity) filter (where x.currency is not distinct from l.currency) as equity_max,
            {_known("equity", by="observed_at", money=True)} as equity_last,
            {_known("capital_base", by="observed_at", money=True)} as capital_base,
            {_known("realized_profit", by="observed_at", money=True)} as realized_profit,
            {_known("open_profit", by="observed_at", money=True)} as open_profit,
            {_known("closed_trades", by="observed_at")} as closed_trades,
            {_known("unit_value", by="observed_at", first=True)} as unit_first,
            {_known("unit_value", by="observed_at")} as unit_last,
            min(x.unit_value) as unit_min, max(x.unit_value) as unit_max,
            max(x.observed_at) filter (where x.unit_value is not null) as unit_at,
            max(1 - x.unit_value / nullif(x.high, 0)) filter (where x.unit_value is not null) as unit_drawdown,
            max(x.observed_at) filter (where x.simulated) as simulated_at,
            max(x.observed_at) filter (where not x.simulated) as live_at,
            count(x.latency_ms) as latency_count, coalesce(sum(x.latency_ms), 0) as latency_sum,
            max(x.latency_ms) as latency_max, max(b.bins) as latency_bins, max(b.counts) as latency_counts
        from (
            select s.*, max(s.unit_value) over (order by s.observed_at) as high
            from performance_snapshots s
            where {_OF_BOT} and s.observed_at >= w.bucket and s.observed_at < w.bucket + interval '1 hour'
        ) x cross join (
            select coalesce(array_agg(n.bin order by n.bin), '{{}}') as bins,
                coalesce(array_agg(n.count order by n.bin), '{{}}') as counts
            from (
                select greatest(0, least({HIGHEST},
                        ceil({STEPS} * ln(greatest(s.latency_ms, 0.001)) / ln(2))))::smallint as bin,
                    count(*)::integer as count
                from performance_snapshots s
                where {_OF_BOT} and s.observed_at >= w.bucket and s.observed_at < w.bucket + interval '1 hour'
                    and s.latency_ms is not null
                group by 1
            ) n
        ) b
    ) r
    where r.readings > 0
    """,
)

#: Days, from hours.
DAYS: Final = _upsert(
    "performance_daily",
    f"""
    left join lateral (
        select s.currency from performance_hourly s
        where {_OF_BOT} and s.bucket >= w.bucket and s.bucket < w.bucket + interval '24 hours'
            and s.currency is not null
        order by s.bucket desc limit 1
    ) l on true
    cross join lateral (
        select sum(x.readings)::integer as readings, min(x.first_at) as first_at, max(x.last_at) as last_at, l.currency,
            {_known("simulated", by="bucket")} as simulated,
            {_known("equity_first", by="bucket", first=True, money=True)} as equity_first,
            min(x.equity_min) filter (where x.currency is not distinct from l.currency) as equity_min,
            max(x.equity_max) filter (where x.currency is not distinct from l.currency) as equity_max,
            {_known("equity_last", by="bucket", money=True)} as equity_last,
            {_known("capital_base", by="bucket", money=True)} as capital_base,
            {_known("realized_profit", by="bucket", money=True)} as realized_profit,
            {_known("open_profit", by="bucket", money=True)} as open_profit,
            {_known("closed_trades", by="bucket")} as closed_trades,
            {_known("unit_first", by="bucket", first=True)} as unit_first,
            {_known("unit_last", by="bucket")} as unit_last,
            min(x.unit_min) as unit_min, max(x.unit_max) as unit_max, max(x.unit_at) as unit_at,
            {_lower("unit_drawdown", "unit_min")} filter (where x.unit_max is not null) as unit_drawdown,
            max(coalesce(x.simulated_at, case when x.simulated then x.last_at end)) as simulated_at,
            max(coalesce(x.live_at, case when not x.simulated then x.last_at end)) as live_at,
            sum(x.latency_count)::integer as latency_count, sum(x.latency_sum) as latency_sum,
            max(x.latency_max) as latency_max, max(b.bins) as latency_bins, max(b.counts) as latency_counts
        from (
            select s.*, max(s.unit_max) over (order by s.bucket rows between unbounded preceding and 1 preceding)
                as high_before
            from performance_hourly s
            where {_OF_BOT} and s.bucket >= w.bucket and s.bucket < w.bucket + interval '24 hours'
        ) x cross join (
            select coalesce(array_agg(n.bin order by n.bin), '{{}}') as bins,
                coalesce(array_agg(n.count order by n.bin), '{{}}') as counts
            from (
                select h.bin, sum(h.count)::integer as count
                from performance_hourly s cross join lateral unnest(s.latency_bins, s.latency_counts) as h (bin, count)
                where {_OF_BOT} and s.bucket >= w.bucket and s.bucket < w.bucket + interval '24 hours'
                group by 1
            ) n
        ) b
    ) r
    where r.readings > 0
    """,
)

#: High, worst drawdown and what was simulated of all days up to each, from the first day on that changed. Most often
#: that is today alone.
SO_FAR: Final = f"""
    update performance_daily d set peak_so_far = c.peak, drawdown_so_far = c.drawdown,
        simulated_at = c.simulated_at, live_at = c.live_at
    from (
        select x.tenant_id, x.bot_id, x.bucket, greatest(x.high_before, x.unit_max) as peak,
            greatest(x.drawdown_before, {_lower("unit_drawdown", "unit_min")} filter (where x.unit_max is not null)
                over (partition by x.tenant_id, x.bot_id order by x.bucket)) as drawdown,
            greatest(x.simulated_before, max(x.simulated_at) over (partition by x.tenant_id, x.bot_id
                order by x.bucket)) as simulated_at,
            greatest(x.live_before, max(x.live_at) over (partition by x.tenant_id, x.bot_id
                order by x.bucket)) as live_at
        from (
            select s.tenant_id, s.bot_id, s.bucket, s.unit_min, s.unit_max, s.unit_drawdown,
                s.simulated_at, s.live_at, b.simulated_at as simulated_before, b.live_at as live_before,
                b.drawdown_so_far as drawdown_before, greatest(b.peak_so_far, max(s.unit_max) over (
                    partition by s.tenant_id, s.bot_id order by s.bucket
                    rows between unbounded preceding and 1 preceding)) as high_before
            from {_WANTED}
            join performance_daily s on {_OF_BOT} and s.bucket >= w.bucket
            left join lateral (
                select e.peak_so_far, e.drawdown_so_far, e.simulated_at, e.live_at from performance_daily e
                where e.tenant_id = w.tenant_id and e.bot_id = w.bot_id and e.bucket < w.bucket
                order by e.bucket desc limit 1
            ) b on true
        ) x
    ) c
    where d.tenant_id = c.tenant_id and d.bot_id = c.bot_id and d.bucket = c.bucket
        and (d.peak_so_far, d.drawdown_so_far, d.simulated_at, d.live_at)
            is distinct from (c.peak, c.drawdown, c.simulated_at, c.live_at)
"""

NEXT_HEALTH_DAYS: Final = f"""
    select w.tenant_id, w.bot_id, n.bucket from {_WANTED}
    cross join lateral (
        select s.bucket from bot_health_daily s where {_OF_BOT} and s.bucket > w.bucket order by s.bucket limit 1
    ) n
"""

#: A day of health ($3) of one bot ($1, $2), from its changes and from what it was before.
HEALTH_DAY: Final = """
    with before as (
        select b.state, b.reason, b.trading_state from (
            (select c.at, c.state, c.reason, c.trading_state from bot_health_changes c
            where c.tenant_id = $1 and c.bot_id = $2 and c.at < $3 order by c.at desc limit 1)
            union all
            (select d.bucket, d.last_state, d.last_reason, d.last_trading_state from bot_health_daily d
            where d.tenant_id = $1 and d.bot_id = $2 and d.bucket < $3 order by d.bucket desc limit 1)
        ) b order by b.at desc limit 1
    ), seen as (
        select c.at, c.state, c.reason, c.trading_state from bot_health_changes c
        where c.tenant_id = $1 and c.bot_id = $2 and c.at >= $3 and c.at < $3::timestamptz + interval '24 hours'
    ), spans as (
        select x.*, extract(epoch from lead(x.at, 1, $3::timestamptz + interval '24 hours') over (order by x.at) - x.at)
            as seconds
        from (select $3::timestamptz as at, state, reason, trading_state from before where not exists (
                select from seen where at = $3)
            union all select * from seen) x
    )
    insert into bot_health_daily (tenant_id, bot_id, bucket, healthy_s, unhealthy_s, stale_s, changes, last_state,
        last_reason, last_trading_state)
    select $1, $2, $3, coalesce(sum(s.seconds) filter (where s.state = 'healthy'), 0),
        coalesce(sum(s.seconds) filter (where s.state = 'unhealthy'), 0),
        coalesce(sum(s.seconds) filter (where s.state = 'stale'), 0), (select count(*) from seen),
        (array_agg(s.state order by s.at desc))[1], (array_agg(s.reason order by s.at desc))[1],
        (array_agg(s.trading_state order by s.at desc))[1]
    from spans s having exists (select from seen)
    on conflict (tenant_id, bot_id, bucket) do update set healthy_s = excluded.healthy_s,
        unhealthy_s = excluded.unhealthy_s, stale_s = excluded.stale_s, changes = excluded.changes,
        last_state = excluded.last_state, last_reason = excluded.last_reason,
        last_trading_state = excluded.last_trading_state
"""
