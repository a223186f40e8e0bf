"""The statements by which results are written: each takes a whole batch as columns."""

from __future__ import annotations

from typing import Final

from agents.poller.columns import Columns, given

#: A process that stands still in the middle of a write (a suspended machine) must not keep its shards locked so long.
LOCK_BRIEFLY: Final = "set local lock_timeout = '2s'; set local idle_in_transaction_session_timeout = '5s'"
#: What is still ours. The rows stay locked until the batch is written: no shard changes hands in between.
HELD: Final = """
    select array_agg(shard) as shards, array_agg(epoch) as epochs
    from (select shard, epoch from poll_shards where holder = $1 for share) held
"""

_HEALTH: Final[Columns] = {
    "state": "text",
    "reason": "text",
    "detail": "text",
    "observed_at": "timestamptz",
    "healthy_at": "timestamptz",
    "failures": "int",
    "latency_ms": "float8",
    "credential_ok": "bool",
    "trading_state": "text",
    "loop_age_s": "float8",
    "simulated": "bool",
    "version": "text",
    "identity": "text",
    "observed_generation": "int",
}
SEEN_FIELDS: Final = ("observed_at", "healthy_at", "latency_ms", "loop_age_s")


def _update(columns: Columns) -> str:
    changed = ", ".join(f"{name} = n.{name}" for name in columns if name != "id")
    return f"update bot_health h set {changed} from {given(columns, 'n')} where h.id = n.id"


#: A health row of which more than the time of the last look changed. The triggers that tell others look at these.
CHANGED_COLUMNS: Final[Columns] = {"id": "uuid"} | _HEALTH
CHANGED: Final = _update(CHANGED_COLUMNS)
#: One of which nothing else changed. No trigger names these columns, so nobody is told.
SEEN_COLUMNS: Final[Columns] = {"id": "uuid"} | {name: _HEALTH[name] for name in SEEN_FIELDS}
SEEN: Final = _update(SEEN_COLUMNS)

#: A status and its event, if everything that it was judged by still stands and nobody holds the bot's row.
TELL: Final = """
    with given as (
        select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[],
            $8::text[], $9::uuid[], $10::bool[])
            as g (tenant_id, id, desired, generation, was, status, reason, detail, event_id, eventful)
    ), ready as (
        select b.id from bots b join given g on g.tenant_id = b.tenant_id and g.id = b.id
        where b.desired = g.desired and b.generation = g.generation and b.status = g.was
            and b.bot_type = 'external' and b.deleted_at is null
        for no key update of b skip locked
    ), told as (
        update bots b set status = g.status, reason = g.reason, reason_detail = g.detail,
            observed_generation = g.generation,
            status_since = case when b.status = g.status then b.status_since else now() end
        from given g join ready r on r.id = g.id
        where b.tenant_id = g.tenant_id and b.id = g.id
        returning b.tenant_id, b.id
    ), noted as (
        insert into bot_events (id, tenant_id, bot_id, kind, from_status, to_status, reason, detail, cause, actor)
        select g.event_id, g.tenant_id, g.id, 'status', g.was, g.status, g.reason, g.detail, 'agent', 'agent:poller'
        from told t join given g on g.tenant_id = t.tenant_id and g.id = t.id
        where g.eventful
    )
    select id from told
"""
#: A bot may have rested for longer than changes are kept: where its last sight has no partition any more, the gap
#: begins with the oldest one. Of the last four weeks there always is one, and nobody looks.
CHANGES: Final = """
    insert into bot_health_changes (tenant_id, bot_id, at, state, reason, trading_state)
    select c.tenant_id, c.bot_id, case when c.at > now() - interval '28 days' then c.at else greatest(c.at, (
            select min(to_date(right(p.relname, 7), 'YYYY_MM'))::timestamp at time zone 'utc'
            from pg_inherits i join pg_class p on p.oid = i.inhrelid
            where i.inhparent = 'bot_health_changes'::regclass
        )) end, c.state, c.reason, c.trading_state
    from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[])
        as c (tenant_id, bot_id, at, state, reason, trading_state)
    on conflict do nothing
"""
FIGURES: Final[Columns] = {
    "equity": "numeric",
    "capital_base": "numeric",
    "realized_profit": "numeric",
    "open_profit": "numeric",
    "win_rate": "numeric",
    "max_drawdown": "numeric",
    "closed_trades": "int",
    "open_positions": "int",
}
#: What a snapshot takes from its reading as it stands there.
READING_COLUMNS: Final[Columns] = {"latency_ms": "float8", "currency": "text", "simulated": "bool"} | FIGURES
SNAPSHOT_COLUMNS: Final[Columns] = {
    "tenant_id": "uuid",
    "bot_id": "uuid",
    "observed_at": "timestamptz",
    "unit_value": "numeric",
} | READING_COLUMNS
SNAPSHOTS: Final = f"""
    insert into performance_snapshots ({", ".join(SNAPSHOT_COLUMNS)})
    select * from {given(SNAPSHOT_COLUMNS, "n")}
    on conflict do nothing
"""
RESETS: Final = """
    insert into bot_events (id, tenant_id, bot_id, kind, detail, cause, actor)
    select id, tenant_id, bot_id, 'counter_reset', detail, 'agent', 'agent:poller'
    from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[]) as r (id, tenant_id, bot_id, detail)
"""
#: For those who wait for a look that changed nothing, and for figures that moved.
TELL_FOLLOWERS: Final = """
    select count(pg_notify('tradewise_observed',
        json_build_object('tenant', n.tenant_id, 'kind', 'bot', 'id', n.bot_id)::text))
    from unnest($1::uuid[], $2::uuid[]) as n (tenant_id, bot_id)
"""
