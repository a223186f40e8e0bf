"""Ports of the host, leased to copies in the database: each to one at a time, whoever asks and however often.

A port is given back with the place of the copy that had it (policies/ports.sql), so only after that copy's end was
seen. Then it rests, because a check under way may still carry the last bot's token to it; its own bot gets it back at
once, so that an address stays through restarts. A port that a stranger listens on is left alone for a while, and tried
again when there is no other: whoever has left it is found out that way.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg

from agents.launcher.lifecycle import Bot
from control_plane.settings import PortRange

REST_S: Final = 60.0
FOREIGN_FOR_S: Final = 600.0

_PREPARE: Final = """
    insert into port_leases (host, port) select $1, generate_series($2::int, $3::int) on conflict do nothing
"""
# Copies hold their ports whatever happened to the leases: an older program launched them, or a backup was put back.
_ADOPT: Final = """
    insert into port_leases as l (host, port, state, bot_id, instance_id, generation, claimed_at)
    select i.runtime, i.host_port, 'leased', i.bot_id, i.id, 1, i.created_at from bot_instances i
    where i.runtime = $1 and i.released_at is null and i.host_port is not null
    on conflict (host, proto, port) do update set state = 'leased', bot_id = excluded.bot_id,
        instance_id = excluded.instance_id, generation = l.generation + 1, claimed_at = excluded.claimed_at
        where l.state <> 'leased'
"""
_RECOVER: Final = """
    update port_leases l set state = 'free', instance_id = null, released_at = now()
    where l.host = $1 and l.state = 'leased' and not exists (
        select from bot_instances i where i.id = l.instance_id and i.released_at is null
    )
"""
# One statement takes one row: the bot's last port if it is free, else the next free one from a random place in the
# range on, else, where strangers have all that is left, the one that was tried longest ago. A row that another claim
# holds is skipped, so nobody waits and nobody gets what somebody else has.
_LEASE: Final = """
    update port_leases set state = 'leased', bot_id = $4, instance_id = $5, generation = generation + 1,
        claimed_at = now(), released_at = null, foreign_until = null
    where host = $1 and proto = 'tcp' and port = coalesce(
        (select port from port_leases
            where bot_id = $4 and host = $1 and proto = 'tcp' and state = 'free' and port between $2 and $3
            order by released_at desc nulls last limit 1 for update skip locked),
        (select port from port_leases
            where host = $1 and proto = 'tcp' and state <> 'leased' and port between $6 and $3
                and case state when 'free' then coalesce(released_at < now() - $8::interval, true)
                    else foreign_until < now() end
            order by port limit 1 for update skip locked),
        (select port from port_leases
            where host = $1 and proto = 'tcp' and state <> 'leased' and port between $2 and $6 - 1
                and case state when 'free' then coalesce(released_at < now() - $8::interval, true)
                    else foreign_until < now() end
            order by port limit 1 for update skip locked),
        (select port from port_leases
            where host = $1 and proto = 'tcp' and state = 'foreign' and port between $2 and $3
                and not port = any($7::int[])
            order by foreign_until, port limit 1 for update skip locked)
    )
    returning port
"""
# Before the place is given back, which would make the port free.
_FOREIGN: Final = """
    update port_leases set state = 'foreign', bot_id = null, instance_id = null, released_at = now(),
        foreign_until = now() + $2::interval
    where instance_id = $1 and state = 'leased'
"""


class Ports:
    """The range of one host, and how a copy gets a port of it."""

    def __init__(self, host: str, ports: PortRange) -> None:
        self._host = host
        self._range = ports
        self._ready = False
        self._preparing = asyncio.Lock()

    async def prepare(self, pool: asyncpg.Pool) -> None:
        """Once a process: a row for each port, a lease for each copy that is there, none for one that is not."""
        async with self._preparing:
            if not self._ready:
                async with pool.acquire() as connection, connection.transaction():
                    await connection.execute(_PREPARE, self._host, self._range.first, self._range.last)
                    await connection.execute(_ADOPT, self._host)
                    await connection.execute(_RECOVER, self._host)
                self._ready = True

    async def lease(
        self, connection: asyncpg.Connection, bot: Bot, instance_id: UUID, tried: Sequence[int] = ()
    ) -> int | None:
        """A port for a copy, in the caller's transaction; None where none is to be had. ``tried`` were a stranger's."""
        start = random.randint(self._range.first, self._range.last)  # noqa: S311 - spreading, not secrecy
        found: int | None = await connection.fetchval(
            _LEASE,
            self._host,
            self._range.first,
            self._range.last,
            bot.id,
            instance_id,
            start,
            list(tried),
            timedelta(seconds=REST_S),
        )
        return found


async def leave_to_stranger(connection: asyncpg.Connection, instance_id: UUID) -> None:
    """Note that a program that is not ours listens on the port of a copy that could not start for it."""
    await connection.execute(_FOREIGN, instance_id, timedelta(seconds=FOREIGN_FOR_S))
