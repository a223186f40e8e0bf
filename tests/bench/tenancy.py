"""What it costs that a transaction is bound to a tenant: the same one with and without, over the same engine."""

from __future__ import annotations

import asyncpg
from sqlalchemy import text
from uuid_utils.compat import uuid7

from control_plane.database.connection import Binding
from control_plane.database.sessions import Database
from tests.bench.harness import Row, compare
from tests.factories import Urls

_ROWS = 20
_TENANTS = 50
#: The same twenty rows by the same index; for the unbound half in a table without row-level security.
_BOUND = text("select id, name, status, created_at from bots where tenant_id = :tenant order by id desc limit 20")
_UNBOUND = text("select id, name, status, created_at from unbound where tenant_id = :tenant order by id desc limit 20")


async def measure(urls: Urls) -> list[Row]:
    """BEGIN, one indexed select of 20 rows, COMMIT: bound to a person in a tenant as a request is, and unbound."""
    tenants = [uuid7() for _ in range(_TENANTS)]
    admin = await asyncpg.connect(urls.admin)
    try:
        await admin.executemany("insert into tenants (id, name) values ($1, 'bench')", [(item,) for item in tenants])
        await admin.executemany(
            "insert into bots (id, tenant_id, bot_type, engine, name) values ($1, $2, 'platform', 'tradewise', 'b')",
            [(uuid7(), tenant) for tenant in tenants for _ in range(_ROWS)],
        )
        await admin.execute("create table unbound (like bots including all); insert into unbound select * from bots")
        await admin.execute("grant select on unbound to tradewise_api; analyze")
    finally:
        await admin.close()
    database = Database(urls["api"], pool_size=1)
    user = uuid7()
    tenant = tenants[0]

    async def bound() -> None:
        # A binding of its own for each transaction: every request has its own id, whether or not it is bound.
        request = uuid7()
        binding = Binding(
            tenant_id=tenant, user_id=user, actor=f"user:{user}", address="203.0.113.7", request_id=request
        )
        async with database.transaction(binding) as session:
            rows = (await session.execute(_BOUND, {"tenant": tenant})).all()
        if len(rows) != _ROWS:
            raise RuntimeError(f"the bound transaction saw {len(rows)} rows")

    async def unbound() -> None:
        uuid7()
        async with database.anonymous() as session:
            rows = (await session.execute(_UNBOUND, {"tenant": tenant})).all()
        if len(rows) != _ROWS:
            raise RuntimeError(f"the unbound transaction saw {len(rows)} rows")

    try:
        return await compare("Transaction bound to a tenant / unbound", bound, unbound, bound=1.10)
    finally:
        await database.close()
