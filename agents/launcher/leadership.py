"""Which launcher acts: the one whose connection holds the database's one lock for it.

A launcher that has died loses its connection. One that is frozen keeps it, and would keep everybody waiting: where it
has neither beaten nor asked anything for a while, whoever stands by ends that connection. It cannot act on
what it decided before: the rows fence every launch.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

import asyncpg

from agents.launcher import queries
from control_plane.database.away import DATABASE_AWAY

SILENT_AFTER_S: Final = 20.0
_DEPOSE: Final = """
    select pg_terminate_backend(l.pid)
    from pg_locks l join pg_stat_activity a on a.pid = l.pid
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
        and l.database = (select oid from pg_database where datname = current_database())
        and (l.classid::bigint << 32) + l.objid::bigint = $1
        and a.state_change < now() - make_interval(secs => $2)
        and not exists (
            select from agent_beats b where b.kind = 'launcher' and b.detail->>'role' = 'acting'
                and b.beat_at > now() - make_interval(secs => $2)
        )
"""


class Leadership:
    """Holds a connection of the pool, and with it the lock, from the first success until the connection ends."""

    def __init__(self, pool: asyncpg.Pool, silent_after_s: float = SILENT_AFTER_S) -> None:
        self._pool = pool
        self._silent_after_s = silent_after_s
        self._connection: Any = None

    async def hold(self) -> tuple[bool, bool]:
        """Whether this process leads, and whether it began to just now. Raises where the database is away."""
        if self._connection is not None:
            try:
                await self._connection.fetchval("select 1")
            except DATABASE_AWAY:
                await self.give_up()
            else:
                return True, False
        connection = await self._pool.acquire()
        try:
            led = await queries.lead(connection)
            if not led:
                await connection.execute(_DEPOSE, queries.LEADER_LOCK, self._silent_after_s)
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
            with contextlib.suppress(*DATABASE_AWAY):
                await self._pool.release(connection)
