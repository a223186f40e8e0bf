"""As the web tier's database role: whatever tenant is set, no table shows or takes a row of another one.

The tables are read from the catalogue, so a new one is tested without anybody thinking of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from tests.api import Api
from tests.conftest import fresh_database
from tests.factories import Urls
from tests.world import Settled, Tenant

#: Tables that no tenant owns; what a tenant sees of them is told in `OTHERS`.
PLATFORM = {
    "alembic_version",
    "schema_snapshot",
    "installation",
    "agent_beats",
    "platform_keys",
    "mails",
    "attempt_limits",
    "audit_keys",
    "audit_pending",
    "verification_codes",
    "sign_in_failures",
    "spent_proofs",
    "identity_providers",
    "sign_in_exchanges",
    "key_rotations",
    "key_rotation_failures",
    "port_leases",
    "poll_shards",
    "rollup_progress",
    "account_leases",
    "account_keys",
}
#: Whose a row is, where no column tenant_id says so: SQL that finds the rows of tenant $1 and person $2.
OTHERS = {
    "users": "id = $2 and $1::uuid is not null",
    "tenants": "id = $1 and $2::uuid is not null",
    "sessions": "user_id = $2 and $1::uuid is not null",
    "marketplace_listings": "creator_tenant_id = $1 and $2::uuid is not null",
    "totp_factors": "user_id = $2 and $1::uuid is not null",
    "recovery_codes": "user_id = $2 and $1::uuid is not null",
    "auth_identities": "user_id = $2 and $1::uuid is not null",
}
#: What is a person's own, whatever tenant they act in.
PERSONS = {"totp_factors", "recovery_codes", "auth_identities"}
OWNED = "tenant_id = $1 and $2::uuid is not null"
#: Shown to every tenant that is signed in, and written by its creator alone.
PUBLIC = {"marketplace_listings"}
#: Tables whose id is the id of a row elsewhere.
NAMED_AFTER_ANOTHER = {"marketplace_listings", "bot_health", "webhook_endpoints"}
#: Partitions of other years, months and days stand empty.
PARTITION = re.compile(r"_\d{4}(_\d{2}(_\d{2})?)?$")
DENIED = asyncpg.InsufficientPrivilegeError
UNKNOWN = {"app.tenant_id": str(uuid7()), "app.user_id": str(uuid7())}
NOBODY = [
    pytest.param({}, id="nothing-set"),
    pytest.param({"app.tenant_id": "", "app.user_id": ""}, id="empty"),
    pytest.param({"app.tenant_id": "garbage", "app.user_id": "' or 1=1 --"}, id="garbage"),
    pytest.param(UNKNOWN, id="unknown"),
]


@pytest.fixture
async def urls(admin_url: str, settled: Settled) -> AsyncIterator[Urls]:
    """A database that holds two full tenants from the start."""
    async with fresh_database(admin_url, settled.database) as made:
        yield made


@pytest.fixture
async def world(api: Api, settled: Settled) -> tuple[Tenant, Tenant]:
    return settled.of(api)


@pytest.fixture
async def web(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(urls["api"])
    yield connection
    await connection.close()


@asynccontextmanager
async def bound(connection: asyncpg.Connection, settings: dict[str, str]) -> AsyncIterator[None]:
    """A transaction with these settings that leaves nothing behind."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        for name, value in settings.items():
            await connection.execute("select set_config($1, $2, true)", name, value)
        yield
    finally:
        await transaction.rollback()


def settings_of(tenant: Tenant) -> dict[str, str]:
    user = tenant.person.user_id
    return {"app.tenant_id": str(tenant.id), "app.user_id": str(user), "app.actor": f"user:{user}"}


async def tables(admin: asyncpg.Connection) -> list[str]:
    """Every table, and every partition under its own name."""
    rows = await admin.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace"
        " and relkind in ('r', 'p', 'v', 'm', 'f')"
    )
    return sorted(row["relname"] for row in rows)


async def columns(admin: asyncpg.Connection, table: str, privilege: str) -> list[str]:
    """The columns of ``table`` on which the web tier holds ``privilege``."""
    rows = await admin.fetch(
        "select attname from pg_attribute where attrelid = $1::text::regclass and attnum > 0 and not attisdropped"
        " and has_column_privilege('tradewise_api', attrelid, attnum, $2) order by attnum",
        table,
        privilege,
    )
    return [row["attname"] for row in rows]


async def whose(admin: asyncpg.Connection, table: str) -> str:
    owned = await admin.fetchval(
        "select exists (select from pg_attribute where attrelid = $1::text::regclass and attname = 'tenant_id')", table
    )
    return OWNED if owned else OTHERS[table]


async def rows_of(admin: asyncpg.Connection, table: str, tenant: Tenant) -> int:
    found: int = await admin.fetchval(
        f"select count(*) from {table} where {await whose(admin, table)}", tenant.id, tenant.person.user_id
    )
    return found


