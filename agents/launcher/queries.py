"""All SQL of the launcher, as role ``tradewise_agent_launcher``. Each function is one transaction."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from agents.launcher.draining import Drain, left_unconfirmed
from agents.launcher.lifecycle import Bot, Instance, Unwell, intent_of
from agents.launcher.runtimes.base import Exit
from agents.launcher.transitions import change
from agents.launcher.verdicts import End
from control_plane.bots.kinds import HOSTED_TYPES

#: Held by the launcher that acts; any number that nothing else in this database uses.
LEADER_LOCK: Final = 0x7472_6164_6577_6973


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One bot that may need something, and the database's time when it was read."""

    bot: Bot
    instance: Instance | None
    engine: str
    image: str | None
    template_tenant_id: UUID | None
    template_version_id: UUID | None
    account_field: str | None = None
    """Where its configuration names the exchange account that it alone may trade; None where nobody says so."""
    plan: str
    """The plan of the bot's tenant, by name."""
    now: datetime


# A bot that is at rest is left out: a container that carries its label all the same is a stray one.
_WORK = """
    select b.id, b.tenant_id, b.engine, coalesce(v.image, b.image) as image, b.template_tenant_id,
        b.template_version_id, b.desired, b.deleted_at, b.generation, b.observed_generation, b.status, b.reason,
        b.reason_detail, b.status_since, b.restarts, b.next_retry_at, b.crash_policy, b.wished_by,
        case when h.observed_generation = b.generation then h.state end as health, h.observed_at as health_seen_at,
        h.reason as health_reason, h.failures as health_failures, h.healthy_at as well_at,
        i.id as instance_id, i.generation as instance_generation, i.state as instance_state, i.container_id,
        b.on_stop, coalesce(b.forced_generation = b.generation, false) as forced, b.orders_unconfirmed, b.orders_detail,
        i.host_port, i.drain_state, i.drain_positions, i.drain_started_at, i.drain_detail,
        coalesce(h.healthy_at >= i.started_at, false) as answered, v.account_field,
        i.started_at, now() as now, t.status as tenant_status, t.plan,
        coalesce(c.status = 'deleted', false) as withdrawn
    from bots b
    join tenants t on t.id = b.tenant_id
    left join bot_health h on h.tenant_id = b.tenant_id and h.id = b.id
    left join bot_instances i on i.tenant_id = b.tenant_id and i.bot_id = b.id and i.released_at is null
    left join template_versions v on v.tenant_id = b.template_tenant_id and v.id = b.template_version_id
    left join tenants c on c.id = b.template_tenant_id
    where b.bot_type = any($1) and ($2::uuid[] is null or b.id = any($2))
        and not (
            i.id is null and b.status = 'inactive' and (
                ((b.deleted_at is not null or t.status = 'deleted') and b.reason is not distinct from 'deleted')
                or (b.deleted_at is null and b.desired = 'stopped' and b.observed_generation = b.generation)
                or (b.deleted_at is null and b.desired = 'running' and t.status = 'suspended'
                    and b.reason is not distinct from 'tenant_suspended' and b.observed_generation = b.generation)
            )
        )
    order by b.id
"""
_ATTACH = """
    update bot_instances set container_id = $2, image_id = $3, lease_until = now() + interval '60 seconds'
    where id = $1 and state = 'creating' and container_id is null and released_at is null and lease_until > now()
    returning id
"""
_HOLD = """
    update bot_instances i set lease_until = now() + interval '60 seconds'
    from bots b
    where i.id = $1 and i.state = 'creating' and i.released_at is null and i.lease_until > now()
        and b.tenant_id = i.tenant_id and b.id = i.bot_id and b.generation = i.generation and b.desired = 'running'
        and b.deleted_at is null
    returning i.id
"""
_RUNNING = """
    with launched as (
        update bot_instances set state = 'running', started_at = now()
        where id = $1 and state = 'creating' and released_at is null
        returning tenant_id, bot_id, host_port
    ), opened as (
        update bots b set exposed_host_port = l.host_port
        from launched l where b.tenant_id = l.tenant_id and b.id = l.bot_id
    )
    select count(*) from launched
"""
_EXPECT = "update bot_instances set ready_state = $2 where id = $1 and state = 'creating' and released_at is null"
_EXITED = """
    update bot_instances
    set state = 'exited', exit_code = $2, oom_killed = $3, last_lines = $4::jsonb, finished_at = now(),
        attempt = $5, end_reason = $6, end_detail = $7
    where id = $1 and state in ('creating', 'running') and released_at is null
    returning id
"""
_OOM = """
    select exists (
        select from bot_instances
        where tenant_id = $1 and bot_id = $2 and generation = $3 and oom_killed and finished_at >= $4
    )
"""
# One without a container that is known may only be released while no launcher has said that it made one.
_RELEASE = """
    update bot_instances set state = 'removed', released_at = now(), finished_at = coalesce(finished_at, now()),
        end_reason = coalesce(end_reason, 'unfinished')
    where id = $1 and released_at is null and (container_id is null or state = 'exited')
    returning id
"""
_CLOSE_PORT = (
    "update bots set exposed_host_port = null where tenant_id = $1 and id = $2 and exposed_host_port is not null"
)
# What is known of orders that an earlier copy may have left stays until a later one has shown more.
_ORDERS = """
    update bots set exposed_host_port = null, orders_unconfirmed = coalesce($3, orders_unconfirmed),
        orders_detail = case when $3 is null then orders_detail else $4 end
    where tenant_id = $1 and id = $2
"""
_FORGET_SECRETS = "delete from bot_secrets where tenant_id = $1 and bot_id = $2"
_ENGINE_LOST = """
    update bot_health h set engine_lost_at = now() from bots b
    where b.tenant_id = h.tenant_id and b.id = h.id and h.engine_lost_at is null
        and b.bot_type = any($1) and b.deleted_at is null
        and (b.desired = 'running' or exists (
            select from bot_instances i where i.tenant_id = b.tenant_id and i.bot_id = b.id and i.released_at is null))
"""
_ENGINE_BACK = """
    with back as (update bot_health set engine_lost_at = null where engine_lost_at is not null) select now()
"""
_CASH_FLOWS = """
    select l.id, l.amount, l.created_at
    from subscriptions s join subscription_ledger l on l.tenant_id = s.tenant_id and l.subscription_id = s.id
    where s.bot_tenant_id = $1 and s.bot_id = $2 and s.hosting = 'dedicated' and l.amount <> 0
        and l.kind in ('deposit', 'withdrawal', 'redemption')
    order by l.id
"""


