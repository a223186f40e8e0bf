"""Writing what was seen: health rows and snapshots many at a time; a change of status with its bot's alone, at once.

A status, its event and the health it follows from stand in one transaction: whoever waits for one sees all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence

import asyncpg
import msgspec
import structlog
from prometheus_client import Counter, Histogram
from uuid_utils.compat import uuid7

from agents.engines.base import Reading
from agents.launcher.lifecycle import EXTERNAL, require_edge
from agents.poller.decide import Bot, Decision, Health, StatusChange
from agents.poller.due import Claim
from agents.poller.unit_value import Figures, Mark, unit_value
from control_plane.database.away import DATABASE_AWAY

_GATHER_S = 0.02
_BATCH = 500
_RETRY_S = 0.5
_POISON = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.LockNotAvailableError)

_BATCHES = Histogram(
    "tradewise_poller_batch_size", "Results in one write.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
_LOST = Counter("tradewise_poller_results_lost", "Results that were seen and could not be kept.", ["cause"])

_LOCK_BRIEFLY = "set local lock_timeout = '2s'"
_TELL = """
    with told as (
        update bots b set status = $6, reason = $7, reason_detail = $8, observed_generation = $4,
            status_since = case when b.status = $6 then b.status_since else now() end
        where b.tenant_id = $1 and b.id = $2 and b.desired = $3 and b.generation = $4 and b.status = $5
            and b.bot_type = 'external' and b.deleted_at is null
        returning b.tenant_id, b.id
    ), noted as (
        insert into bot_events (id, tenant_id, bot_id, kind, from_status, to_status, reason, detail, cause, actor)
        select $9, tenant_id, id, 'status', $5, $6, $7, $8, 'agent', 'agent:poller' from told where $10
    )
    select count(*) from told
"""
# The exact lease is the fence: a result whose bot another poller has claimed since is not ours to record.
_HEALTH = """
    update bot_health h set state = n.state, reason = n.reason, detail = n.detail, observed_at = n.observed_at,
        healthy_at = n.healthy_at, failures = n.failures, latency_ms = n.latency_ms, credential_ok = n.credential_ok,
        trading_state = n.trading_state, loop_age_s = n.loop_age_s, simulated = n.simulated, version = n.version,
        identity = n.identity, observed_generation = n.observed_generation, next_poll_at = n.next_poll_at,
        lease_until = null
    from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::text[], $5::text[], $6::text[],
        $7::timestamptz[], $8::timestamptz[], $9::int[], $10::float8[], $11::bool[], $12::text[], $13::float8[],
        $14::bool[], $15::text[], $16::text[], $17::int[])
        as n (id, lease_until, next_poll_at, state, reason, detail, observed_at, healthy_at, failures, latency_ms,
            credential_ok, trading_state, loop_age_s, simulated, version, identity, observed_generation)
    where h.id = n.id and h.lease_until = n.lease_until
    returning h.id
"""
_MARKS = """
    select wanted.bot_id, p.currency, p.equity, p.capital_base, p.closed_trades, p.unit_value
    from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as wanted (tenant_id, bot_id, before)
    cross join lateral (
        select * from performance_snapshots s
        where s.tenant_id = wanted.tenant_id and s.bot_id = wanted.bot_id and s.observed_at < wanted.before
            and s.unit_value is not null
        order by s.observed_at desc limit 1
    ) p
"""
_SNAPSHOTS = """
    insert into performance_snapshots (tenant_id, bot_id, observed_at, unit_value, currency, simulated, equity,
        capital_base, realized_profit, open_profit, win_rate, max_drawdown, closed_trades, open_positions)
    select * from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::numeric[], $5::text[], $6::bool[],
        $7::numeric[], $8::numeric[], $9::numeric[], $10::numeric[], $11::numeric[], $12::numeric[], $13::int[],
        $14::int[])
    on conflict do nothing
"""
_HEALTH_FIELDS = Health.__struct_fields__
_FIGURES = (
    "equity",
    "capital_base",
    "realized_profit",
    "open_profit",
    "win_rate",
    "max_drawdown",
    "closed_trades",
    "open_positions",
)
_READING_COLUMNS = ("currency", "simulated", *_FIGURES)


class Result(msgspec.Struct, frozen=True):
    """What one claim led to. ``reading`` is None where the bot was not called."""

    claim: Claim
    decision: Decision
    reading: Reading | None

    @property
    def worth_a_snapshot(self) -> bool:
        """Read to the end, with at least one figure."""
        reading = self.reading
        return reading is not None and reading.full and any(getattr(reading, name) is not None for name in _FIGURES)

    @property
    def changes_nothing(self) -> bool:
        """The bot's status stays as it is."""
        return self.decision.change is None

    @property
    def due_in_s(self) -> float:
        """Seconds until the bot is due again."""
        return (self.decision.next_poll_at - self.claim.now).total_seconds()

    def without_figures(self) -> Result:
        """The same without a snapshot."""
        return msgspec.structs.replace(self, reading=None)

    def for_another_look(self) -> Result:
        """Health alone, and due again at once: what changes the bot's row, or needs it to stand still, can wait."""
        again = Decision(self.decision.health, None, self.claim.claimed_at)
        return msgspec.structs.replace(self, decision=again, reading=None)


