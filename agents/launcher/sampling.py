"""What running copies use: now and then of each, spread out, and every other second of those that somebody follows.

Never part of a reconcile pass, and by threads of its own: a slow engine delays figures and nothing else.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from agents.launcher import live_queries
from agents.launcher.live_queries import Followed, Running
from agents.launcher.runtimes.base import EngineUnreachable, Runtime, RuntimeFault, Stats

FOLLOWED_EVERY_S: Final = 2.0
#: A copy that ends soon after its start shall have been seen once.
_FIRST_AFTER_S: Final = 1.0
_AT_ONCE: Final = 4
_ENGINE_AWAY_S: Final = 5.0


class Sampling:
    """Which copy is due when, and taking the samples."""

    def __init__(self, pool: asyncpg.Pool, runtime: Runtime, interval: float) -> None:
        self._pool = pool
        self._runtime = runtime
        self._interval = interval
        self._due: dict[UUID, float] = {}
        self._shown: dict[UUID, float] = {}
        self._away_until = 0.0
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._log = structlog.get_logger("launcher")

    async def round(self, copies: list[Running], followed: list[Followed]) -> float:
        """Take the samples that are due; returns the seconds until the next one is."""
        now = time.monotonic()
        self._plan(copies, now)
        watched = {item.bot_id for item in followed}
        kept = [copy for copy in copies if self._due[copy.id] <= now]
        shown = [copy for copy in copies if copy.bot_id in watched and self._shown.get(copy.id, 0.0) <= now]
        if (kept or shown) and now >= self._away_until:
            taken = await self._take({copy.id: copy for copy in (*kept, *shown)})
            for copy in kept:
                self._due[copy.id] = now + self._interval * random.uniform(0.95, 1.05)  # noqa: S311 - spreading
            if due := [taken[copy.id] for copy in kept if copy.id in taken]:
                await self._keep(due)
            for copy in shown:
                self._shown[copy.id] = now + FOLLOWED_EVERY_S
                if copy.id in taken:
                    await live_queries.sampled(self._pool, *taken[copy.id])
        here = {copy.bot_id for copy in copies}
        for item in followed:
            if item.bot_id not in here:
                await live_queries.answer(self._pool, item, problem="no_copy", instance_id=None)
        upcoming = [*self._due.values(), *(self._shown.get(copy.id, 0.0) for copy in copies if copy.bot_id in watched)]
        return max(0.1, min(upcoming, default=now + self._interval) - time.monotonic())

    def _plan(self, copies: list[Running], now: float) -> None:
        """New copies soon after their start, those found running at any time of the interval."""
        for copy in copies:
            if copy.id not in self._due:
                late = copy.age_s > 2 * _FIRST_AFTER_S
                wait = random.uniform(0, self._interval) if late else _FIRST_AFTER_S - copy.age_s  # noqa: S311
                self._due[copy.id] = now + max(0.0, wait)
        here = {copy.id for copy in copies}
        self._due = {identity: at for identity, at in self._due.items() if identity in here}
        self._shown = {identity: at for identity, at in self._shown.items() if identity in here}

    async def _take(self, copies: dict[UUID, Running]) -> dict[UUID, tuple[Running, Stats]]:
        results = await asyncio.gather(*(self._one(copy) for copy in copies.values()))
        return {copy.id: (copy, stats) for copy, stats in zip(copies.values(), results, strict=True) if stats}

    async def _one(self, copy: Running) -> Stats | None:
        async with self._slots:
            if time.monotonic() < self._away_until:
                return None
            try:
                return await self._runtime.stats(copy.container_id)
            except EngineUnreachable:
                self._away_until = time.monotonic() + _ENGINE_AWAY_S
            except RuntimeFault as error:
                self._log.warning("no_stats", container=copy.container_id[:12], detail=str(error)[:200])
        return None

    async def _keep(self, taken: list[tuple[Running, Stats]]) -> None:
        try:
            await live_queries.keep_stats(self._pool, taken)
        except (asyncpg.CheckViolationError, asyncpg.ForeignKeyViolationError) as error:
            # No partition for today, because no scheduler has run for a week; or a tenant that is just being erased.
            self._log.error("stats_not_kept", error=type(error).__name__)
