"""Messages that are due, claimed under a lease, and what became of each. Shared by all ways of telling.

At least once: who dies between an answer and our note leaves a message that is sent again under the same id. Those of
one line go one after another; at most two of a channel are under way at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
from prometheus_client import Counter

from agents.notifier import posting

#: Longer than the longest that one message may take.
LEASE_S: Final = 60.0
A_CHANNEL: Final = 2
#: However many endpoints of one tenant hang, others' messages go out beside them.
A_TENANT: Final = 12

# The lock looks at the message anew: what another has claimed meanwhile is no longer due. What quiet hours hold keeps
# nothing waiting but what follows of its own incident: what is urgent passes it by.
_CLAIM: Final = """
    with candidates as (
        select m.id, row_number() over (partition by m.channel_id order by m.next_attempt_at, m.seq) as place,
            row_number() over (partition by m.tenant_id order by m.next_attempt_at, m.seq) as of_tenant
        from alert_messages m join alert_channels c on c.tenant_id = m.tenant_id and c.id = m.channel_id
        where m.state = 'pending' and m.next_attempt_at <= now() and c.kind = $1 and m.channel_id <> all ($3::uuid[])
            and m.tenant_id <> all ($3::uuid[])
            and not exists (
                select from alert_messages e
                where e.tenant_id = m.tenant_id and e.channel_id = m.channel_id and e.line = m.line and e.seq < m.seq
                    and (e.state = 'pending' or (e.state = 'held' and e.incident_id = m.incident_id))
            )
    ), due as (
        select m.id from alert_messages m join candidates c on c.id = m.id and c.place <= $4 and c.of_tenant <= $7
        where m.state = 'pending' and m.next_attempt_at <= now()
        order by m.next_attempt_at limit $2 for update of m skip locked
    ), claimed as (
        update alert_messages m set attempts = m.attempts + 1, next_attempt_at = now() + make_interval(secs => $5)
        from due where m.id = due.id returning m.*
    )
    select m.id, m.tenant_id, m.channel_id, m.type, m.body, m.attempts, c.name, c.user_id, c.failing_since,
        c.failing_since < now() - make_interval(secs => $6) as long_failing, e.url,
        m.type in ('channel.test', 'channel.code')
            or (c.enabled and c.disabled_at is null and c.verified_at is not null) as wanted
    from claimed m join alert_channels c on c.tenant_id = m.tenant_id and c.id = m.channel_id
    left join webhook_endpoints e on e.tenant_id = m.tenant_id and e.id = m.channel_id
"""
_NEXT: Final = """
    select extract(epoch from min(m.next_attempt_at) - now())::float8 from alert_messages m
    join alert_channels c on c.tenant_id = m.tenant_id and c.id = m.channel_id
    where m.state = 'pending' and c.kind = $1
"""
# The number of the try is the fence: whoever overran the lease must not undo what another has done meanwhile.
_SENT: Final = """
    update alert_messages set state = 'sent', settled_at = now(), error = null
    where id = $1 and attempts = $2 and state = 'pending'
"""
_FAILED: Final = """
    update alert_messages set state = 'failed', settled_at = now(), error = $3
    where id = $1 and attempts = $2 and state = 'pending'
"""
_AGAIN: Final = """
    update alert_messages set next_attempt_at = now() + make_interval(secs => $4), error = $3
    where id = $1 and attempts = $2 and state = 'pending'
"""
_WORKS: Final = """
    update alert_channels set failing_since = null where tenant_id = $1 and id = $2 and failing_since is not null
"""
_FAILS: Final = """
    update alert_channels set failing_since = now() where tenant_id = $1 and id = $2 and failing_since is null
"""
_DISABLE: Final = """
    update alert_channels set disabled_at = now(), disabled_reason = $3
    where tenant_id = $1 and id = $2 and disabled_at is null returning id
"""
_DROP: Final = """
    update alert_messages set state = 'failed', settled_at = now(), error = 'channel_off'
    where tenant_id = $1 and channel_id = $2 and state in ('pending', 'held')
"""
_MESSAGES: Final = Counter(
    "tradewise_notifier_messages_total", "Alert messages by channel and outcome.", ["kind", "outcome"]
)


async def claim(
    pool: asyncpg.Pool, kind: str, limit: int, *, busy: Sequence[UUID] = (), give_up_s: float = 0.0
) -> list[asyncpg.Record]:
    """Messages for channels of ``kind``, of no channel and no tenant that is ``busy``.

    ``give_up_s`` tells what counts as long failing.
    """
    rows: list[asyncpg.Record] = await pool.fetch(
        _CLAIM, kind, limit, list(busy), A_CHANNEL, LEASE_S, give_up_s, A_TENANT
    )
    return rows


async def next_in_s(pool: asyncpg.Pool, kind: str, most: float) -> float:
    """Seconds until a message may be due; ``most`` where none is waiting."""
    found: float | None = await pool.fetchval(_NEXT, kind)
    return most if found is None else min(most, max(0.05, found))


async def sent(pool: asyncpg.Pool, kind: str, row: asyncpg.Record) -> None:
    """Note that it went out, and that its channel works."""
    await pool.execute(_SENT, row["id"], row["attempts"])
    await pool.execute(_WORKS, row["tenant_id"], row["channel_id"])
    _MESSAGES.labels(kind, "sent").inc()


async def again(pool: asyncpg.Pool, kind: str, row: asyncpg.Record, error: str, delay_s: float | None) -> None:
    """Note that it did not, and when it is tried again; None gives it up."""
    if row["wanted"] and row["type"] not in {"channel.test", "channel.code"}:
        await pool.execute(_FAILS, row["tenant_id"], row["channel_id"])
    if delay_s is None:
        await pool.execute(_FAILED, row["id"], row["attempts"], error)
    else:
        await pool.execute(_AGAIN, row["id"], row["attempts"], error, delay_s)
    _MESSAGES.labels(kind, "failed" if delay_s is None else "again").inc()


async def unwanted(pool: asyncpg.Pool, kind: str, row: asyncpg.Record) -> None:
    """Note that its channel has been switched off since it was written."""
    await pool.execute(_FAILED, row["id"], row["attempts"], "channel_off")
    _MESSAGES.labels(kind, "failed").inc()


async def disable(pool: asyncpg.Pool, row: asyncpg.Record, reason: str, text: str) -> None:
    """Give a channel up: nothing goes there until somebody enables it, and the tenant's other channels are told."""
    values: tuple[Any, ...] = (row["tenant_id"], row["channel_id"])
    async with pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(_DISABLE, *values, reason) is None:
            return
        await connection.execute(_DROP, *values)
        now = await connection.fetchval("select now()")
        await posting.tell_disabled(connection, row["tenant_id"], row["channel_id"], row["name"], text, now)
