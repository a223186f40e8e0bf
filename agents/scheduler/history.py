"""Upkeep of history: dropping what is no longer kept, and what listings are sorted by."""

from __future__ import annotations

import asyncpg
import structlog

from control_plane.settings import Settings

_LOG = structlog.get_logger("scheduler")


async def retire_history(pool: asyncpg.Pool, settings: Settings) -> int:
    """Drop months and years of history that are no longer kept; how many partitions went.

    Single readings and changes of health go no sooner than they are in rollups. Each goes in a transaction of its own,
    because until its end nobody can write to what has gone. Where somebody holds a table, the next pass tries again.
    """
    dropped = 0
    while (outcome := await _retire_one(pool, settings)) > 0:
        dropped += outcome
    if outcome < 0:
        _LOG.info("history_retirement_put_off", cause="a writer or reader held a table")
    if dropped:
        _LOG.info("history_retired", partitions=dropped)
    return dropped


async def _retire_one(pool: asyncpg.Pool, settings: Settings) -> int:
    outcome: int = await pool.fetchval(
        "select retire_history($1, $2, $3)",
        settings.snapshot_retention_months,
        settings.hourly_retention_months,
        settings.daily_retention_years,
    )
    return outcome


async def refresh_scores(pool: asyncpg.Pool) -> int:
    """Note the present index of each listing's bot, which the marketplace sorts by; how many changed.

    Whoever comes second finds nothing changed, or waits for the first.
    """
    changed: int = await pool.fetchval("select refresh_listing_scores()")
    return changed
