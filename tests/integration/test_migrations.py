"""Migrations and policies on a real server: up, down, up again, and drift told by name."""

from __future__ import annotations

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from control_plane.app import create_app
from control_plane.database.check import DatabaseNotReadyError, database_faults, require_ready, role_faults
from control_plane.database.expected import head_revision
from control_plane.database.files import data_folder
from control_plane.database.metadata import metadata
from control_plane.database.migrate import downgrade, migrate
from control_plane.database.urls import sqlalchemy_url
from control_plane.settings import Settings
from tests.factories import Urls


async def faults(url: str) -> list[str]:
    engine = create_async_engine(sqlalchemy_url(url))
    try:
        async with engine.connect() as connection:
            return await database_faults(connection)
    finally:
        await engine.dispose()


async def test_a_migrated_database_is_ready(urls: Urls) -> None:
    assert await faults(urls["api"]) == []
    assert await faults(urls["agent_poller"]) == []


def test_migrations_are_one_line_in_the_order_of_their_files() -> None:
    """So the newest one is known by its file's name, without the tool that runs them."""
    folder = data_folder("migrations")
    line = [script.revision for script in ScriptDirectory(str(folder)).walk_revisions()]
    assert line == sorted((path.name[:4] for path in (folder / "versions").glob("*.py")), reverse=True)
    assert line[0] == head_revision()


async def test_migrating_twice_changes_nothing(urls: Urls) -> None:
    result = await migrate(urls.admin)
    assert (result.previous, result.revision) == (head_revision(), head_revision())
    assert await faults(urls["api"]) == []


async def test_down_to_nothing_and_up_again(urls: Urls, admin: asyncpg.Connection) -> None:
    await downgrade(urls.admin, revision="base")
    left = await admin.fetch(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
    )
    assert [row["relname"] for row in left] == ["alembic_version"]
    assert any("tradewise db migrate" in fault for fault in await faults(urls["api"]))
    await migrate(urls.admin)
    assert await faults(urls["api"]) == []


async def test_models_and_migrations_agree(urls: Urls) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, metadata)
        return [item for item in found if not _is_partition(item)]

    engine = create_async_engine(sqlalchemy_url(urls.admin))
    try:
        async with engine.connect() as connection:
            assert await connection.run_sync(differences) == []
    finally:
        await engine.dispose()


def _is_partition(item: object) -> bool:
    made = (
        "performance_snapshots_2",
        "performance_hourly_2",
        "performance_daily_2",
        "bot_health_changes_2",
        "bot_health_daily_2",
        "bot_stats_2",
        "audit_events_2",
        "audit_checkpoints_2",
        "schema_snapshot",
    )
    return any(name in str(item) for name in made)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("alter table bots disable row level security", "bots holds a tenant_id but row-level security is off"),
        ("alter table bots no force row level security", "row-level security is not forced"),
        ("drop policy api_select on bots", "in policies/, but not in the database: policy api_select on bots"),
        ("create policy extra on bots using (true)", "not in policies/, but in the database: policy extra on bots"),
        ("grant truncate on bots to tradewise_api", "TRUNCATE ignores row-level security"),
        ("grant select (sealed) on bot_secrets to tradewise_api", "grant SELECT (sealed) on bot_secrets"),
        ("create table stray (tenant_id uuid)", "stray holds a tenant_id but row-level security is off"),
        ("create view peek as select * from bots", "view peek reads with its owner's rights"),
    ],
)
async def test_drift_is_told_by_name(urls: Urls, admin: asyncpg.Connection, change: str, told: str) -> None:
    await admin.execute(change)
    found = await faults(urls["api"])
    assert any(told in fault for fault in found), found


async def test_a_database_behind_on_migrations_is_refused_with_the_command(urls: Urls) -> None:
    await downgrade(urls.admin, revision="base")
    engine = create_async_engine(sqlalchemy_url(urls["api"]))
    try:
        async with engine.connect() as connection:
            with pytest.raises(DatabaseNotReadyError, match="tradewise db migrate"):
                await require_ready(connection, serving=True)
    finally:
        await engine.dispose()


async def test_a_role_above_the_policies_must_not_serve(urls: Urls) -> None:
    for url, expected in ((urls.admin, 1), (urls["owner"], 1), (urls["api"], 0)):
        engine = create_async_engine(sqlalchemy_url(url))
        try:
            async with engine.connect() as connection:
                assert len(await role_faults(connection)) == expected
                await connection.execute(text("select 1"))
        finally:
            await engine.dispose()


async def test_an_application_does_not_start_on_a_database_that_was_changed(
    settings: Settings, admin: asyncpg.Connection
) -> None:
    await admin.execute("alter table bots disable row level security")
    with pytest.raises(ExceptionGroup) as refused:
        async with create_app(settings).lifespan():
            raise AssertionError("it serves")
    fault = "bots holds a tenant_id but row-level security is off"
    assert refused.group_contains(DatabaseNotReadyError, match=fault)
