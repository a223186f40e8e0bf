"""Somebody who runs statements of their own as the web tier's role, bound to their own tenant or to nobody.

The tables and their columns are read from the catalogue. Whatever is tried, the other tenant's rows are afterwards what
they were before, and nothing of them is told: not by a result, a count, an error or a statistic.
"""

from __future__ import annotations

import io
from typing import Any

import asyncpg
import pytest

from tests.api import Api
from tests.security.test_tenant_isolation import NOBODY, OTHERS, PLATFORM, PUBLIC, bound, columns, settings_of, tables
from tests.world import Settled, Tenant

MARK = "Planted-in-a-row-of-another"


@pytest.fixture
async def world(api: Api, admin: asyncpg.Connection, settled: Settled) -> tuple[Tenant, Tenant]:
    mine, other = settled.of(api)
    for table in ("bots", "bot_templates"):
        await admin.execute(f"update {table} set name = $1, description = $1 where tenant_id = $2", MARK, other.id)
    await admin.execute("analyze")
    return mine, other


async def ours(admin: asyncpg.Connection) -> list[str]:
    """Tables with rows of tenants, partitions left out: nobody but the owner may name them."""
    parts = {row[0] for row in await admin.fetch("select inhrelid::regclass::text from pg_inherits")}
    return sorted(set(await tables(admin)) - PLATFORM - parts)


def of_whom(table: str) -> str:
    """The rows of tenant $1 and person $2."""
    return OTHERS.get(table, "tenant_id = $1 and $2::uuid is not null")


async def fingerprint(admin: asyncpg.Connection, table: str, tenant: Tenant) -> str | None:
    found: str | None = await admin.fetchval(
        f"select md5(string_agg(t::text, '|' order by t::text)) from {table} t where {of_whom(table)}",
        tenant.id,
        tenant.person.user_id,
    )
    return found


async def key_of(admin: asyncpg.Connection, table: str) -> list[str]:
    rows = await admin.fetch(
        "select a.attname from pg_index x join pg_attribute a on a.attrelid = x.indrelid and a.attnum = any(x.indkey)"
        " where x.indrelid = $1::text::regclass and x.indisprimary",
        table,
    )
    return [row["attname"] for row in rows]


def statements(table: str, key: list[str], changeable: list[str], victim: asyncpg.Record) -> list[str]:
    """Every way to touch one row of somebody else, and every row at once."""
    here = " and ".join(f"t.{name} = '{victim[name]}'" for name in key)
    names, values = ", ".join(key), ", ".join(f"'{victim[name]}'" for name in key)
    tried = [
        f"delete from {table}",
        f"delete from {table} t where {here}",
        f"delete from {table} t using {table} other where {here}",
        f"insert into {table} ({names}) values ({values}) on conflict do nothing",
        f"merge into {table} t using (select 1) s on {here} when matched then delete",
        f"merge into {table} t using (select 1) s on {here} when not matched then insert ({names}) values ({values})",
        f"truncate {table}",
        f"lock table {table} in access exclusive mode",
    ]
    for column in changeable:
        tried += [
            f"update {table} set {column} = null",
            f"update {table} set {column} = {column}",
            f"update {table} t set {column} = null where {here}",
            f"update {table} t set {column} = null from {table} other where {here}",
            f"merge into {table} t using (select 1) s on {here} when matched then update set {column} = null",
            f"insert into {table} as t ({names}) values ({values})"
            f" on conflict ({names}) do update set {column} = null where {here}",
            f"with gone as (update {table} t set {column} = null where {here} returning 1) select count(*) from gone",
        ]
    return tried


@pytest.mark.parametrize("binding", [pytest.param(None, id="my-own-tenant"), *NOBODY])
async def test_no_command_touches_a_row_of_another(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection, binding: dict[str, str] | None
) -> None:
    mine, other = world
    tried = 0
    errors: list[str] = []
    for table in await ours(admin):
        key = await key_of(admin, table)
        victim = await admin.fetchrow(
            f"select * from {table} where {of_whom(table)} limit 1", other.id, other.person.user_id
        )
        assert victim is not None, table
        before = await fingerprint(admin, table, other)
        for statement in statements(table, key, await columns(admin, table, "UPDATE"), victim):
            # Committed where it is taken, so that a trigger and a deferred check have their say as well.
            transaction = web.transaction()
            await transaction.start()
            for name, value in (settings_of(mine) if binding is None else binding).items():
                await web.execute("select set_config($1, $2, true)", name, value)
            try:
                told = await web.execute(statement)
                await transaction.commit()
            except asyncpg.PostgresError as error:
                await transaction.rollback()
                errors.append(f"{error} {error.as_dict()}")
            else:
                if " t where " in statement or " t set " in statement or "merge" in statement:
                    assert told.endswith((" 0", "SELECT 1")), (statement, told)
            tried += 1
            if table == "bots" or "delete" in statement:
                assert await fingerprint(admin, table, other) == before, statement
        assert await fingerprint(admin, table, other) == before, table
    assert tried > 150
    assert not any(MARK in error for error in errors)


