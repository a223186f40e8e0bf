"""Which bots are due, claimed in batches under a short lease, so that any number of pollers share the work.

A claim leaves ``next_poll_at`` as it is: when a poller is killed, its bots are due again as soon as its lease ends. The
exact lease time is also the fence: only the claim that set it may record a result.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import asyncpg
import msgspec

from agents.poller.decide import Bot, Health

#: Longer than a check may take and be recorded; what a killed poller's bots wait at most.
LEASE_S = 30.0
#: Between two checks of one bot that somebody waits for.
_SHORTEST_GAP = "250 milliseconds"

# `watched`: every bot that is to be looked at; none of a suspended tenant. `timed`: when it is due and in which lane
# it queues: 0 somebody waits for it, 1 regular, 2 it timed out last time. One scan finds and ranks; then only the
# rows chosen are locked, looking again at what may have changed since: a row that another poller has claimed, or
# checked, in between is left alone.
_CLAIM = """
    with watched as (
        select h.id, h.observed_at, h.lease_until, h.next_poll_at, h.created_at, h.reason as seen_reason,
            i.id as instance_id,
            case
                when b.bot_type <> 'external' then i.generation > h.observed_generation or b.status = 'starting'
                    or b.ping_requested_at > coalesce(h.observed_at, '-infinity')
                when b.desired = 'running' then b.generation > h.observed_generation
                    or b.ping_requested_at > coalesce(h.observed_at, '-infinity')
                else true
            end as urgent
        from bot_health h
        join bots b on b.tenant_id = h.tenant_id and b.id = h.id
        join tenants t on t.id = b.tenant_id and t.status = 'active'
        left join bot_instances i on i.tenant_id = b.tenant_id and i.bot_id = b.id and b.bot_type <> 'external'
            and i.released_at is null and i.state = 'running' and i.host_port is not null
        where b.deleted_at is null and case
            when b.bot_type <> 'external' then i.id is not null
            else b.desired = 'running' or b.status <> 'inactive' or b.observed_generation < b.generation
        end
    ), timed as materialized (
        select id, instance_id, observed_at, urgent, coalesce(lease_until, '-infinity') as held_until,
            case when urgent then 0 when seen_reason = 'timeout' then 2 else 1 end as lane,
            case when urgent then least(next_poll_at, coalesce(observed_at + $1::text::interval, created_at))
                else next_poll_at end as due_at
        from watched
    ), ranked as (
        select *, row_number() over (order by lane, due_at, id) as place,
            row_number() over (partition by lane order by due_at, id) as lane_place
        from timed where due_at <= now() and held_until <= now()
    ), chosen as (
        select h.id, r.instance_id, r.urgent, r.lane, r.due_at
        from bot_health h join ranked r on r.id = h.id
        where case r.lane
                when 0 then r.place <= $2::int
                when 1 then r.place <= $3::int
                else r.place <= $3::int and r.lane_place <= $4::int
            end
            and coalesce(h.lease_until, '-infinity') <= now() and h.observed_at is not distinct from r.observed_at
        for update of h skip locked
    ), claimed as (
        update bot_health h set lease_until = now() + $5::text::interval
        from chosen c, bots b left join bot_instances i on i.tenant_id = b.tenant_id and i.bot_id = b.id
            and i.released_at is null and i.state = 'running' and i.host_port is not null
        where h.id = c.id and b.tenant_id = h.tenant_id and b.id = h.id and i.id is not distinct from c.instance_id
        returning now() as claimed_at, h.lease_until, c.lane, c.urgent, c.due_at,
            b.id as bot_id, b.tenant_id, b.bot_type, b.engine, b.desired, b.status, b.reason as bot_reason,
            b.generation as bot_generation, b.observed_generation as told_generation, b.api_url, b.engine_config::text,
            i.host_port,
            i.generation as instance_generation, coalesce(i.started_at, i.created_at) as up_since, i.ready_state,
            h.state, h.reason, h.detail, h.observed_at, h.healthy_at, h.failures, h.latency_ms, h.credential_ok,
            h.trading_state, h.loop_age_s, h.simulated, h.version, h.identity, h.observed_generation
    )
    select next.in_s, claimed.*
    from (
        select extract(epoch from min(greatest(due_at, held_until)) - now())::float8 as in_s
        from timed where id not in (select id from chosen)
    ) next left join claimed on true
"""
_RELEASE = """
    update bot_health h set lease_until = null
    from unnest($1::uuid[], $2::timestamptz[]) as held (id, lease_until)
    where h.id = held.id and h.lease_until = held.lease_until
"""


class Room(msgspec.Struct, frozen=True):
    """How many checks may begin. Bots that timed out last time queue in a lane of their own: a crowd of hanging bots
    then holds up nobody but itself."""

    urgent: int
    """In all, counting bots that somebody waits for."""
    regular: int
    """In all, without regard to who waits."""
    slow: int
    """Of these, bots that timed out last time."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One bot that is ours to check until the lease ends."""

    bot: Bot
    previous: Health
    lease_until: datetime
    due_at: datetime
    claimed_at: datetime
    """By the database's clock, as every time that is written."""
    claimed_mono: float
    """The same moment by this process's monotonic clock."""
    urgent: bool
    slow: bool

    @property
    def now(self) -> datetime:
        """The present moment by the database's clock."""
        return self.claimed_at + timedelta(seconds=time.monotonic() - self.claimed_mono)

    @property
    def lateness_s(self) -> float:
        """Seconds from when the bot was due until it was claimed."""
        return max(0.0, (self.claimed_at - self.due_at).total_seconds())


class Batch(msgspec.Struct, frozen=True):
    """What one look at the rows gave."""

    claims: list[Claim]
    next_in_s: float | None
    """Seconds until the next bot is due, not above zero where one is due already; None where there is none."""


async def claim(pool: asyncpg.Pool, room: Room) -> Batch:
    """Claim bots that are due, as many as there is room for."""
    mono = time.monotonic()
    rows = await pool.fetch(_CLAIM, _SHORTEST_GAP, room.urgent, room.regular, room.slow, f"{LEASE_S} seconds")
    return Batch([_claim_of(row, mono) for row in rows if row["bot_id"] is not None], rows[0]["in_s"])


async def release(pool: asyncpg.Pool, claims: list[Claim]) -> None:
    """Give claims back unchecked: the next poller need not wait for the leases to end."""
    await pool.execute(_RELEASE, [claim.bot.id for claim in claims], [claim.lease_until for claim in claims])


def _claim_of(row: asyncpg.Record, mono: float) -> Claim:
    hosted = row["bot_type"] != "external"
    bot = Bot(
        id=row["bot_id"],
        tenant_id=row["tenant_id"],
        hosted=hosted,
        engine=row["engine"],
        desired=row["desired"],
        status=row["status"],
        reason=row["bot_reason"],
        generation=row["instance_generation"] if hosted else row["bot_generation"],
        told_generation=row["told_generation"],
        api_url=row["api_url"],
        engine_config=row["engine_config"],
        host_port=row["host_port"],
        up_since=row["up_since"] if hosted else None,
        ready_state=row["ready_state"],
    )
    return Claim(
        bot=bot,
        previous=Health(**{name: row[name] for name in Health.__struct_fields__}),
        lease_until=row["lease_until"],
        due_at=row["due_at"],
        claimed_at=row["claimed_at"],
        claimed_mono=mono,
        urgent=row["urgent"],
        slow=row["lane"] == 2,
    )
