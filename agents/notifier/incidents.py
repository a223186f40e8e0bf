"""The judging job: reads what the poller wrote, opens and closes incidents, and puts their messages in line.

One notifier judges at a time, in one short transaction: whoever dies in it has said nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import UUID

import asyncpg
import msgspec
import structlog
from prometheus_client import Counter, Histogram
from uuid_utils.compat import uuid7

from agents.notifier import posting, sights
from agents.notifier.judgement import Action, Change, Open, Remind, Resolve, Tenant
from agents.notifier.judging import judge
from agents.notifier.verdict import Seen
from control_plane.alerts.kinds import OPENED, REMINDER, REOPENED, RESOLVED
from control_plane.alerts.words import MOST_NAMES, Told, back_title, over_text, text_of, title_of
from control_plane.bots.kinds import stale_after_s
from control_plane.settings import Settings

_log = structlog.get_logger("notifier")

_JUDGE_EVERY_S: Final = 5.0
_PEAKS_EVERY_S: Final = 15.0
_KEEP_EVERY_S: Final = 3600.0
#: Any constant: whoever holds it judges.
_TURN: Final = 7_270_119_020
_PEAKS_AT_ONCE: Final = 2000

_TAKE_TURN: Final = "select pg_try_advisory_xact_lock($1)"
_OPEN: Final = """
    insert into alert_incidents (id, tenant_id, kind, scope, cause, bot_id, bot_ids, met_ids, bots_met, severity,
        reason, bot_names, channel_ids, tell_recovery, since, opened_at, told_at, detail)
    values ($1, $2, $3, $4, $5, $6, $7, $7, cardinality($7::uuid[]), $8, $9, $10, $11, $12, $13, $14, $14, $15)
    on conflict (tenant_id, kind, cause) where closed_at is null do nothing returning *
"""
_AGAIN: Final = """
    update alert_incidents set closed_at = null, resolution = null, flaps = flaps + 1, bot_ids = $3, met_ids = $3,
        bots_met = cardinality($3::uuid[]), bots_over = null, bot_names = $4, reason = $5, since = $6, told_at = $7,
        reminded_at = $7, detail = $8
    where tenant_id = $1 and id = $2 and closed_at is not null returning *
"""
_CHANGE: Final = """
    update alert_incidents set bot_ids = $3, met_ids = met_ids || $4::uuid[], bots_met = bots_met + cardinality($4),
        bot_names = (bot_names || $5::text[])[:$6], reason = $7
    where tenant_id = $1 and id = $2 returning *
"""
_RESOLVE: Final = """
    update alert_incidents set closed_at = $3, resolution = $4, bots_over = $5, bot_ids = '{}',
        bot_names = case when cardinality($6::text[]) > 0 or bots_met > $5 then $6 else bot_names end
    where tenant_id = $1 and id = $2 and closed_at is null returning *
"""
_REMIND: Final = """
    update alert_incidents set reminded_at = $3, detail = coalesce($4, detail)
    where tenant_id = $1 and id = $2 returning *
"""
# The longest unseen first, a few at a time: what a look costs does not grow with the number of bots. The first look at
# a bot reads its whole history once, every later one what is new.
_PEAKS: Final = """
    with due as (
        select b.tenant_id, b.id as bot_id, p.latest_at from bots b
        left join alert_peaks p on p.tenant_id = b.tenant_id and p.bot_id = b.id
        where b.deleted_at is null and b.desired = 'running'
        order by p.looked_at nulls first limit $1
    ), seen as (
        select d.tenant_id, d.bot_id, n.peak, l.unit_value as latest, l.observed_at as latest_at
        from due d
        left join lateral (
            select max(s.unit_value) as peak from performance_snapshots s
            where s.tenant_id = d.tenant_id and s.bot_id = d.bot_id and s.unit_value is not null
                and s.observed_at > coalesce(d.latest_at, '-infinity')
        ) n on true
        left join lateral (
            select s.unit_value, s.observed_at from performance_snapshots s
            where s.tenant_id = d.tenant_id and s.bot_id = d.bot_id and s.unit_value is not null
                and s.observed_at > coalesce(d.latest_at, '-infinity')
            order by s.observed_at desc limit 1
        ) l on true
    )
    insert into alert_peaks as p (tenant_id, bot_id, peak, latest, latest_at, looked_at)
    select tenant_id, bot_id, peak, latest, latest_at, now() from seen
    on conflict (tenant_id, bot_id) do update set peak = greatest(p.peak, excluded.peak),
        latest = coalesce(excluded.latest, p.latest), latest_at = coalesce(excluded.latest_at, p.latest_at),
        looked_at = excluded.looked_at
