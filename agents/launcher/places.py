"""A bot's one place with what belongs to it, port and account, claimed and given up as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from agents.launcher import accounts, ports
from agents.launcher.lifecycle import Bot
from agents.launcher.ports import Ports

_LIVE_COPY: Final = "uq_bot_instances_live"
_PLACE: Final = """
    insert into bot_instances (id, tenant_id, bot_id, generation, runtime, image, host_port)
    values ($1, $2, $3, $4, $5, $6, $7)
"""
_ABANDON: Final = """
    update bot_instances set state = 'removed', released_at = now(), finished_at = now(), end_reason = 'unfinished'
    where id = $1 and state = 'creating' and released_at is null
"""


class Occupied(Exception):  # noqa: N818 - a state of the rows
    """The bot has a live copy already: whoever made it goes on with it."""


class NoPort(Exception):  # noqa: N818 - a state of the rows
    """Every port of the range is leased, rests, or is a stranger's."""


async def claim(
    pool: asyncpg.Pool,
    bot: Bot,
    instance_id: UUID,
    *,
    runtime: str,
    image: str,
    ports_of: Ports | None,
    tried: Sequence[int],
    account: bytes | None,
) -> int | None:
    """Take the place, a port and the account before anything is made, all or nothing; the port.

    Raises Occupied, NoPort, AccountInUse.
    """
    try:
        async with pool.acquire() as connection, connection.transaction():
            port = None
            if ports_of is not None:
                port = await ports_of.lease(connection, bot, instance_id, tried)
                if port is None:
                    raise NoPort
            await connection.execute(_PLACE, instance_id, bot.tenant_id, bot.id, bot.generation, runtime, image, port)
            # After the place: of two launchers that claim for one bot, the second learns that, and not of an account.
            if account is not None:
                await accounts.claim(connection, account, bot, instance_id)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == _LIVE_COPY:
            raise Occupied from None
        raise
    return port


async def abandon(pool: asyncpg.Pool, instance_id: UUID, *, foreign: bool) -> None:
    """Give back the place of a copy that never ran and whose container is certainly gone.

    ``foreign``: a stranger listens on its port.
    """
    async with pool.acquire() as connection, connection.transaction():
        if foreign:
            await ports.leave_to_stranger(connection, instance_id)
        await connection.execute(_ABANDON, instance_id)