_EGRESS = """
    select e.tenant_id, e.mode, e.destinations, e.revision, e.applied_revision
    from tenant_egress e join tenants t on t.id = e.tenant_id
    where t.status <> 'deleted' order by e.tenant_id
"""
_EGRESS_APPLIED = """
    update tenant_egress e set applied_revision = a.revision, applied_at = now()
    from unnest($1::uuid[], $2::int[]) as a (tenant_id, revision)
    where e.tenant_id = a.tenant_id and e.applied_revision is distinct from a.revision
"""


async def lead(connection: asyncpg.Connection) -> bool:
    """Become the launcher that acts, until ``connection`` ends; False where another one is."""
    return bool(await connection.fetchval("select pg_try_advisory_lock($1)", LEADER_LOCK))


async def installation(pool: asyncpg.Pool) -> UUID:
    """The identity of this database, which every container of ours carries."""
    found: UUID = await pool.fetchval("select id from installation")
    return found


async def work(pool: asyncpg.Pool, only: Collection[UUID] | None = None) -> list[Work]:
    """Hosted bots that are not at rest; with ``only``, those of them."""
    rows = await pool.fetch(_WORK, list(HOSTED_TYPES), None if only is None else list(only))
    return [_work(row) for row in rows]


def _work(row: asyncpg.Record) -> Work:
    bot = Bot(
        intent=intent_of(row["desired"], row["tenant_status"], deleted=row["deleted_at"] is not None),
        halt_reason="tenant_suspended",
        withdrawn=row["withdrawn"],
        detail=row["reason_detail"],
        restarts=tuple(row["restarts"]),
        healthy_at=row["health_seen_at"] if row["health"] == "healthy" else None,
        unwell=_unwell(row) if row["health"] == "unhealthy" else None,
        **{name: row[name] for name in _BOT_COLUMNS},
    )
    instance = None
    if row["instance_id"] is not None:
        instance = Instance(
            id=row["instance_id"],
            generation=row["instance_generation"],
            state=row["instance_state"],
            container_id=row["container_id"],
            started_at=row["started_at"],
            host_port=row["host_port"],
            drain=Drain(
                state=row["drain_state"],
                positions=row["drain_positions"],
                started_at=row["drain_started_at"],
                answered=row["answered"],
                detail=row["drain_detail"],
            ),
        )
    return Work(bot=bot, instance=instance, **{name: row[name] for name in _WORK_COLUMNS})


def _unwell(row: asyncpg.Record) -> Unwell:
    return Unwell(
        reason=row["health_reason"],
        seen_at=row["health_seen_at"],
        failures=row["health_failures"],
        well_at=row["well_at"],
    )


_BOT_COLUMNS: Final = ("id", "tenant_id", "generation", "observed_generation", "status", "status_since", "reason",
                       "next_retry_at", "crash_policy", "wished_by", "on_stop", "forced",
                       "orders_unconfirmed", "orders_detail")  # fmt: skip
_WORK_COLUMNS: Final = ("engine", "image", "template_tenant_id", "template_version_id", "account_field", "plan", "now")