class Recorder:
    """Takes results as they come and writes them a moment later, together. Holds them while the database is away."""

    def __init__(self, pool: asyncpg.Pool, on_stored: Callable[[Sequence[Result]], None]) -> None:
        self._pool = pool
        self._on_stored = on_stored
        self._waiting: deque[Result] = deque()
        self._arrived = asyncio.Event()
        self._log = structlog.get_logger("poller")
        self.behind = False
        """The last write failed. Whoever makes results should wait: they are held in memory."""

    def put(self, result: Result) -> None:
        """Have ``result`` written soon."""
        self._waiting.append(result)
        self._arrived.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._arrived.wait()
            # Where somebody waits for the one result that there is, it goes alone.
            awaited = len(self._waiting) == 1 and self._waiting[0].claim.urgent
            await asyncio.sleep(_RETRY_S if self.behind else 0 if awaited else _GATHER_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what waits. Where that fails it goes on waiting."""
        while self._waiting:
            batch = self._next_batch()
            try:
                await self._store(batch)
            except DATABASE_AWAY as error:
                self._waiting.extendleft(reversed(batch))
                self.behind = True
                self._log.warning("results_not_stored", error=type(error).__name__, waiting=len(self._waiting))
                return
            except asyncio.CancelledError:
                self._waiting.extendleft(reversed(batch))
                raise
            self.behind = False
            _BATCHES.observe(len(batch))
            self._on_stored(batch)
        self._arrived.clear()

    def _next_batch(self) -> list[Result]:
        """One result that changes a status, or all up to the next such one."""
        batch = [self._waiting.popleft()]
        while batch[0].changes_nothing and len(batch) < _BATCH and self._waiting and self._waiting[0].changes_nothing:
            batch.append(self._waiting.popleft())
        return batch

    def give_up(self) -> None:
        """Count what was never written, at the end of the process."""
        self._lose("shutdown", len(self._waiting))
        self._waiting.clear()

    async def _store(self, batch: list[Result]) -> None:
        """A row that the database refuses, or that somebody holds for long, costs itself and not its batch."""
        try:
            await self._store_whole(batch)
        except _POISON as error:
            if len(batch) == 1:
                await self._store_less(batch[0], error)
                return
            middle = len(batch) // 2
            await self._store(batch[:middle])
            await self._store(batch[middle:])

    async def _store_less(self, result: Result, error: Exception) -> None:
        held = isinstance(error, asyncpg.LockNotAvailableError)
        self._log.warning("result_not_taken", bot=str(result.claim.bot.id), held=held, error=str(error)[:200])
        if result.worth_a_snapshot:
            self._lose("held" if held else "refused", 1)
        with contextlib.suppress(*_POISON):
            await self._store_whole([result.for_another_look() if held else result.without_figures()])

    async def _store_whole(self, batch: list[Result]) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_LOCK_BRIEFLY)
            rows = await connection.fetch(_HEALTH, *_health_columns(batch))
            ours = {row["id"] for row in rows}
            seen = [result for result in batch if result.claim.bot.id in ours]
            for result in seen:
                if result.decision.change is not None:
                    await self._tell(connection, result.claim.bot, result.decision.change)
            worthy = [result for result in seen if result.worth_a_snapshot]
            if worthy:
                await connection.execute(_SNAPSHOTS, *await _snapshot_columns(connection, worthy))
        self._lose("overtaken", len(batch) - len(seen))

    async def _tell(self, connection: asyncpg.Connection, bot: Bot, change: StatusChange) -> None:
        """The bot's status, and its event, if everything it was judged by still stands; else nothing: then the bot is
        due again at once, and judged by what stands."""
        require_edge(EXTERNAL, bot.status, change.status)
        told = await connection.fetchval(
            _TELL,
            bot.tenant_id,
            bot.id,
            bot.desired,
            bot.generation,
            bot.status,
            change.status,
            change.reason,
            change.detail,
            uuid7(),
            change.eventful,
        )
        if told and change.eventful:
            self._log.info("status", bot=str(bot.id), was=bot.status, now=change.status, reason=change.reason)

    def _lose(self, cause: str, count: int) -> None:
        if count:
            _LOST.labels(cause).inc(count)
            self._log.warning("results_lost", cause=cause, count=count)


def _health_columns(batch: Sequence[Result]) -> list[list[object]]:
    return [
        [result.claim.bot.id for result in batch],
        [result.claim.lease_until for result in batch],
        [result.decision.next_poll_at for result in batch],
        *([getattr(result.decision.health, name) for result in batch] for name in _HEALTH_FIELDS),
    ]


async def _snapshot_columns(connection: asyncpg.Connection, worthy: Sequence[Result]) -> list[list[object]]:
    tenants: list[object] = [result.claim.bot.tenant_id for result in worthy]
    bots: list[object] = [result.claim.bot.id for result in worthy]
    moments: list[object] = [result.decision.health.observed_at for result in worthy]
    marks = {row["bot_id"]: _mark(row) for row in await connection.fetch(_MARKS, tenants, bots, moments)}
    readings = [result.reading for result in worthy if result.reading is not None]
    values: list[object] = [
        unit_value(marks.get(bot), _figures(reading)) for bot, reading in zip(bots, readings, strict=True)
    ]
    return [
        tenants,
        bots,
        moments,
        values,
        *([getattr(reading, name) for reading in readings] for name in _READING_COLUMNS),
    ]


def _mark(row: asyncpg.Record) -> Mark:
    return Mark(figures=_figures(row), unit_value=row["unit_value"])


def _figures(source: Reading | asyncpg.Record) -> Figures:
    if isinstance(source, Reading):
        return Figures(
            currency=source.currency,
            equity=source.equity,
            capital_base=source.capital_base,
            closed_trades=source.closed_trades,
        )
    return Figures(**{name: source[name] for name in Figures.__struct_fields__})