"""
# What was told of an incident that goes on is kept: it says who is to be told of its end.
_CLEAR: Final = (
    """
    delete from alert_messages m where m.settled_at < now() - interval '30 days' and not exists (
        select from alert_incidents i where i.tenant_id = m.tenant_id and i.id = m.incident_id and i.closed_at is null
    )
    """,
    "delete from webhook_deliveries where created_at < now() - interval '30 days'",
    "delete from alert_incidents where closed_at < now() - interval '180 days'",
)
_INCIDENTS: Final = Counter("tradewise_notifier_incidents_total", "Incidents by what became of them.", ["what"])
_PASSES: Final = Histogram("tradewise_notifier_judging_seconds", "One pass over all bots.")


class Incidents:
    """Judges every few seconds. Any number may run: one judges, the others find the turn taken."""

    channel: ClassVar[str] = "tradewise_alerts"

    def __init__(self, settings: Settings, pool: asyncpg.Pool, detail: dict[str, Any] | None = None) -> None:
        # As the API reads staleness (control_plane/bots/queries.py), by the plan that is looked at least often: nobody
        # is woken for a bot that was not due yet.
        slowest = max(plan.poll_interval or settings.poll_interval for plan in settings.plans.values())
        self._stale_after = timedelta(seconds=stale_after_s(slowest))
        self._pool = pool
        self._detail = detail if detail is not None else {}
        self._judged_at: float | None = None
        self._peaked_at: float | None = None
        self._kept_at: float | None = None

    async def work(self) -> float:
        """One pass, unless the last one was just now."""
        if (left := self._left(self._judged_at, _JUDGE_EVERY_S)) > 0:
            return left
        self._judged_at = time.monotonic()
        if self._left(self._kept_at, _KEEP_EVERY_S) <= 0:
            self._kept_at = self._judged_at
            await self.clear()
        if self._left(self._peaked_at, _PEAKS_EVERY_S) <= 0:
            self._peaked_at = self._judged_at
            await self.look_at_figures()
        await self.judge()
        return _JUDGE_EVERY_S

    async def close(self) -> None:
        """Nothing outlives a pass."""

    async def clear(self) -> None:
        """Forget what nobody is shown any more."""
        for statement in _CLEAR:
            await self._pool.execute(statement)

    async def look_at_figures(self) -> None:
        """Bring the highest and the newest value of some bots up to date."""
        await self._pool.execute(_PEAKS, _PEAKS_AT_ONCE)

    async def judge(self) -> None:
        """Look at everything once, and say what there is to say."""
        with _PASSES.time():
            async with self._pool.acquire() as connection, connection.transaction():
                if not await connection.fetchval(_TAKE_TURN, _TURN):
                    return
                now = await sights.present(connection)
                await posting.release(connection, now)
                for tenant_id, tenant in (await sights.read(connection, self._stale_after)).items():
                    await self._judge_one(connection, tenant_id, tenant, now)

    async def _judge_one(self, connection: asyncpg.Connection, tenant_id: UUID, tenant: Tenant, now: datetime) -> None:
        try:
            async with connection.transaction():
                for action in judge(tenant, now, self._stale_after):
                    await self._act(connection, tenant_id, action, now)
        except asyncpg.IntegrityConstraintViolationError as error:
            # Its bot or the tenant itself was deleted since we looked: the others are not to wait for that.
            _log.warning("tenant_not_judged", tenant=str(tenant_id), error=type(error).__name__)

    async def _act(self, connection: asyncpg.Connection, tenant_id: UUID, action: Action, now: datetime) -> None:
        match action:
            case Open():
                await self._open(connection, tenant_id, action, now)
            case Change():
                came = [bot.bot_id for bot in action.came]
                values = (sorted(action.bot_ids), came, names_of(action.came), MOST_NAMES, action.reason)
                await connection.fetchrow(_CHANGE, tenant_id, action.id, *values)
            case Resolve():
                names = names_of(action.over)
                row = await connection.fetchrow(
                    _RESOLVE, tenant_id, action.id, now, action.resolution, action.count, names
                )
                await self._tell(connection, row, RESOLVED, now)
            case Remind():
                row = await connection.fetchrow(_REMIND, tenant_id, action.id, now, action.detail)
                await self._tell(connection, row, REMINDER, now)

    async def _open(self, connection: asyncpg.Connection, tenant_id: UUID, action: Open, now: datetime) -> None:
        bots, names = sorted(bot.bot_id for bot in action.bots), names_of(action.bots)
        if action.again is not None:
            values = (bots, names, action.reason, action.since, now, action.detail)
            row = await connection.fetchrow(_AGAIN, tenant_id, action.again, *values)
            await self._tell(connection, row, REOPENED, now)
            return
        row = await connection.fetchrow(
            _OPEN,
            uuid7(),
            tenant_id,
            action.kind,
            action.scope,
            action.cause,
            bots[0] if action.scope == "bot" else None,
            bots,
            action.rule.severity,
            action.reason,
            names,
            list(action.rule.channel_ids) if action.rule.channel_ids is not None else None,
            action.rule.tell_recovery,
            action.since,
            now,
            action.detail,
        )
        await self._tell(connection, row, OPENED, now)

    async def _tell(
        self, connection: asyncpg.Connection, row: asyncpg.Record | None, type_: str, now: datetime
    ) -> None:
        if row is None:
            return
        _INCIDENTS.labels(type_.removeprefix("incident.")).inc()
        self._detail["incidents_told"] = self._detail.get("incidents_told", 0) + 1
        _log.info("incident", what=type_, kind=row["kind"], scope=row["scope"], incident=str(row["id"]))
        if type_ == RESOLVED and not row["tell_recovery"]:
            return
        await posting.post(
            connection,
            row["tenant_id"],
            type_,
            {"incident": msgspec.to_builtins(told(row))},
            now,
            incident_id=row["id"],
            critical=row["severity"] == "critical",
            only=row["channel_ids"],
        )

    @staticmethod
    def _left(since: float | None, every_s: float) -> float:
        return 0.0 if since is None else since + every_s - time.monotonic()


def names_of(bots: Sequence[Seen]) -> list[str]:
    """As many as a message names."""
    return [bot.name for bot in bots[:MOST_NAMES]]


def told(row: asyncpg.Record) -> Told:
    """An incident's row as messages tell it."""
    names, met = list(row["bot_names"]), row["bots_met"]
    closed = row["closed_at"] is not None
    title = (
        back_title(row["kind"], names, met, row["resolution"], row["bots_over"], row["reason"])
        if closed
        else title_of(row["kind"], row["scope"], row["cause"], names, met, row["reason"])
    )
    return Told(
        id=row["id"],
        kind=row["kind"],
        scope=row["scope"],
        severity=row["severity"],
        state="closed" if closed else "open",
        title=title,
        text=over_text(row["since"], row["closed_at"]) if closed else row["detail"] or text_of(row["reason"]),
        reason=row["reason"],
        since=row["since"],
        opened_at=row["opened_at"],
        closed_at=row["closed_at"],
        resolution=row["resolution"],
        flaps=row["flaps"],
        bots_met=met,
        bots_over=row["bots_over"],
        bot_ids=sorted(row["bot_ids"])[:MOST_NAMES],
        bot_names=names,
    )
