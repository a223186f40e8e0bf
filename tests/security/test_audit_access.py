"""Who may do what with the audit log: nobody changes it, nobody writes it past its functions, each reads their own."""

from __future__ import annotations

import asyncpg
import pytest

from control_plane.database.roles import LOGIN_ROLES
from control_plane.security.vault import Vault
from tests.audit import bound
from tests.factories import Factory, Urls

LOG = ("audit_events", "audit_checkpoints", "audit_anchors")


async def test_no_role_may_change_what_was_told(urls: Urls, admin: asyncpg.Connection) -> None:
    """From the catalogue: every role of ours, every table of the log, every partition of it."""
    tables = await admin.fetch(
        "select c.relname::text as name from pg_class c where c.relnamespace = 'public'::regnamespace"
        " and c.relkind in ('r', 'p') and c.relname ~ '^audit_(events|checkpoints|anchors)'"
    )
    assert len(tables) >= 3 + 14
    held = await admin.fetch(
        "select r.rolname::text, c.relname::text, p.privilege from pg_roles r, pg_class c,"
        " unnest(array['UPDATE', 'DELETE', 'TRUNCATE']) as p (privilege)"
        " where r.rolname like 'tradewise%' and c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"
        " and c.relname ~ '^audit_(events|checkpoints|anchors)' and (has_table_privilege(r.oid, c.oid, p.privilege)"
        " or p.privilege = 'UPDATE' and has_any_column_privilege(r.oid, c.oid, 'UPDATE'))"
    )
    assert [tuple(row) for row in held] == []
    writers = await admin.fetch(
        "select distinct r.rolname::text from pg_roles r where r.rolname like 'tradewise%'"
        " and has_any_column_privilege(r.oid, 'audit_events', 'INSERT')"
    )
    assert {row[0] for row in writers} == {"tradewise_audit", "tradewise_owner"}


async def test_what_was_told_stays_even_for_the_superuser(
    admin: asyncpg.Connection, factory: Factory, urls: Urls, vault: Vault
) -> None:
    await factory.owner()
    partitions = await admin.fetch(
        "select inhrelid::regclass::text as name from pg_inherits"
        " where inhparent in ('audit_events'::regclass, 'audit_checkpoints'::regclass)"
    )
    for table in [*LOG, *(row["name"] for row in partitions)]:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only: truncate is refused"):
            await admin.execute(f"truncate {table}")
    month = await admin.fetchval("select 'audit_events_' || to_char(now() at time zone 'utc', 'YYYY_MM')")
    for table in ("audit_events", month):
        for command in (f"update {table} set outcome = 'denied'", f"delete from {table}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await admin.execute(command)


@pytest.mark.parametrize("kind", [kind for kind in LOGIN_ROLES if kind != "owner"])
async def test_nobody_writes_events_but_through_the_functions(urls: Urls, factory: Factory, kind: str) -> None:
    """Nobody that serves: the owner, for migrations alone, is a member of the role that links events."""
    owner = await factory.owner()
    connection = await asyncpg.connect(urls[kind])
    try:
        for statement in (
            "insert into audit_events select * from audit_events",
            "insert into audit_pending (xact, tenant_id, actor_kind, actor_id, action, outcome)"
            f" values (1, '{owner.tenant_id}', 'user', 'x', 'a.b', 'success')",
            f"insert into audit_chains values ('{owner.tenant_id}', 0, '', now())",
            "update audit_chains set seq = 0",
            f"select audit_tell('{owner.tenant_id}', 'a.b', null, null, null, null, 'user:x')",
            "select audit_link()",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_tenant_reads_its_own_events_alone(web: asyncpg.Connection, factory: Factory) -> None:
    ada, bob = await factory.owner("Ada"), await factory.owner("Bob")
    for owner in (ada, bob):
        async with bound(web, owner):
            rows = await web.fetch("select distinct tenant_id from audit_events")
            assert [row["tenant_id"] for row in rows] == [owner.tenant_id]
            [verdict] = await web.fetch("select * from audit_verify()")
            assert (verdict["events"], verdict["fault"]) == (2, None)
    assert await web.fetch("select * from audit_events") == []
    assert await web.fetch("select * from audit_verify()") == []
