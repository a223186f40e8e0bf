"""One connection for one look or one change, and in plain words why it could not be had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from control_plane.database.urls import session_settings, sqlalchemy_url, without_password


class DatabaseUnreachableError(RuntimeError):
    """The server does not answer, or does not let us in; the message names the connection without its password."""

    code = "database_unreachable"

    def __init__(self, url: str, cause: BaseException) -> None:
        words = str(cause).partition("\n")[0] or type(cause).__name__
        super().__init__(
            f"no connection to the database at {without_password(url)}: {words}."
            " Start the server, or correct the TRADEWISE_*DATABASE_URL that names it"
        )


@asynccontextmanager
async def visiting(url: str) -> AsyncIterator[AsyncConnection]:
    """A connection to ``url`` that is closed at the end of the block. Raises :class:`DatabaseUnreachableError`."""
    engine = create_async_engine(
        sqlalchemy_url(url), hide_parameters=True, connect_args={"server_settings": session_settings("tradewise")}
    )
    try:
        try:
            connection = await engine.connect()
        # Not DATABASE_AWAY (away.py), which is for connections that were had. Of one that is being made, asyncpg's
        # InternalClientError is a fault of the client and no word about the server; and SQLAlchemy's own comes here.
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, DBAPIError) as error:
            raise DatabaseUnreachableError(url, error) from error
        try:
            yield connection
        finally:
            await connection.close()
    finally:
        await engine.dispose()
