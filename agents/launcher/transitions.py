"""Writes a bot's observed columns: the one place of the launcher where a status changes, always with its event."""

from __future__ import annotations

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from agents.launcher.lifecycle import Bot, Change, Intent, reduce

_CHANGE = """
    with changed as (
        update bots
        set status = $6, reason = $7, reason_detail = $8, attempt = $9, next_retry_at = $10, restarts = $11,
            observed_generation = generation, status_since = case when status = $6 then status_since else now() end
        where tenant_id = $1 and id = $2 and generation = $3 and status = $4 and restarts = $5
        returning id, status_since
    ), told as (
        insert into bot_events (id, tenant_id, bot_id, kind, from_status, to_status, reason, detail, cause, actor)
        select $12, $1, id, 'status', $4, $6, $7, $8, $13, $14 from changed where $15
    )
    select status_since from changed
"""
_WISHERS = {"user": "person", "key": "key"}


async def change(on: asyncpg.Pool | asyncpg.Connection, bot: Bot, new: Change) -> Bot | None:
    """Write ``new`` if the bot is still as it was read, with its event; returns it as it is then, None if it is not.

    Raises IllegalEdgeError, and writes nothing, where the lifecycle has no such edge.
    """
    after = reduce(bot, new, bot.status_since)
    # Attempts that are forgotten after a long steady run are no news.
    told = (bot.status, bot.reason) != (new.status, new.reason) or not set(new.restarts) <= set(bot.restarts)
    since = await on.fetchval(
        _CHANGE,
        bot.tenant_id,
        bot.id,
        bot.generation,
        bot.status,
        bot.restarts,
        new.status,
        new.reason,
        new.detail,
        new.attempt,
        new.next_retry_at,
        new.restarts,
        uuid7(),
        *cause_of(bot),
        told,
    )
    return None if since is None else msgspec.structs.replace(after, status_since=since)


def cause_of(bot: Bot) -> tuple[str, str]:
    """Who is behind the next edge of ``bot``, and their name: whoever wished it, the platform, or what we saw."""
    if bot.fresh and bot.wished_by is not None:
        return _WISHERS.get(bot.wished_by.partition(":")[0], "system"), bot.wished_by
    if bot.fresh or bot.intent is Intent.HALT:
        return "system", "platform"
    return "agent", "launcher"