async def test_no_way_to_read_shows_a_row_of_another(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    mine, other = world
    for table in set(await ours(admin)) - PUBLIC:
        readable = await columns(admin, table, "SELECT")
        if not readable:
            continue
        shown = ", ".join(readable)
        async with bound(web, settings_of(mine)):
            seen: list[Any] = [str(tuple(row)) for row in await web.fetch(f"select {shown} from {table}")]
            out = io.BytesIO()
            await web.copy_from_query(f"select {shown} from {table}", output=out)
            seen.append(out.getvalue().decode())
            seen += [str(tuple(row)) async for row in web.cursor(f"select {shown} from {table}", prefetch=1)]
            await web.execute(f"declare held_{table} cursor for select {shown} from {table}")
            seen += [str(tuple(row)) for row in await web.fetch(f"fetch all from held_{table}")]
            seen.append(str(await web.fetchval(f"select json_agg(t) from (select {shown} from {table}) t")))
            seen += [
                str(tuple(row)) for row in await web.fetch(f"select {shown} from {table} tablesample system (100)")
            ]
        text = "\n".join(seen)
        for foreign in (str(other.external), str(other.hosted), str(other.draft), MARK, other.person.email):
            assert foreign not in text, (table, foreign)
        if table == "bots":
            assert text.count(str(mine.external)) >= 6


async def test_copying_in_is_refused(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    for table in await ours(admin):
        async with bound(web, settings_of(world[0])):
            with pytest.raises(asyncpg.PostgresError):
                await web.copy_to_table(table, source=io.BytesIO(b""))


@pytest.mark.parametrize("mode", ["auto", "force_generic_plan", "force_custom_plan"])
async def test_a_plan_made_for_one_tenant_serves_the_next_its_own_rows(
    world: tuple[Tenant, Tenant], web: asyncpg.Connection, mode: str
) -> None:
    mine, other = world
    await web.execute(f"set plan_cache_mode = {mode}")
    everything = await web.prepare("select tenant_id from bots")
    one = await web.prepare("select count(*) from bots where id = $1")
    for _ in range(4):  # past the fifth run, a plan is generic by itself
        for tenant, stranger in ((mine, other), (other, mine)):
            async with bound(web, settings_of(tenant)):
                assert {row["tenant_id"] for row in await everything.fetch()} == {tenant.id}
                assert await one.fetchval(tenant.external) == 1
                assert await one.fetchval(stranger.external) == 0
            async with bound(web, {}):
                assert await everything.fetch() == []


async def test_a_setting_ends_with_its_transaction_and_its_savepoint(
    world: tuple[Tenant, Tenant], web: asyncpg.Connection
) -> None:
    mine, other = world
    who = "select array_agg(distinct tenant_id) from bots"
    async with bound(web, settings_of(mine)):
        savepoint = web.transaction()
        await savepoint.start()
        await web.execute("select set_config('app.tenant_id', $1, true)", str(other.id))
        await savepoint.rollback()
        assert await web.fetchval(who) == [mine.id]
    assert await web.fetchval("select current_setting('app.tenant_id', true)") == ""
    assert await web.fetchval(who) is None
    async with web.transaction():
        for name, value in settings_of(mine).items():
            await web.execute("select set_config($1, $2, true)", name, value)
    assert await web.fetchval(who) is None
    await web.execute("select set_config('app.tenant_id', $1, true)", str(mine.id))  # a transaction of its own
    assert await web.fetchval(who) is None


async def test_row_security_cannot_be_turned_off(world: tuple[Tenant, Tenant], web: asyncpg.Connection) -> None:
    async with bound(web, {**settings_of(world[0]), "row_security": "off"}):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await web.fetch("select id from bots")


@pytest.mark.parametrize(
    "expression",
    [
        "name::int",
        "(name || 'x')::uuid",
        "cast(description as date)",
        "to_number(name, 'x')",
        "1 / (length(name) - 27)",
    ],
)
async def test_an_error_tells_nothing_of_a_row_of_another(
    world: tuple[Tenant, Tenant], web: asyncpg.Connection, expression: str
) -> None:
    mine, _ = world
    errors: list[str] = []
    async with bound(web, settings_of(mine)):
        await web.execute("update bots set name = '7', description = '2000-01-01'")
        for statement in (
            f"select count(*) from bots where {expression} is not null",
            f"select count(*) from (select name, description from bots where tenant_id is not null) b"
            f" where {expression} is not null",
            f"update bots set name = name where {expression} is not null",
        ):
            savepoint = web.transaction()
            await savepoint.start()
            try:
                await web.execute(statement)
            except asyncpg.PostgresError as error:
                errors.append(f"{error} {error.as_dict()}")
            await savepoint.rollback()
    assert not any(MARK in error for error in errors)


async def test_a_condition_of_ones_own_runs_after_the_policy(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    """A function that tells what it is given, as cheap as can be: the planner must not put it first."""
    await admin.execute("""
        create function spy(text) returns boolean language plpgsql cost 0.0000001 as
            $$ begin raise notice 'saw %', $1; return true; end $$;
        grant execute on function spy(text) to tradewise_api;
    """)
    heard: list[str] = []
    web.add_log_listener(lambda _, message: heard.append(str(message)))
    async with bound(web, settings_of(world[0])):
        await web.fetch("select id from bots where spy(name)")
        await web.fetch(
            "select t.id from bot_templates t join template_versions v on v.template_id = t.id and spy(t.name)"
        )
    assert heard
    assert not any(MARK in line for line in heard)


async def test_statistics_tell_nothing(world: tuple[Tenant, Tenant], web: asyncpg.Connection) -> None:
    shown = await web.fetch("select tablename, attname from pg_stats where schemaname in ('public', 'reports')")
    assert shown == []
    assert await web.fetch("select statistics_name from pg_stats_ext") == []
    for catalog in ("pg_statistic", "pg_statistic_ext_data", "pg_authid", "pg_user_mapping", "pg_largeobject"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await web.execute(f"select * from {catalog}")
    async with bound(web, settings_of(world[0])):
        plans = await web.fetch(f"explain (verbose) select id from bots where name = '{MARK}x'")
    assert not any(str(world[1].id) in row[0] for row in plans)


DOORS = [
    "select lo_import('/etc/passwd')",
    "select lo_export(1, 'x')",
    "select pg_read_file('PG_VERSION')",
    "select pg_ls_dir('.')",
    "copy (select 1) to program 'cat'",
    "copy (select 1) to 'x'",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename <> current_user and pid is not null",
    "select pg_reload_conf()",
    "alter system set log_statement = 'all'",
    "set session_replication_role = replica",
    "set log_min_duration_statement = 0",
    "load 'auto_explain'",
    "create extension dblink",
    "create server s foreign data wrapper postgres_fdw",
    "listen tradewise_desired; prepare transaction 'x'",
    "select * from pg_logical_slot_get_changes('x', null, null)",
    "select pg_create_logical_replication_slot('x', 'pgoutput')",
    "comment on table bots is 'x'",
    "create policy mine on bots using (true)",
    "create statistics s on id, tenant_id from bots",
    "create trigger t after insert on bots execute function pg_catalog.suppress_redundant_updates_trigger()",
    "do language plpython3u 'pass'",
    "create event trigger e on ddl_command_end execute function touch_updated_at()",
]


async def test_other_doors_are_shut(web: asyncpg.Connection) -> None:
    for statement in DOORS:
        with pytest.raises(asyncpg.PostgresError) as refused:
            await web.execute(statement)
        assert refused.value.sqlstate[:2] in {"42", "55", "0A", "25"}, (statement, refused.value)


async def test_there_is_no_counter_to_read(admin: asyncpg.Connection) -> None:
    """A sequence would tell every tenant how much all the others do."""
    readable = (
        "select oid::regclass from pg_class"
        " where case when relkind = 'S' then has_sequence_privilege('tradewise_api', oid, 'select, usage, update') end"
    )
    assert await admin.fetch(readable) == []