async def attach(pool: asyncpg.Pool, instance_id: UUID, container_id: str, image_id: str) -> bool:
    """Say which container was made for an instance; False where it was released or took too long: it must not start."""
    return await pool.fetchval(_ATTACH, instance_id, container_id, image_id) is not None


async def hold(pool: asyncpg.Pool, instance_id: UUID) -> bool:
    """Right before the start: whether the place is still this launch's, in time, and the bot still wanted as it was."""
    return await pool.fetchval(_HOLD, instance_id) is not None


async def expect(pool: asyncpg.Pool, instance_id: UUID, state: str) -> None:
    """Note the trading state that a copy is told to come up in, before it can be seen in any."""
    await pool.execute(_EXPECT, instance_id, state)


async def running(pool: asyncpg.Pool, instance_id: UUID) -> bool:
    """The copy is started and has got everything; from now on it is adopted by whoever finds it.

    False where its place was given away in the meantime: then it must end at once.
    """
    return bool(await pool.fetchval(_RUNNING, instance_id))


async def known(pool: asyncpg.Pool, bots: Collection[UUID]) -> set[UUID]:
    """Those of ``bots`` that this database has, whatever became of them."""
    return {row["id"] for row in await pool.fetch("select id from bots where id = any($1)", list(bots))}


async def exited(pool: asyncpg.Pool, bot: Bot, instance: Instance, found: Exit, end: End) -> None:
    """Keep how a copy ended, and what that means for its bot, together: a crash counts once, however often seen."""
    lines: Any = json.dumps(list(found.lines)) if found.lines else None
    capsule = (found.code, found.oom_killed, lines, bot.attempt, end.why, end.words)
    async with pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(_EXITED, instance.id, *capsule) is None:
            return
        orders = left_unconfirmed(instance.drain, ran=instance.state == "running", exit_code=found.code)
        await connection.execute(_ORDERS, bot.tenant_id, bot.id, *orders)
        if end.change is not None:
            await change(connection, bot, end.change)


async def ran_out_of_memory(pool: asyncpg.Pool, bot: Bot) -> bool:
    """Whether a copy of this generation has run out of memory since the first restart that still counts."""
    if not bot.restarts:
        return False
    return bool(await pool.fetchval(_OOM, bot.tenant_id, bot.id, bot.generation, bot.restarts[0]))


async def release(pool: asyncpg.Pool, bot: Bot, instance_id: UUID) -> None:
    """Give back a bot's place and its port."""
    async with pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(_RELEASE, instance_id) is not None:
            await connection.execute(_CLOSE_PORT, bot.tenant_id, bot.id)


async def forget_secrets(pool: asyncpg.Pool, bot: Bot) -> None:
    """Drop what was kept of a bot that was taken away only for as long as its copy had to be drained."""
    await pool.execute(_FORGET_SECRETS, bot.tenant_id, bot.id)


async def engine_lost(pool: asyncpg.Pool) -> None:
    """Note on each bot that should run, once, since when nothing is known of it."""
    await pool.execute(_ENGINE_LOST, list(HOSTED_TYPES))


async def engine_back(pool: asyncpg.Pool) -> datetime:
    """The engine answers again. Returns the database's time."""
    now: datetime = await pool.fetchval(_ENGINE_BACK)
    return now


async def template_of(pool: asyncpg.Pool, tenant_id: UUID, version_id: UUID) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a template says of its strategy and currency, and the public part of one version's configuration."""
    row = await pool.fetchrow(
        "select t.strategy_type, t.currency, v.parameters from template_versions v"
        " join bot_templates t on t.tenant_id = v.tenant_id and t.id = v.template_id"
        " where v.tenant_id = $1 and v.id = $2",
        tenant_id,
        version_id,
    )
    if row is None:
        return {}, {}
    said = {"currency": row["currency"], "strategy": {"type": row["strategy_type"]}}
    return said, dict(json.loads(row["parameters"]))


async def cash_flows(pool: asyncpg.Pool, tenant_id: UUID, bot_id: UUID) -> list[dict[str, str]]:
    """Deposits and withdrawals of the subscription that a dedicated bot belongs to, as the bot is told them."""
    rows = await pool.fetch(_CASH_FLOWS, tenant_id, bot_id)
    return [
        {"id": str(row["id"]), "amount": format(row["amount"], "f"), "at": row["created_at"].isoformat()}
        for row in rows
    ]


async def egress(pool: asyncpg.Pool) -> list[asyncpg.Record]:
    """What tenants that exist let their bots reach, where they have said so."""
    found: list[asyncpg.Record] = await pool.fetch(_EGRESS)
    return found


async def egress_applied(pool: asyncpg.Pool, revisions: dict[UUID, int]) -> None:
    """Say which of these the firewall has now."""
    await pool.execute(_EGRESS_APPLIED, list(revisions), list(revisions.values()))
