"""Which launcher acts: the one whose connection holds the database's one lock for it."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import asyncpg

from agents.launcher import queries

_LOST: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class Leadership:
    """Holds a connection of the pool, and with it the lock, from the first success until the connection ends."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._connection: Any = None

    async def hold(self) -> tuple[bool, bool]:
        """Whether this process leads, and whether it began to just now. Raises where the database is away."""
        if self._connection is not None:
            try:
                await self._connection.fetchval("select 1")
            except _LOST:
                await self.give_up()
            else:
                return True, False
        connection = await self._pool.acquire()
        try:
            led = await queries.lead(connection)
        except BaseException:
            await self._pool.release(connection)
            raise
        if led:
            self._connection = connection
        else:
            await self._pool.release(connection)
        return led, led

    async def give_up(self) -> None:
        """Let another one lead. A connection that goes back to the pool gives up every lock it holds."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_LOST):
                await self._pool.release(connection)
