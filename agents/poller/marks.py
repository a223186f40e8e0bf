"""Where a bot's index goes on when a poller has just begun to watch it: read from its history, at a bounded cost a bot.

However much history there is and whatever it lacks, a start must not ask for more than a statement may take: it would
be asked again for ever, and nothing would be recorded meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from agents.poller.unit_value import Figures, Mark
from agents.poller.waiting import Snapshot, Waiting

_AT_ONCE: Final = 200
_COLUMNS: Final = (*Figures.__struct_fields__, "unit_value")
#: As `_COLUMNS`, of a day.
_OF_DAY: Final = {"equity": "equity_last", "unit_value": "unit_last"}


def _columns(choose: str) -> str:
    return ", ".join(choose.format(name=name, of_day=_OF_DAY.get(name, name)) for name in _COLUMNS)


#: The newest figures at which the index was known, and whether any reading was ever kept. Mostly the newest reading
#: has them. Else they are looked for in those that no rollup tells of yet, of a day at most where rollups are far
#: behind; then in days, which know the moment, so that the figures are those of its reading, or the day's own where
#: readings are kept no longer. That a bot never had an index, its newest day knows as well. Each step is one look into
#: an index, made where the ones before it found nothing.
MARKS: Final = f"""
    select w.bot_id, {_columns("coalesce(n.{name}, s.{name}, d.{name}) as {name}")},
        n.observed_at is not null or y.known is not null as told
    from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as w (tenant_id, bot_id, before)
    left join lateral (
        select q.observed_at, {_columns("case when q.unit_value is not null then q.{name} end as {name}")}
        from performance_snapshots q
        where q.tenant_id = w.tenant_id and q.bot_id = w.bot_id and q.observed_at < w.before
        order by q.observed_at desc limit 1
    ) n on true
    left join lateral (
        select {_columns("q.{name}")} from performance_snapshots q
        where n.unit_value is null and q.tenant_id = w.tenant_id and q.bot_id = w.bot_id
            and q.observed_at < n.observed_at and q.observed_at >= greatest(
                (select date_trunc('hour', rolled_until(), 'UTC')), n.observed_at - interval '1 day')
            and q.unit_value is not null
        order by q.observed_at desc limit 1
    ) s on true
    left join lateral (
        select true as known, q.peak_so_far is not null as indexed from performance_daily q
        where n.unit_value is null and s.unit_value is null
            and q.tenant_id = w.tenant_id and q.bot_id = w.bot_id and q.bucket < w.before
        order by q.bucket desc limit 1
    ) y on true
    left join lateral (
        select {_columns("case when x.unit_value is null then q.{of_day} else x.{name} end as {name}")}
        from performance_daily q
        left join performance_snapshots x
            on x.tenant_id = q.tenant_id and x.bot_id = q.bot_id and x.observed_at = q.unit_at
        where y.indexed and q.tenant_id = w.tenant_id and q.bot_id = w.bot_id and q.bucket < w.before
            and q.unit_last is not null
        order by q.bucket desc limit 1
    ) d on true
"""  # noqa: S608 - names of columns of our own


async def read_marks(pool: asyncpg.Pool, wanted: Sequence[tuple[Waiting, Snapshot]]) -> None:
    """Let bots know their marks of before a snapshot. What was read stays known, also where the rest cannot be."""
    at_once, done = _AT_ONCE, 0
    while done < len(wanted):
        part = wanted[done : done + at_once]
        bots = [one.result.bot for one, _ in part]
        try:
            rows = await pool.fetch(
                MARKS, [bot.tenant_id for bot in bots], [bot.id for bot in bots], [row.at for _, row in part]
            )
        except TimeoutError:
            if len(part) == 1:
                raise
            at_once = (len(part) + 1) // 2
            continue
        found = {row["bot_id"]: row for row in rows}
        for one, _ in part:
            watched, row = one.result.watched, found[one.result.bot.id]
            watched.mark = None if row["unit_value"] is None else _mark(row)
            watched.trades = None if watched.mark is None else watched.mark.figures.closed_trades
            watched.tells = watched.tells or bool(row["told"])
        done += len(part)


def _mark(row: asyncpg.Record) -> Mark:
    return Mark(
        figures=Figures(**{name: row[name] for name in Figures.__struct_fields__}), unit_value=row["unit_value"]
    )
