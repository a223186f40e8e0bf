"""Months that are no longer kept go, and what is left can still be verified."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from agents.audit import retire
from control_plane.database.migrate import migrate
from control_plane.security.vault import Vault
from tests.audit import LAST, fault, long_chain, rehash, sign, tampering, verdict
from tests.factories import Factory, Owner, Urls


@pytest.fixture
async def owner(urls: Urls, factory: Factory) -> Owner:
    return await long_chain(urls, factory)


@pytest.fixture
async def scheduler(urls: Urls) -> AsyncIterator[asyncpg.Pool]:
    pool = await asyncpg.create_pool(urls["agent_scheduler"], min_size=1, max_size=2)
    yield pool
    await pool.close()


async def back_in_time(admin: asyncpg.Connection, owner: Owner, months: dict[int, int]) -> None:
    """Let the first events of a chain have happened months ago: up to ``seq``, so many months."""
    async with tampering(admin):
        await admin.execute("alter table audit_events no force row level security")
        for seq, ago in months.items():
            name = await admin.fetchval(
                "select to_char((now() at time zone 'utc') - make_interval(months => $1), 'YYYY_MM')", ago
            )
            for parent in ("audit_events", "audit_checkpoints"):
                start = f"date_trunc('month', now(), 'UTC') - interval '{ago} months'"
                bounds = await admin.fetchrow(f"select {start} as a, {start} + interval '1 month' as b")
                await admin.execute(
                    f"create table if not exists {parent}_{name} partition of {parent}"
                    f" for values from ('{bounds['a']}') to ('{bounds['b']}');"
                    f" alter table {parent}_{name} owner to tradewise_owner"
                )
            await admin.execute(
                f"update audit_events set at = date_trunc('month', now(), 'UTC') - interval '{ago} months'"
                " + make_interval(hours => 1, secs => seq) where tenant_id = $1 and seq <= $2 and"
                " at >= date_trunc('month', now(), 'UTC')",
                owner.tenant_id,
                seq,
            )
        await admin.execute("alter table audit_events force row level security")
        await rehash(admin, owner.tenant_id)


async def test_months_that_go_leave_a_chain_that_still_verifies(
    urls: Urls, admin: asyncpg.Connection, owner: Owner, factory: Factory, scheduler: asyncpg.Pool, vault: Vault
) -> None:
    idle = await factory.owner("Idle")
    await back_in_time(admin, owner, {4: 5, 8: 3})
    await back_in_time(admin, idle, {2: 5})
    await sign(urls, vault)
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="no anchor"):
        await scheduler.execute("select audit_retire(4)")
    signed, dropped = await retire(scheduler, vault.provider, 4)
    assert {(item.kind, item.tenant_id, item.seq) for item in signed} == {
        ("anchor", owner.tenant_id, 4),
        ("anchor", idle.tenant_id, 2),
    }
    assert dropped == 2  # a month of events, a month of checkpoints
    assert await retire(scheduler, vault.provider, 4) == ([], 0)
    for tenant, kept in ((owner, LAST - 4), (idle, 0)):
        row = await admin.fetchrow("select * from audit_verify_chain($1)", tenant.tenant_id)
        assert (row["events"], row["fault"]) == (kept, None)
        assert await verdict(urls, vault, tenant) == ([], None)
    platform = await admin.fetchval("select id from installation")
    told = await admin.fetchrow(
        "select action, detail from audit_events where tenant_id = $1 order by seq desc", platform
    )
    assert told["action"] == "audit.retired"
    assert len(json.loads(told["detail"])["partitions"]) == 2
    # What is left cannot lose its beginning unnoticed, nor can an anchor be made up.
    async with tampering(admin):
        await admin.execute("delete from audit_events where tenant_id = $1 and seq = 5", owner.tenant_id)
    assert await fault(admin, owner.tenant_id) == (5, "missing")
    async with tampering(admin):
        await admin.execute(
            "insert into audit_anchors select tenant_id, seq - 1, prev_hash, now(), 1, decode(repeat('00', 64), 'hex')"
            " from audit_events where tenant_id = $1 and seq = 6",
            owner.tenant_id,
        )
    assert await verdict(urls, vault, owner) == ([], (5, "signature_invalid"))


async def test_retirement_waits_for_nobody(
    urls: Urls, admin: asyncpg.Connection, owner: Owner, scheduler: asyncpg.Pool, vault: Vault
) -> None:
    await back_in_time(admin, owner, {4: 5})
    reader = await asyncpg.connect(urls["api"])
    async with reader.transaction():
        await reader.fetch("select from audit_events")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await retire(scheduler, vault.provider, 4)
    await reader.close()
    # Anchors were signed meanwhile; the chain is whole with and without what they allow to go.
    assert await fault(admin, owner.tenant_id) is None
    assert (await retire(scheduler, vault.provider, 4))[1] == 2
    assert await fault(admin, owner.tenant_id) is None


async def test_a_tenant_from_before_the_log_gets_a_chain_and_a_lost_one_is_not_hidden(
    urls: Urls, admin: asyncpg.Connection
) -> None:
    async with tampering(admin):
        await admin.execute("insert into tenants (id, name) values ($1, 'old')", old := uuid7())
    assert await fault(admin, old) == (1, "missing")
    await migrate(urls.admin)
    await migrate(urls.admin)
    rows = await admin.fetch("select seq, action from audit_events where tenant_id = $1", old)
    assert [tuple(row) for row in rows] == [(1, "audit.begun")]
    assert await fault(admin, old) is None
