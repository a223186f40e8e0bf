"""What tests of the audit log share: telling events, reading chains, and tampering as nobody but a superuser could."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg

from agents.audit import sign_heads, verify
from control_plane.security.vault import Vault
from tests.factories import Factory, Owner, Urls

LAST = 12


@asynccontextmanager
async def bound(connection: asyncpg.Connection, owner: Owner, **more: str) -> AsyncIterator[None]:
    """A transaction of the web tier for ``owner``, committed at the end."""
    settings = {
        "tenant_id": str(owner.tenant_id),
        "user_id": str(owner.user_id),
        "actor": f"user:{owner.user_id}",
        **more,
    }
    async with connection.transaction():
        for name, value in settings.items():
            await connection.execute("select set_config($1, $2, true)", f"app.{name}", value)
        yield


async def tell(web: asyncpg.Connection, owner: Owner, count: int = 1, action: str = "test.told", **detail: Any) -> None:
    """``count`` events in as many transactions."""
    for number in range(count):
        async with bound(web, owner):
            await web.execute(
                "select audit_note($1, 'test', null, $2::jsonb)", action, json.dumps({"n": number, **detail})
            )


async def events(admin: asyncpg.Connection, tenant_id: UUID) -> list[dict[str, Any]]:
    """A chain in its order."""
    rows = await admin.fetch("select * from audit_events where tenant_id = $1 order by seq", tenant_id)
    return [{**row, "changes": json.loads(row["changes"]), "detail": json.loads(row["detail"])} for row in rows]


async def actions(admin: asyncpg.Connection, tenant_id: UUID) -> list[str]:
    """What a chain tells, in its order."""
    return [event["action"] for event in await events(admin, tenant_id)]


async def fault(admin: asyncpg.Connection, tenant_id: UUID) -> tuple[int, str] | None:
    """Where verification finds the first fault of a chain, and which; None where there is none."""
    row = await admin.fetchrow("select * from audit_verify_chain($1)", tenant_id)
    return None if row["fault"] is None else (row["fault_seq"], row["fault"])


@asynccontextmanager
async def tampering(admin: asyncpg.Connection) -> AsyncIterator[None]:
    """Past every trigger, as only a superuser gets."""
    async with admin.transaction():
        await admin.execute("set local session_replication_role = replica")
        yield


async def rehash(admin: asyncpg.Connection, tenant_id: UUID, first: int = 1) -> None:
    """Compute a chain anew from ``first`` on, head included: what somebody would do who knows the scheme."""
    last = await admin.fetchval("select max(seq) from audit_events where tenant_id = $1", tenant_id)
    for seq in range(first, last + 1):
        await admin.execute(
            "update audit_events e set prev_hash = b.hash from audit_events b"
            " where e.tenant_id = $1 and e.seq = $2 and b.tenant_id = $1 and b.seq = $2 - 1",
            tenant_id,
            seq,
        )
        await admin.execute(
            "update audit_events e set hash = audit_hash(e) where tenant_id = $1 and seq = $2", tenant_id, seq
        )
    await admin.execute(
        "update audit_chains c set seq = e.seq, hash = e.hash, at = e.at from audit_events e"
        " where c.tenant_id = $1 and e.tenant_id = $1 and e.seq = $2",
        tenant_id,
        last,
    )


async def sign(urls: Urls, vault: Vault) -> int:
    """What the scheduler does every few minutes; how many heads were signed."""
    pool = await asyncpg.create_pool(urls["agent_scheduler"], min_size=1, max_size=1)
    try:
        return len(await sign_heads(pool, vault.provider))
    finally:
        await pool.close()


async def long_chain(urls: Urls, factory: Factory) -> Owner:
    """A tenant whose chain ends with the event ``LAST``, none of them signed yet."""
    made = await factory.owner()
    web = await asyncpg.connect(urls["api"])
    await tell(web, made, LAST - 2)
    await web.close()
    return made


async def verdict(urls: Urls, vault: Vault, owner: Owner) -> tuple[list[str], Any]:
    """What the operator's command finds: faults of keys, and the first one of a chain."""
    connection = await asyncpg.connect(urls["agent_scheduler"])
    try:
        faults, [found] = await verify(connection, vault.provider, owner.tenant_id)
    finally:
        await connection.close()
    return faults, (found.fault_seq, found.fault) if found.fault else None
