"""What is stored of bots, for many looks at once: whoever asks while a query is under way is in the next one.

A bot and its credential in one statement, because people change both while we read: an address and a credential that do
not belong together must never meet.

When a poller takes over a hundred thousand bots it needs the credentials of all of them within an interval: a query for
each would take longer than that.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Final, TypeAlias
from uuid import UUID

import asyncpg

#: Every bot that may be called, with the copy of it that runs and its sealed credential, where it has one.
_STORED: Final = """
    select b.id as bot_id, b.tenant_id, b.bot_type, b.engine, b.desired, b.status, b.reason as bot_reason,
        b.generation as bot_generation, b.observed_generation as told_generation, b.api_url,
        b.engine_config::text as engine_config, i.host_port, i.generation as instance_generation,
        coalesce(i.started_at, i.created_at) as up_since, i.ready_state,
        s.id, s.sealed as value, s.key_version, s.suite as sealed_suite,
        k.version, k.suite, k.public_key, k.wrapped_private_key, k.kek_id
    from unnest($1::uuid[], $2::uuid[]) as w (tenant_id, bot_id)
    join bots b on b.tenant_id = w.tenant_id and b.id = w.bot_id and b.deleted_at is null
    join tenants t on t.id = b.tenant_id and t.status = 'active'
    left join bot_instances i on i.tenant_id = b.tenant_id and i.bot_id = b.id and b.bot_type <> 'external'
        and i.released_at is null and i.state = 'running' and i.host_port is not null
    left join bot_secrets s on s.tenant_id = b.tenant_id and s.bot_id = b.id and s.kind = 'credentials'
    left join tenant_keys k on k.tenant_id = s.tenant_id and k.version = s.key_version
"""
_MOST: Final = 500

_Row: TypeAlias = asyncpg.Record | None


class SealedRows:
    """Reads bots and their credentials as they are stored. Belongs to one event loop."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._wanted: dict[tuple[UUID, UUID], asyncio.Future[_Row]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, tenant_id: UUID, bot_id: UUID) -> _Row:
        """The row of one bot, as it stands after this was asked; None where it may not be called: it was removed, or
        its tenant suspended. Raises for the database."""
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
                    tenants, bots = zip(*batch, strict=True)
                    rows = {row["bot_id"]: row for row in await self._pool.fetch(_STORED, tenants, bots)}
                except Exception as error:  # noqa: BLE001 - whatever it is, those who asked are told
                    for wanted in batch.values():
                        wanted.set_exception(error)
                        wanted.exception()  # nobody may be left to take it
                    continue
                for (_, bot_id), wanted in batch.items():
                    wanted.set_result(rows.get(bot_id))
        finally:
            self._reading = None
