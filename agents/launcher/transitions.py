"""Writes a bot's observed columns: the one place of the launcher where a status changes, always with its event."""

from __future__ import annotations

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from agents.launcher.lifecycle import Bot, Change

_CHANGE = """
    with changed as (
        update bots
        set status = $5, reason = $6, reason_detail = $7, attempt = $8, next_retry_at = $9,
            observed_generation = generation, status_since = case when status = $5 then status_since else now() end
        where tenant_id = $1 and id = $2 and generation = $3 and status = $4
        returning id
    ), told as (
        insert into bot_events (id, tenant_id, bot_id, kind, from_status, to_status, reason, detail, cause, actor)
        select $10, $1, id, 'status', $4, $5, $6, $7, 'agent', 'launcher' from changed where $11
    )
    select count(*) from changed
"""


async def change(on: asyncpg.Pool | asyncpg.Connection, bot: Bot, new: Change) -> Bot | None:
    """Write ``new`` if the bot is still as it was read, with its event; returns it as it is then, None if it is not."""
    # An attempt that is forgotten after a long steady run is no news.
    told = (bot.status, bot.reason) != (new.status, new.reason) or new.attempt > bot.attempt
    changed = await on.fetchval(
        _CHANGE,
        bot.tenant_id,
        bot.id,
        bot.generation,
        bot.status,
        new.status,
        new.reason,
        new.detail,
        new.attempt,
        new.next_retry_at,
        uuid7(),
        told,
    )
    if not changed:
        return None
    return msgspec.structs.replace(
        bot, observed_generation=bot.generation, **{name: getattr(new, name) for name in Change.__struct_fields__}
    )