async def try_count(connection: asyncpg.Connection, command: str, *values: Any) -> int:
    """How many rows a command reached; none where it is refused."""
    savepoint = connection.transaction()
    await savepoint.start()
    try:
        if command.startswith("select"):
            return int(await connection.fetchval(command, *values))
        return int((await connection.execute(command, *values)).rsplit(" ", 1)[1])
    except (DENIED, asyncpg.InvalidTextRepresentationError):
        return 0
    finally:
        await savepoint.rollback()


async def test_every_table_holds_rows_of_both_or_is_the_platforms(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection
) -> None:
    today = await admin.fetchval("select to_char(now() at time zone 'utc', 'YYYY_MM_DD')")
    for table in set(await tables(admin)) - PLATFORM:
        part = PARTITION.search(table)
        if part and not f"_{today}".startswith(part[0]):
            continue
        for tenant in world:
            assert await rows_of(admin, table, tenant) > 0, table


@pytest.mark.parametrize("binding", NOBODY)
async def test_nobody_reads_and_writes_nothing(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection, binding: dict[str, str]
) -> None:
    for table in await tables(admin):
        async with bound(web, binding):
            assert await try_count(web, f"select count(*) from {table}") == 0, table
            assert await try_count(web, f"delete from {table}") == 0, table
            for column in await columns(admin, table, "UPDATE"):
                assert await try_count(web, f"update {table} set {column} = {column}") == 0, (table, column)


async def test_a_tenant_reads_its_own_rows_and_no_others(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    for tenant in world:
        for table in set(await tables(admin)) - PLATFORM:
            async with bound(web, settings_of(tenant)):
                seen = await try_count(web, f"select count(*) from {table}")
            if table in PUBLIC:
                assert seen == await admin.fetchval(f"select count(*) from {table}")
            elif await columns(admin, table, "SELECT"):
                assert seen == await rows_of(admin, table, tenant), table
            else:
                assert seen == 0, table


async def test_a_tenant_changes_its_own_rows_and_no_others(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    mine, other = world
    for table in await tables(admin):
        own = 0 if table in PLATFORM else await rows_of(admin, table, mine)
        updatable = await columns(admin, table, "UPDATE")
        async with bound(web, settings_of(mine)):
            for column in updatable:
                assert await try_count(web, f"update {table} set {column} = {column}") == own, (table, column)
            assert await try_count(web, f"delete from {table}") in {0, own}, table
        assert not {"tenant_id", "creator_tenant_id", "bot_tenant_id", "id"} & set(updatable), table
        assert "TRUNCATE" not in {
            row["privilege_type"]
            for row in await admin.fetch(
                "select privilege_type from information_schema.role_table_grants"
                " where grantee in ('tradewise_api', 'PUBLIC') and table_name = $1",
                table,
            )
        }
    async with bound(web, settings_of(mine)):
        with pytest.raises(DENIED):
            await web.execute("update bots set tenant_id = $1", other.id)


async def test_no_table_takes_a_row_of_another_tenant(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    mine, other = world
    tried = set()
    for table in set(await tables(admin)) - PLATFORM:
        given = await columns(admin, table, "INSERT")
        if not given:
            continue
        row = await admin.fetchval(
            f"select to_jsonb(t) from {table} t where {await whose(admin, table)} order by created_at limit 1",
            other.id,
            other.person.user_id,
        )
        copy = {
            **json.loads(row),
            **({"id": str(uuid7())} if table not in NAMED_AFTER_ANOTHER else {}),
        }
        names = ", ".join(given)
        insert = f"insert into {table} ({names}) select {names} from jsonb_populate_record(null::{table}, $1::jsonb)"
        async with bound(web, settings_of(mine)):
            with pytest.raises(DENIED, match="row-level security"):
                await web.execute(insert, json.dumps(copy))
        # The same row is refused to its own tenant only because it is there already, never by a policy.
        async with bound(web, settings_of(other)):
            with suppress(asyncpg.UniqueViolationError):
                await web.execute(insert, json.dumps(copy))
        tried.add(table)
    assert {
        "bots",
        "bot_secrets",
        "bot_events",
        "api_keys",
        "subscriptions",
        "subscription_ledger",
        "sessions",
    } <= tried


async def test_a_person_bound_without_a_tenant_sees_only_themself(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    mine, _ = world
    async with bound(web, {"app.user_id": str(mine.person.user_id)}):
        assert [row["id"] for row in await web.fetch("select id from users")] == [mine.person.user_id]
        assert [row["id"] for row in await web.fetch("select id from tenants")] == [mine.id]
        for table in await tables(admin):
            if table not in {"users", "tenants", "memberships", "sessions", "agent_beats", *PERSONS}:
                assert await try_count(web, f"select count(*) from {table}") == 0, table


async def test_garbage_is_an_error_and_not_somebody(web: asyncpg.Connection, world: tuple[Tenant, Tenant]) -> None:
    async with bound(web, {"app.tenant_id": "garbage"}):
        with pytest.raises(asyncpg.InvalidTextRepresentationError):
            await web.fetch("select id from bots")
