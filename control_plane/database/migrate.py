"""Migrations and policies in one transaction: either both stand afterwards or neither does."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.database import catalog
from control_plane.database.expected import head_revision, policies_digest
from control_plane.database.files import POLICY_FILES, data_folder, policy_text
from control_plane.database.roles import OWNER
from control_plane.database.visit import visiting

# What policies/ made is taken away before tables change: a policy or a function would hold on to its columns. Should
# the run end below the newest migration, nothing is put back: without a policy, no row is shown to anyone.
_CLEAR = """
drop schema if exists reports cascade;
do $$
declare
    item record;
begin
    for item in
        select format('drop policy %I on %s', p.polname, c.oid::regclass) as command
        from pg_policy p join pg_class c on c.oid = p.polrelid where c.relnamespace = 'public'::regnamespace
            and not c.relispartition
        union all
        select format('drop function %s cascade', p.oid::regprocedure)
        from pg_proc p where p.pronamespace = 'public'::regnamespace
            and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
    loop
        execute item.command;
    end loop;
end
$$
"""
# While it runs, a migration may do what the roles may that own functions: it drops those, and grants their use. Both
# ways are part of its transaction, so nobody else ever meets the owner with more than policies/roles.sql says.
_INHERIT = """
do $$
begin
    if current_setting('server_version_num')::int < 160000 then
        alter role tradewise_owner {noinherit};
    else
        -- As text, because an older server reads the whole block before it runs any of it.
        execute 'grant tradewise_auth, tradewise_market, tradewise_audit to tradewise_owner
            with inherit {inherit}, set true';
    end if;
end
$$
"""
_LOCK_KEY = 7_270_119_002  # any constant: two migrations at once take turns


class MigrationResult(msgspec.Struct, frozen=True):
    """What a migration left behind."""

    revision: str | None
    previous: str | None


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(data_folder("migrations")))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


async def _revision(connection: AsyncConnection) -> str | None:
    exists = await connection.scalar(text("select to_regclass('public.alembic_version') is not null"))
    if not exists:
        return None
    revision: str | None = await connection.scalar(text("select version_num from alembic_version"))
    return revision


async def _run_script(connection: AsyncConnection, sql: str) -> None:
    # Several statements in one message: the driver's own simple-protocol execute, not a prepared statement.
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    if driver is None:
        raise RuntimeError("the connection is gone")
    await driver.execute(sql)


async def apply_policies(connection: AsyncConnection) -> None:
    """Run every policy file on ``connection`` (acting as the owner) and record what they left in the catalog."""
    for name in POLICY_FILES:
        await _run_script(connection, policy_text(name))
    lines = await catalog.snapshot(connection)
    await connection.execute(text("delete from schema_snapshot"))
    await connection.execute(
        text("insert into schema_snapshot (policies_digest, catalog) values (:digest, :catalog)"),
        {"digest": policies_digest(), "catalog": lines},
    )


async def migrate(url: str, *, revision: str = "head") -> MigrationResult:
    """Bring the database at ``url`` to ``revision`` and apply the policies. Needs a role that may create roles."""
    return await _change(url, lambda config: command.upgrade(config, revision))


async def downgrade(url: str, *, revision: str) -> MigrationResult:
    """Take the database back to ``revision`` (``base`` removes every table). Data of dropped tables is lost."""
    return await _change(url, lambda config: command.downgrade(config, revision))


async def _change(url: str, run: Callable[[Config], None]) -> MigrationResult:
    async with visiting(url) as connection, connection.begin():
        await connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        await _run_script(connection, policy_text("roles.sql"))
        await _run_script(connection, _INHERIT.format(noinherit="inherit", inherit="true"))
        await connection.execute(text(f"set local role {OWNER}"))
        await connection.execute(text("set local lock_timeout = '20s'"))
        previous = await _revision(connection)
        await _run_script(connection, _CLEAR)
        await connection.run_sync(lambda sync: run(_config(sync)))
        current = await _revision(connection)
        if current == head_revision():
            await apply_policies(connection)
        await connection.execute(text("set local role none"))
        await _run_script(connection, _INHERIT.format(noinherit="noinherit", inherit="false"))
        return MigrationResult(revision=current, previous=previous)
