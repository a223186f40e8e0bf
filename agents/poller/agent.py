"""The poller agent: holds shards of bots in memory and follows their rows, while `rounds.py` looks at them.

The database is asked for what changed, not for who is due: while nothing changes no look costs a query.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice
from typing import ClassVar, Final
from uuid import UUID

import asyncpg
from prometheus_client import Gauge

from agents.agent import Agent
from agents.egress import Limits
from agents.poller.check import Checker
from agents.poller.facts import Decision
from agents.poller.intervals import Intervals
from agents.poller.lanes import ACTIVE, IDLE, Lanes, Room
from agents.poller.opening import Opener
from agents.poller.record import Recorder, Stored
from agents.poller.rhythm import TakeOver, phase
from agents.poller.rounds import Rounds
from agents.poller.shards import BEAT_S, LEASE_S, SHARDS, Shards, shard_of
from agents.poller.steer import LIMITS, Steerer
from agents.poller.waiting import Result, told
from agents.poller.watched import Fleet, Watched, changed_since, load_bots, load_shards
from control_plane import cycles
from control_plane.database.away import DATABASE_AWAY
from control_plane.security.vault import Vault
from control_plane.settings import Settings

#: Results are gathered for so long, or half of the shortest interval.
_GATHER_S: Final = 1.0
#: How often changes are looked for that no notification told of, and how many shards are then read as a whole: all of
#: them within eight minutes.
_RESYNC_S: Final = 15.0
_RESYNC_SHARDS: Final = 8
#: What is committed late bears the time at which it began.
_OVERLAP: Final = timedelta(seconds=60)
#: Shards are loaded so many at a time, so that whoever waits for a look need not wait for all of them.
_LOAD_SHARDS: Final = 32
#: And bots that were named so many.
_AT_ONCE: Final = 5000
_LAST_CHECKS_S: Final = 5.0
_LEAVING_PAUSE_S: Final = 0.1
_OPEN_FILES: Final = 16384

_UNDER_WAY = Gauge("tradewise_poller_checks_under_way", "Checks that have begun and not ended.")
_QUEUED = Gauge("tradewise_poller_checks_queued", "Bots that are due and wait for their turn.")
_HELD = Gauge("tradewise_poller_shards_held", "Shards that this poller holds, of 256.")
_WATCHED = Gauge("tradewise_poller_bots_watched", "Bots that this poller looks after.")


class Poller(Agent):
    """Looks after bots. Any number of pollers may run: each looks after the bots of the shards that it holds."""

    kind: ClassVar[str] = "poller"
    channels: ClassVar[tuple[str, ...]] = ("tradewise_desired", "tradewise_launched")

    def __init__(
        self,
        settings: Settings,
        pool: asyncpg.Pool,
        vault: Vault,
        *,
        lease_s: float = LEASE_S,
        beat_s: float = BEAT_S,
    ) -> None:
        super().__init__(settings, pool, vault)
        files = _open_files()
        room = Room().within(files)
        intervals = Intervals(settings)
        # Turns are taken here, where it is known who is slow; the client's own are the last bound.
        limits = Limits(
            concurrency=2 * room.total,
            per_host=room.total,
            per_tenant=2 * room.total,
            # Of each of the two clients. What is left is for the database, steering and the process itself.
            idle_connections=(files - room.total - files // 8) // 2,
        )
        self._recorder = Recorder(
            pool,
            self.process_id,
            self._stored,
            gather_s=min(_GATHER_S, intervals.shortest_s / 2),
            limit=settings.poll_buffer,
        )
        self._shards = Shards(pool, self.process_id, lease_s=lease_s, beat_s=beat_s)
        self._take_over = TakeOver(lease_s)
        self._fleet = Fleet(intervals)
        self._lanes = Lanes(room)
        self._rounds = Rounds(self._shards, self._lanes, Checker(Opener(settings, pool, vault, limits)), self._recorder)
        self._steerer = Steerer(pool, Opener(settings, pool, vault, LIMITS), self._look_soon)
        self._recording: asyncio.Task[None] | None = None
        self._heard: set[str] = set()
        self._named: set[UUID] = set()
        self._unloaded: set[int] = set()
        self._resynced: datetime | None = None
        self._changed: set[tuple[UUID, datetime]] = set()
        self._resync_at = 0.0
        self._resync_next = 0

    async def open(self) -> None:
        """Begin to write results as they come, and to look at what is due."""
        cycles.search_seldom()
        self._recording = asyncio.create_task(self._recorder.run())
        self._rounds.start()

    def wake(self, identity: str | None = None) -> None:
        """Ask for a pass now. Without a name, notifications may have been missed: then changes are looked for."""
        if identity is None:
            self._resync_at = 0.0
        else:
            self._heard.add(identity)
        super().wake(identity)

    async def work(self, woken: frozenset[str]) -> float:  # noqa: ARG002 - what was heard is kept until it is done
        """Follow what changed: shards, bots that were named, and now and then what nobody named."""
        if self._recording is not None and self._recording.done():
            self._recording.result()  # nothing would be stored any more: end with what ended it
        self._named |= self._ours(self._heard)
        self._heard.clear()
        if self._named:
            await self._follow()
        if self._shards.next_beat_in_s == 0:
            await self._beat()
        if self._shards.leaving:
            await self._give_back()
        if self._unloaded:
            await self._load()
        elif time.monotonic() >= self._resync_at:
            await self._resync()
        self._tell_metrics()
        if self._recorder.behind:
            raise ConnectionError("what was seen waits to be stored")
        if self._unloaded or self._named or self._heard:
            return 0.0
        pause = max(0.0, min(self._shards.next_beat_in_s, self._resync_at - time.monotonic()))
        return min(pause, _LEAVING_PAUSE_S) if self._shards.leaving else pause

    async def close(self) -> None:
        """Let the looks under way end if they do so soon, store what is known, give the rest back."""
        await self._steerer.close()
        await self._rounds.end(_LAST_CHECKS_S)
        if self._recording is not None:
            self._recording.cancel()
            await asyncio.gather(self._recording, return_exceptions=True)
        self._tell_last_sights(self._shards.held)
        with contextlib.suppress(*DATABASE_AWAY):
            await self._recorder.flush()
            await self._shards.give(list(self._shards.held))
            await self.farewell()
        self._recorder.give_up()
        self._rounds.checker.close()

    async def _beat(self) -> None:
        turn = await self._shards.beat()
        for shard in turn.lost | turn.taken:
            # One that was ours before and is again: what another saw in between is not in memory.
            self._fleet.forget_shard(shard)
        self._unloaded = (self._unloaded - turn.lost) | turn.taken
        if turn.taken or turn.lost:
            self.log.info("shards", taken=len(turn.taken), lost=len(turn.lost), held=len(self._shards.held))
        self._shards.leave(turn.surplus, time.monotonic() + _LAST_CHECKS_S)

    async def _give_back(self) -> None:
        """Give up what is more than our share, once nothing is under way there and all is written."""
        now = time.monotonic()
        quiet = [
            shard
            for shard, deadline in self._shards.leaving.items()
            if now >= deadline or not any(one.state == ACTIVE for one in self._fleet.of_shard(shard))
        ]
        if not quiet:
            return
        self._tell_last_sights(quiet)
        for shard in quiet:
            self._fleet.forget_shard(shard)
        self._unloaded.difference_update(quiet)
        await self._recorder.flush()
        await self._shards.give(quiet)
        self.log.info("shards_given_back", count=len(quiet), held=len(self._shards.held))

    def _tell_last_sights(self, shards: Iterable[int]) -> None:
        """Have it written when bots were last looked at, where the time of a look was spared: whoever takes them over
        goes on in their rhythm, and asks nobody twice in an interval."""
        for shard in shards:
            epoch = self._shards.held.get(shard)
            for watched in self._fleet.of_shard(shard):
                told_at, health = watched.told_at, watched.health
                if epoch is None or told_at is None or health.observed_at is None or told_at >= health.observed_at:
                    continue
                watched.told_at = None
                self._recorder.put(Result(watched, epoch, watched.bot, health, Decision(health, None, 0.0), None))

    async def _load(self) -> None:
        """Load the bots of some shards that were taken."""
        shards = sorted(self._unloaded)[:_LOAD_SHARDS]
        before = time.monotonic()
        rows = await load_shards(self.pool, shards)
        self._note_clock(rows, before)
        new, known = self._fleet.learn(rows)
        self._unloaded.difference_update(shards)
        now = time.monotonic()
        moment = self._shards.moment(now)
        for watched in new:
            due = self._take_over.first_due(watched, now, moment)
            first = watched.health.observed_at is None
            watched.due_reading = due + (0.0 if first else phase(watched.bot.id, "reading") * watched.pace.reading_s)
            self._rounds.plan(watched, due)
        self._rounds.hurry(known)
        if not self._unloaded:
            cycles.pass_over_what_is_there()

    def _ours(self, heard: set[str]) -> set[UUID]:
        """Which of the bots that were named are ours. Any role that may connect may notify: strange names are none."""
        named = set()
        for word in heard:
            with contextlib.suppress(ValueError):
                bot = UUID(word)
                if shard_of(bot) in self._shards.held:
                    named.add(bot)
        return named

    async def _follow(self) -> None:
        """Read anew the bots that were named: one that is told of no more is not ours to look at."""
        named = set(islice(self._named, _AT_ONCE))
        before = time.monotonic()
        rows = await load_bots(self.pool, named)
        self._note_clock(rows, before)
        self._take_in(named, rows)
        for watched in filter(None, map(self._fleet.get, named)):
            self._steer(watched)
        self._named -= named

    def _take_in(self, named: set[UUID], rows: list[asyncpg.Record]) -> None:
        for gone in named - {row["bot_id"] for row in rows}:
            self._fleet.forget(gone)
        # What is still to be loaded is planned as it is loaded, and what is about to leave is planned by the next one.
        staying = self._shards.held.keys() - self._shards.leaving.keys() - self._unloaded
        new, known = self._fleet.learn([row for row in rows if shard_of(row["bot_id"]) in staying])
        for watched in new:
            wait = 0.0 if watched.urgent else phase(watched.bot.id, "check") * watched.pace.check_s
            self._rounds.plan(watched, time.monotonic() + wait)
        self._rounds.hurry([*new, *known])

    async def _resync(self) -> None:
        """Look for what was changed without a word, and for what is gone: a few shards each time."""
        began = time.monotonic()
        moment = self._shards.moment(began)
        if self._resynced is not None and self._shards.held:
            changed = await changed_since(self.pool, self._resynced)
            # Read in the next passes, some at a time. What the last look found too, because it looks further back than
            # the one before it, was read then.
            self._named |= {bot for bot, _ in changed - self._changed if self._shards.has(bot)}
            self._changed = changed
        shards = {(self._resync_next + step) % SHARDS for step in range(_RESYNC_SHARDS)} & self._shards.held.keys()
        if shards:
            rows = await load_shards(self.pool, shards)
            self._take_in(self._fleet.bots_of(shards), rows)
        self._lanes.tidy(began)
        self._resync_next = (self._resync_next + _RESYNC_SHARDS) % SHARDS
        self._resynced = moment - _OVERLAP
        self._resync_at = began + _RESYNC_S

    def _stored(self, stored: Stored) -> None:
        """What was told stands in the bots' rows; who could not be told is read anew, and looked at again."""
        for one in stored.written:
            result, watched = one.result, one.result.watched
            self._steer(watched)
            if result.decision.change is None or result.bot.id not in stored.told:
                continue
            if watched.bot is result.bot:
                watched.bot = told(result)
            if watched.settling and not watched.gone:
                self._fleet.forget(watched.bot.id)
        for watched in stored.untold:
            self._look_again(watched)
        if stored.untold:
            super().wake()

    def _steer(self, watched: Watched) -> None:
        if self._steerer.due(watched.bot, wished=watched.wished):
            watched.wished = False

    def _look_soon(self, bot: UUID) -> None:
        """Its trading has just changed: what was seen of it is of before."""
        watched = self._fleet.get(bot)
        if watched is not None and watched.state == IDLE:
            self._rounds.plan(watched, time.monotonic())

    def _look_again(self, watched: Watched) -> None:
        if not watched.gone:
            self._named.add(watched.bot.id)
            if watched.state == IDLE:
                self._rounds.plan(watched, time.monotonic() + min(1.0, watched.pace.check_s))

    def _note_clock(self, rows: list[asyncpg.Record], before: float) -> None:
        if rows:
            self._shards.note_clock(rows[0]["now"].timestamp(), before)

    def _tell_metrics(self) -> None:
        _UNDER_WAY.set(self._lanes.under_way)
        _QUEUED.set(self._lanes.queued)
        _HELD.set(len(self._shards.held))
        _WATCHED.set(self._fleet.size)
        self.detail = {
            "checks_begun": self._rounds.begun,
            "checks_under_way": self._lanes.under_way,
            "shards": len(self._shards.held),
            "bots": self._fleet.size,
        }


def _open_files() -> int:
    """How many files this process may have open, after asking for as many as it is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return _OPEN_FILES if soft == resource.RLIM_INFINITY else soft


def make_poller(settings: Settings, pool: asyncpg.Pool, vault: Vault) -> Poller:
    """The poller, for ``run_agent``."""
    return Poller(settings, pool, vault)
