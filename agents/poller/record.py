"""Writing what was seen: everything that waits in one transaction, a moment after it came; what somebody waits for at
once.

A status, its event and the health it follows from stand in one transaction: whoever waits for one sees all. Nothing is
written under a lease that has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from prometheus_client import Counter, Gauge, Histogram
from uuid_utils.compat import uuid7

from agents.launcher.lifecycle import EXTERNAL, require_edge
from agents.poller import statements
from agents.poller.buffer import Buffer
from agents.poller.facts import StatusChange
from agents.poller.marks import read_marks
from agents.poller.waiting import Change, Result, Snapshot, Waiting
from agents.poller.watched import UNREAD
from agents.poller.writes import tell_followers, write_changes, write_healths, write_snapshots
from control_plane.database.away import DATABASE_AWAY

_BATCH: Final = 5000
_RETRY_S: Final = 0.5
_POISON = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.LockNotAvailableError)
_JUDGED_BY: Final = ("tenant_id", "id", "desired", "generation", "status")

_BATCHES = Histogram(
    "tradewise_poller_batch_size", "Bots in one write.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
)
_WRITE_S = Histogram(
    "tradewise_poller_write_seconds", "One write of results.", buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30)
)
_LOST = Counter(
    "tradewise_poller_results_lost",
    "Rows of history, and looks without any, that were seen and could not be kept.",
    ["cause"],
)
_WAITING = Gauge("tradewise_poller_results_waiting", "Bots whose newest result is not written yet.")
_ROWS = Gauge("tradewise_poller_rows_waiting", "Rows of history that are not written yet.")


class Stored:
    """What became of a batch: who was told, who could not be."""

    __slots__ = ("told", "untold", "written")

    def __init__(self, written: list[Waiting], told: set[UUID]) -> None:
        self.written = written
        self.told = told
        self.untold = [
            waiting.result.watched for waiting in written if _change(waiting) and waiting.result.bot.id not in told
        ]
        """Bots whose status is not what it was judged by any more, or whose row somebody holds: look again."""


class Recorder:
    """Takes results as they come and writes them a moment later, together. Holds them while the database is away."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        holder: UUID,
        on_stored: Callable[[Stored], None],
        *,
        gather_s: float = 1.0,
        limit: int = 150_000,
    ) -> None:
        self._pool = pool
        self._holder = holder
        self._on_stored = on_stored
        self._gather_s = gather_s
        self._buffer = Buffer(limit)
        self._arrived, self._awaited = asyncio.Event(), asyncio.Event()
        self._writing = asyncio.Lock()
        self._log = structlog.get_logger("poller")
        self.behind = False
        """The last write failed: what is seen is held in memory."""

    @property
    def waiting(self) -> int:
        """Rows that would be lost with this process."""
        return self._buffer.rows

    def put(self, result: Result) -> None:
        """Have ``result`` written soon; at once where somebody waits for it, or where it changes a status."""
        if not self._buffer.put(result):
            return
        self._arrived.set()
        if result.urgent or result.decision.change is not None:
            self._awaited.set()
        if self._buffer.dropped:
            self._count_dropped()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._arrived.wait()
            if self.behind:
                await asyncio.sleep(_RETRY_S)
            else:
                # Not `wait_for`, which may swallow the end of this task where both come at once.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._gather_s):
                        await self._awaited.wait()
            await self.flush()

    async def flush(self) -> None:
        """Write what waits. Where that fails it goes on waiting."""
        async with self._writing:
            self._arrived.clear()
            self._awaited.clear()
            taken = self._buffer.take()
            while taken:
                batch = taken[:_BATCH]
                try:
                    with _WRITE_S.time():
                        stored = await self._store(batch)
                except DATABASE_AWAY as error:
                    self._buffer.give_back(taken)
                    self._count_dropped()
                    self._arrived.set()
                    self.behind = True
                    self._log.warning("results_not_stored", error=type(error).__name__, waiting=len(self._buffer))
                    break
                except asyncio.CancelledError:
                    self._buffer.give_back(taken)
                    self._count_dropped()
                    raise
                del taken[:_BATCH]
                self.behind = False
                _BATCHES.observe(len(batch))
                for part in stored:
                    self._on_stored(part)
            _WAITING.set(len(self._buffer))
            _ROWS.set(self._buffer.rows)

    def give_up(self) -> None:
        """Count what was never written, at the end of the process."""
        self._lose("shutdown", _worth(self._buffer.take()))

    async def _store(self, batch: list[Waiting]) -> list[Stored]:
        """A row that cannot be written, or that somebody holds for long, costs itself and not its batch."""
        try:
            return [await self._store_whole(batch)]
        except Exception as error:
            if _away(error):
                raise
            if len(batch) == 1:
                return await self._store_less(batch[0], error)
            middle = len(batch) // 2
            return [*await self._store(batch[:middle]), *await self._store(batch[middle:])]

    async def _store_less(self, waiting: Waiting, error: Exception) -> list[Stored]:
        """What was not taken costs itself: its health, and each of its rows apart from the others."""
        held = _held(error)
        self._log.warning("result_not_taken", bot=str(waiting.result.bot.id), held=held, error=repr(error)[:200])
        self._settle_apart(waiting)
        told: set[UUID] | None = None
        async with self._pool.acquire() as connection, connection.transaction():
            if not await self._ours(connection, [waiting]):
                self._lose("overtaken", _worth([waiting]))
                return []
            try:
                async with connection.transaction():
                    told = await self._write_health(connection, [waiting])
            except Exception as refused:
                if _away(refused):
                    raise
                if not isinstance(refused, _POISON) or _held(refused):
                    # All of it comes with the next look. What the database refused it would refuse again.
                    self._lose(_cause(refused), _worth([waiting]))
                    self._buffer.not_recorded(waiting)
                    return []
                self._lose(_cause(refused), 1)
            await self._write_apart(connection, waiting)
            await tell_followers(connection, [waiting])
        return [] if told is None else [Stored([waiting], told)]

    def _settle_apart(self, waiting: Waiting) -> None:
        """Give up the snapshots whose index cannot even be found."""
        watched, snapshots, waiting.snapshots = waiting.result.watched, waiting.snapshots, []
        for snapshot in snapshots:
            if watched.mark is UNREAD and not snapshot.valued:
                self._lose("refused", 1)
                continue
            try:
                if snapshot.settle(watched):
                    waiting.snapshots.append(snapshot)
            except Exception:  # noqa: BLE001 - whatever its figures are, the others are kept
                self._lose("refused", 1)

    async def _write_apart(self, connection: asyncpg.Connection, waiting: Waiting) -> None:
        kept: list[Change] = []
        gone: list[Change] = []
        cause: str | None = None
        rows: list[Change | Snapshot] = [*waiting.history, *waiting.snapshots]
        for row in rows:
            # Whoever holds what one row needs was waited for, and holds it from the others as well.
            cause = cause if cause == "held" else await _why_not(connection, waiting, row)
            if isinstance(row, Change):
                (kept if cause is None else gone).append(row)
            # That a change was lost is counted already, and not that it cannot be said either.
            if cause is not None and (isinstance(row, Snapshot) or row in waiting.changes):
                self._lose(cause, 1)
        if not gone:
            return
        lost = min(change.at for change in gone)
        # A gap that was refused once more, before what is known again, is let be.
        if cause == "held" or waiting.lost is None or all(change.at <= lost for change in kept):
            self._buffer.lose(waiting, lost)

    async def _store_whole(self, batch: list[Waiting]) -> Stored:
        await self._find_marks(batch)
        async with self._pool.acquire() as connection, connection.transaction():
            ours = await self._ours(connection, batch)
            told = await self._write_health(connection, ours)
            # Most looks lead to no row.
            if changes := [(one, row) for one in ours if one.changes or one.lost for row in one.history]:
                await write_changes(connection, changes)
            if snapshots := [(one, row) for one in ours if one.snapshots for row in one.snapshots]:
                await write_snapshots(connection, snapshots)
            await tell_followers(connection, ours)
        if len(ours) < len(batch):
            self._lose("overtaken", _worth(batch) - _worth(ours))
        return Stored(ours, told)

    async def _ours(self, connection: asyncpg.Connection, batch: list[Waiting]) -> list[Waiting]:
        """Those whose shards are held still, as they are until the end of the transaction."""
        await connection.execute(statements.LOCK_BRIEFLY)
        row = await connection.fetchrow(statements.HELD, self._holder)
        held = dict(zip(row["shards"] or (), row["epochs"] or (), strict=True))
        return [one for one in batch if held.get(one.result.watched.shard) == one.result.epoch]

    async def _find_marks(self, batch: list[Waiting]) -> None:
        """Settle the index of every snapshot; the newest mark of a bot is read once, and then known."""
        snapshots = [(one, row) for one in batch if one.snapshots for row in one.snapshots]
        unread = {one: row for one, row in reversed(snapshots) if one.result.watched.mark is UNREAD}
        if unread:
            await read_marks(self._pool, list(unread.items()))
        for one, snapshot in snapshots:
            if not snapshot.settle(one.result.watched):
                one.snapshots.remove(snapshot)

    async def _write_health(self, connection: asyncpg.Connection, ours: list[Waiting]) -> set[UUID]:
        """What the bots are like now, and what follows for their statuses; whose were told."""
        await write_healths(connection, ours)
        return await self._tell(connection, ours)

    async def _tell(self, connection: asyncpg.Connection, ours: list[Waiting]) -> set[UUID]:
        """Statuses and their events. Each only if everything it was judged by still stands; else its bot is looked at
        again, and judged by what stands."""
        # Judged by a status that was told since: the next look judges anew.
        fresh = [one for one in ours if one.result.watched.bot is one.result.bot]
        tells = [(one.result.bot, change) for one in fresh if (change := _change(one)) is not None]
        if not tells:
            return set()
        for bot, change in tells:
            require_edge(EXTERNAL, bot.status, change.status)
        rows = await connection.fetch(
            statements.TELL,
            *([getattr(bot, name) for bot, _ in tells] for name in _JUDGED_BY),
            *([getattr(change, name) for _, change in tells] for name in ("status", "reason", "detail")),
            [uuid7() for _ in tells],
            [change.eventful for _, change in tells],
        )
        told = {row["id"] for row in rows}
        for bot, change in tells:
            if change.eventful and bot.id in told:
                self._log.info("status", bot=str(bot.id), was=bot.status, now=change.status, reason=change.reason)
        return told

    def _count_dropped(self) -> None:
        self._lose("overflow", self._buffer.dropped)
        self._buffer.dropped = 0

    def _lose(self, cause: str, count: int) -> None:
        if count:
            _LOST.labels(cause).inc(count)
            self._log.warning("results_lost", cause=cause, count=count)


def _away(error: Exception) -> bool:
    """Whether it is the database that cannot be had. All else is the fault of a row: whatever a look came to."""
    return isinstance(error, DATABASE_AWAY) and not isinstance(error, _POISON)


def _worth(batch: Sequence[Waiting]) -> int:
    """What would be lost: rows of history, and where there are none the time of a look."""
    return sum(max(1, one.rows) for one in batch)


def _held(error: Exception) -> bool:
    return isinstance(error, asyncpg.LockNotAvailableError)


def _cause(error: Exception) -> str:
    return "held" if _held(error) else "refused"


def _change(waiting: Waiting) -> StatusChange | None:
    return waiting.result.decision.change


async def _why_not(connection: asyncpg.Connection, waiting: Waiting, row: Change | Snapshot) -> str | None:
    """Write one row; the cause where it is not taken."""
    try:
        async with connection.transaction():
            if isinstance(row, Change):
                await write_changes(connection, [(waiting, row)])
            else:
                await write_snapshots(connection, [(waiting, row)])
    except Exception as error:
        if _away(error):
            raise
        return _cause(error)
    return None
