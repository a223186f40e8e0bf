"""The dump holds everything and restores whole; reports cross tenants and tell nothing of anybody."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from control_plane.database import catalog
from control_plane.database.check import faults_of
from control_plane.database.migrate import migrate
from control_plane.database.visit import visiting
from tests.api import Api
from tests.conftest import _on, fresh_database
from tests.factories import Factory, Urls
from tests.security.test_secrets import _DUMP
from tests.world import Settled, Tenant

_RESTORE = _DUMP.with_name("pg_restore")
DENIED = asyncpg.InsufficientPrivilegeError
#: What every cluster-wide test of the role of backups leaves behind, whatever happens in it.
BYPASS, BOUND = "alter role tradewise_backup bypassrls", "alter role tradewise_backup nobypassrls"


@pytest.fixture
async def urls(admin_url: str, settled: Settled) -> AsyncIterator[Urls]:
    """A database that holds two full tenants from the start."""
    async with fresh_database(admin_url, settled.database) as made:
        yield made


@pytest.fixture
async def world(api: Api, settled: Settled) -> tuple[Tenant, Tenant]:
    return settled.of(api)


@pytest.fixture
async def reporting(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(urls["reporting"])
    yield connection
    await connection.close()


def dump(url: str, file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """As docs/operations.md says."""
    command: list[str | Path] = [_DUMP, "--format=custom", f"--file={file}", *options, f"--dbname={url}"]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def restore(url: str, file: Path) -> subprocess.CompletedProcess[str]:
    """As docs/operations.md says."""
    command: list[str | Path] = [_RESTORE, "--exit-on-error", f"--dbname={url}", file]
    return subprocess.run(command, check=False, capture_output=True, text=True)


async def counts(url: str) -> dict[str, int]:
    """The rows of every table and partition, as the administrator sees them."""
    connection = await asyncpg.connect(url)
    try:
        names = await connection.fetch(
            "select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname in ('public', 'reports') and c.relkind in ('r', 'p')"
        )
        return {row["name"]: await connection.fetchval(f"select count(*) from {row['name']}") for row in names}
    finally:
        await connection.close()


@pytest.fixture
async def scratch(admin_url: str, urls: Urls) -> AsyncIterator[str]:
    name = urls.admin.partition("?")[0].rsplit("/", 1)[1] + "_restored"
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(f'create database "{name}" template template0')
        yield _on(admin_url, name)
        await connection.execute(f'drop database "{name}" with (force)')
    finally:
        await connection.close()


async def test_a_dump_by_the_owner_fails_or_silently_omits(
    world: tuple[Tenant, Tenant], urls: Urls, tmp_path: Path
) -> None:
    refused = await asyncio.to_thread(dump, urls["owner"], tmp_path / "a")
    assert refused.returncode != 0
    assert "row-level security" in refused.stderr
    silent = await asyncio.to_thread(dump, urls["owner"], tmp_path / "b", "--enable-row-security", "--data-only")
    assert silent.returncode == 0, silent.stderr
    shown = subprocess.run([_RESTORE, "--file=-", tmp_path / "b"], check=True, capture_output=True, text=True).stdout
    assert str(world[0].external) not in shown


@pytest.mark.parametrize(("role", "options"), [(BYPASS, ()), (BOUND, ("--enable-row-security",))])
async def test_a_dump_by_the_role_for_it_restores_whole(
    world: tuple[Tenant, Tenant],
    urls: Urls,
    admin: asyncpg.Connection,
    scratch: str,
    tmp_path: Path,
    role: str,
    options: tuple[str, ...],
) -> None:
    scheduler = await asyncpg.connect(urls["agent_scheduler"])
    assert await scheduler.fetchval("select ensure_partitions(5)") == 6  # made after the policies were applied
    await scheduler.close()
    await admin.execute("insert into mails (id, kind, key_version, suite) values (gen_random_uuid(), 'x', 1, 1)")
    before = await counts(urls.admin)
    assert before["bots"] >= 8
    try:
        await admin.execute(role)
        done = await asyncio.to_thread(dump, urls["backup"], tmp_path / "dump", *options)
    finally:
        await admin.execute(BYPASS)
    assert done.returncode == 0, done.stderr
    restored = await asyncio.to_thread(restore, scratch, tmp_path / "dump")
    assert restored.returncode == 0, restored.stderr
    assert await counts(scratch) == before
    async with visiting(urls.admin) as here, visiting(scratch) as there:
        assert await catalog.snapshot(there) == await catalog.snapshot(here)
    # What belongs to the database itself is in no dump: `tradewise db migrate` puts it back.
    assert [fault for fault in await faults_of(scratch) if "on the database" not in fault] == [
        "to apply policies/ again, run `tradewise db migrate`"
    ]
    await migrate(scratch)
    assert await faults_of(scratch) == []
    assert await counts(scratch) == before


async def test_the_role_for_the_dump_reads_everything_and_writes_nothing(
    world: tuple[Tenant, Tenant], urls: Urls
) -> None:
    backup = await asyncpg.connect(urls["backup"])
    try:
        for table, rows in (await counts(urls.admin)).items():
            assert await backup.fetchval(f"select count(*) from {table}") == rows, table
            columns = await backup.fetch("select attname from pg_attribute where attrelid = $1::text::regclass"
                                         " and attnum > 0 and not attisdropped", table)  # fmt: skip
            for statement in (
                f"insert into {table} default values",
                f"update {table} set {columns[0]['attname']} = {columns[0]['attname']}",
                f"delete from {table}",
                f"truncate {table}",
                f"select from {table} for update",
                f"copy {table} from stdin",
            ):
                with pytest.raises(DENIED):
                    await backup.execute(statement)
        callable_ones = await backup.fetch(
            "select oid::regprocedure::text as name from pg_proc where pronamespace = 'public'::regnamespace"
            " and has_function_privilege(oid, 'execute')"
        )
        assert [row["name"] for row in callable_ones] == ["schema_state()"]
    finally:
        await backup.close()


async def test_a_new_table_is_in_the_dump_without_anybody_thinking_of_it(urls: Urls) -> None:
    owner, backup = await asyncpg.connect(urls["owner"]), await asyncpg.connect(urls["backup"])
    try:
        await owner.execute("create table later (id uuid primary key)")
        assert await backup.fetchval("select count(*) from later") == 0
        await migrate(urls.admin)
        policies = await owner.fetch("select polname from pg_policy where polrelid = 'later'::regclass")
        assert [row["polname"] for row in policies] == ["backup_select"]
    finally:
        await owner.close()
        await backup.close()


async def report(reporting: asyncpg.Connection, view: str) -> list[dict[str, Any]]:
    return [dict(row) for row in await reporting.fetch(f"select * from reports.{view}")]


async def views(reporting: asyncpg.Connection) -> list[str]:
    rows = await reporting.fetch("select relname::text from pg_class where relnamespace = 'reports'::regnamespace")
    return [row["relname"] for row in rows]


async def test_reports_cross_tenants_and_never_sum_across_currencies(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, reporting: asyncpg.Connection
) -> None:
    mine, other = world
    rows = {row["tenant_id"]: row for row in await report(reporting, "tenants")}
    for tenant in (mine, other):
        assert rows[tenant.id]["members"] == 1
        assert rows[tenant.id]["bots"] == await admin.fetchval(
            "select count(*) from bots where tenant_id = $1 and deleted_at is null", tenant.id
        )
        assert rows[tenant.id]["subscriptions_active"] == 2
    await admin.execute("update subscriptions set currency = 'EUR' where id = $1", mine.subscription)
    allocated: dict[str, Any] = {}
    for row in await report(reporting, "allocations"):
        allocated[row["currency"]] = allocated.get(row["currency"], 0) + row["allocated"]
    assert allocated == {"EUR": 1000, "USDT": 3000}
    assert sum(row["bots"] for row in await report(reporting, "bots")) == 8
    (day,) = await report(reporting, "sign_ups")
    assert (day["people"], day["tenants"]) == (2, 2)
    assert sum(row["published"] for row in await report(reporting, "templates")) == 4
    await admin.execute("insert into agent_beats (id, kind, version, state) values (gen_random_uuid(), 'x', '1', 'y')")
    assert [row["kind"] for row in await report(reporting, "agents")] == ["x"]


async def test_reports_tell_nothing_of_anybody(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, reporting: asyncpg.Connection
) -> None:
    named = await admin.fetch(
        "select email as word from users union select full_name from users union select name from tenants"
        " union select name from bots union select api_url from bots union select name from bot_templates"
        " union select host(ip) from sessions union select prefix from api_keys"
    )
    told = repr([await report(reporting, view) for view in await views(reporting)])
    assert [row["word"] for row in named if row["word"] and row["word"] in told] == []
    readable = await reporting.fetch(
        "select c.relname || '.' || a.attname as name from pg_attribute a join pg_class c on c.oid = a.attrelid where"
        " c.relnamespace = 'public'::regnamespace and a.attnum > 0 and has_column_privilege(c.oid, attnum, 'select')"
    )
    names = {row["name"] for row in readable}
    assert {"users.id", "bots.status"} <= names
    forbidden = ["email", "name", "hash", "sealed", "key", "secret", "digest", "url", "ip", "detail", "config"]
    assert [name for name in names if any(word in name.partition(".")[2] for word in forbidden)] == []


async def test_the_role_for_reports_writes_nothing(urls: Urls, reporting: asyncpg.Connection) -> None:
    for table in await counts(urls.admin):
        for statement in (f"delete from {table}", f"insert into {table} default values", f"truncate {table}"):
            with pytest.raises(DENIED):
                await reporting.execute(statement)
    for view in await views(reporting):
        with pytest.raises(asyncpg.PostgresError):
            await reporting.execute(f"delete from reports.{view}")


@pytest.mark.parametrize("kind", ["api", "agent_launcher", "agent_poller", "agent_scheduler", "agent_notifier"])
async def test_reports_are_for_one_role(urls: Urls, kind: str) -> None:
    connection = await asyncpg.connect(urls[kind])
    try:
        with pytest.raises(DENIED):
            await connection.fetch("select * from reports.tenants")
    finally:
        await connection.close()


async def test_a_view_shows_no_more_than_its_reader_may(
    urls: Urls, admin: asyncpg.Connection, factory: Factory
) -> None:
    """Views read as whoever asks: who is let in by mistake sees its own tenant's rows, which is none."""
    await factory.owner()
    await admin.execute(
        "grant usage on schema reports to tradewise_api; grant select on reports.tenants to tradewise_api"
    )
    connection = await asyncpg.connect(urls["api"])
    try:
        assert await connection.fetch("select * from reports.tenants") == []
    finally:
        await connection.close()
