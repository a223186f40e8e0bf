"""Is the database what this program expects? Asked by ``tradewise db check`` and by every process at start-up."""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.database import catalog
from control_plane.database.expected import head_revision, policies_digest
from control_plane.database.visit import DatabaseUnreachableError, visiting


class DatabaseNotReadyError(RuntimeError):
    """The database is not fit to serve; ``faults`` says why, one line each, with the remedy."""

    code = "database_not_ready"

    def __init__(self, faults: list[str]) -> None:
        super().__init__("the database is not ready:\n" + "\n".join(f"  - {fault}" for fault in faults))
        self.faults = faults


async def database_faults(connection: AsyncConnection) -> list[str]:
    """Everything that keeps this database from being served: schema version, policies, drift, broken invariants."""
    known = await connection.scalar(text("select to_regprocedure('public.schema_state()') is not null"))
    if not known:
        return ["the schema is missing: run `tradewise db migrate`"]
    try:
        state = (await connection.execute(text("select revision, policies_digest, catalog from schema_state()"))).one()
    except DBAPIError as error:
        role = await _role(connection)
        return [
            f"role {role} may not ask for the schema's state ({type(error.orig).__name__}): connect as a tradewise role"
        ]
    found: list[str] = []
    if state.revision != head_revision():
        return [
            f"the schema is at migration {state.revision or 'none'}, this program needs {head_revision()}: "
            "run `tradewise db migrate`"
        ]
    if state.policies_digest != policies_digest():
        return ["policies/ has changed since it was applied: run `tradewise db migrate`"]
    found += await catalog.faults(connection)
    live, applied = set(await catalog.snapshot(connection)), set(state.catalog)
    found += [f"not in policies/, but in the database: {line}" for line in sorted(live - applied)]
    found += [f"in policies/, but not in the database: {line}" for line in sorted(applied - live)]
    if found:
        found.append("to apply policies/ again, run `tradewise db migrate`")
    return found


async def role_faults(connection: AsyncConnection) -> list[str]:
    """Why the connected role must not serve requests; empty when it is bound by every policy."""
    row = (
        await connection.execute(
            text(
                "select current_user as name, rolsuper or rolbypassrls as above,"
                " pg_has_role(current_user, 'tradewise_owner', 'member') as owner"
                " from pg_roles where rolname = current_user"
            )
        )
    ).one()
    if row.above or row.owner:
        return [
            f"role {row.name} is not bound by row-level security: connect as tradewise_api (TRADEWISE_DATABASE_URL)"
        ]
    return []


async def _role(connection: AsyncConnection) -> str:
    await connection.rollback()
    return str(await connection.scalar(text("select current_user")))


async def require_ready(connection: AsyncConnection, *, serving: bool) -> None:
    """Raise :class:`DatabaseNotReadyError` unless the database may be used; ``serving`` also judges the role."""
    found = await database_faults(connection)
    if serving and not found:
        found = await role_faults(connection)
    if found:
        raise DatabaseNotReadyError(found)


async def faults_of(url: str) -> list[str]:
    """Everything wrong with the database at ``url``; empty when it may be served."""
    async with visiting(url) as connection:
        return await database_faults(connection)


async def wait_for_database(url: str, seconds: float) -> list[str]:
    """As :func:`faults_of`, trying again for ``seconds`` while the server, the login or the schema is not there yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = await faults_of(url)
        except (DatabaseUnreachableError, DBAPIError, OSError) as error:
            found = [str(error)]
        if not found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(1)
