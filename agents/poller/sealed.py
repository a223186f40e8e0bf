"""Stored credentials for many looks at once: whoever asks while a query is under way is in the next one.

When a poller takes over a hundred thousand bots it needs the credentials of all of them within an interval: a query for
each would take longer than that.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Final, TypeAlias
from uuid import UUID

import asyncpg

from agents.secrets import secret_rows

_MOST: Final = 500

_Row: TypeAlias = asyncpg.Record | None


class SealedRows:
    """Reads the credentials of bots as they are stored. Belongs to one event loop."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._wanted: dict[tuple[UUID, UUID], asyncio.Future[_Row]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, tenant_id: UUID, bot_id: UUID) -> _Row:
        """The row of one bot, as it stands after this was asked; None where there is none. Raises for the database."""
        wanted = self._wanted.get((tenant_id, bot_id))
        if wanted is None:
            wanted = self._wanted[tenant_id, bot_id] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        # Another look may wait for the same row: that one of them is over must not end it.
        return await asyncio.shield(wanted)

    def close(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        try:
            while self._wanted:
                # Taken out first: who asks from now on wants what stands from now on.
                batch = dict(islice(self._wanted.items(), _MOST))
                for key in batch:
                    del self._wanted[key]
                try:
                    rows = await secret_rows(self._pool, batch.keys(), "credentials")
                except Exception as error:  # noqa: BLE001 - whatever it is, those who asked are told
                    for wanted in batch.values():
                        wanted.set_exception(error)
                        wanted.exception()  # nobody may be left to take it
                    continue
                for (_, bot_id), wanted in batch.items():
                    wanted.set_result(rows.get(bot_id))
        finally:
            self._reading = None
