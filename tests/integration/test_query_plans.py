"""What every request or every subscription asks is answered from an index, row-level security notwithstanding."""

from __future__ import annotations

import asyncpg
import pytest
from uuid_utils.compat import uuid7

_PEOPLE = "insert into users (id, email, password_hash) select gen_random_uuid(), 'p' || n || '@x.y', 'h' from {}"
_SESSIONS = (
    "insert into sessions (id, user_id, token_hash, expires_at)"
    " select gen_random_uuid(), id, sha256(id::text::bytea), now() + interval '1 day' from users"
)
_PLANS = [
    ("tradewise_auth", "select id from users where lower(email) = lower('p7@x.y') and deleted_at is null"),
    ("tradewise_auth", "select id from sessions where token_hash = sha256('x')"),
    ("tradewise_auth", "select id from api_keys where prefix = 'abc'"),
    ("tradewise_api", "select id from bots order by id desc limit 50"),
    ("tradewise_api", "select id from bot_events order by id desc limit 1"),
    ("tradewise_api", f"select id from bot_events where bot_id = '{uuid7()}' order by id desc limit 50"),
    ("tradewise_api", f"select equity from performance_snapshots where bot_id = '{uuid7()}' limit 1"),
    ("tradewise_api", "select public_key from tenant_keys order by version desc limit 1"),
    (
        "tradewise_market",
        f"select id from subscriptions where creator_tenant_id = '{uuid7()}' and template_id = '{uuid7()}'",
    ),
]


@pytest.fixture
async def crowded(admin: asyncpg.Connection) -> asyncpg.Connection:
    """Many people, and tables that the planner may take for large."""
    await admin.execute(_PEOPLE.format("generate_series(1, 5000) as n"))
    await admin.execute(_SESSIONS)
    await admin.execute("analyze")
    return admin


@pytest.mark.parametrize(("role", "query"), _PLANS)
async def test_an_index_answers(crowded: asyncpg.Connection, role: str, query: str) -> None:
    async with crowded.transaction():
        await crowded.execute("set local enable_seqscan = off")  # the other tables are still empty here
        await crowded.execute(f"set local role {role}")
        await crowded.execute("select set_config('app.tenant_id', $1, true)", str(uuid7()))
        plan = "\n".join(row[0] for row in await crowded.fetch(f"explain {query}"))
    assert "Seq Scan" not in plan, plan
    assert "Index Cond" in plan, plan
