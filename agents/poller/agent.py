"""The poller agent: claims what is due, checks many bots at once, never waits for the slow ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

import asyncpg
from prometheus_client import Gauge, Histogram

from agents.agent import Agent
from agents.egress import Limits
from agents.poller.check import Checker
from agents.poller.decide import decide, settle
from agents.poller.due import Claim, Room, claim, release
from agents.poller.record import Recorder, Result
from agents.poller.steer import Steerer
from control_plane.database.away import DATABASE_AWAY
from control_plane.security.vault import Vault
from control_plane.settings import Settings

#: Checks under way at once; of those that timed out last time; and extra ones for bots that somebody waits for.
_CONCURRENCY = 256
_SLOW = 64
_URGENT_EXTRA = 32
_SHORTEST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_LAST_CHECKS_S = 5.0

_LATENESS = Histogram(
    "tradewise_poller_lateness_seconds",
    "From when a bot was due until it was claimed.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
_UNDER_WAY = Gauge("tradewise_poller_checks_under_way", "Checks that have begun and not ended.")


class Poller(Agent):
    """Checks bots as they fall due. Any number of pollers may run: a claim under a lease is one poller's alone."""

    kind: ClassVar[str] = "poller"
    channels: ClassVar[tuple[str, ...]] = ("tradewise_desired", "tradewise_launched")

    def __init__(self, settings: Settings, pool: asyncpg.Pool, vault: Vault) -> None:
        super().__init__(settings, pool, vault)
        self._interval = timedelta(seconds=settings.poll_interval)
        self._checker = Checker(settings, pool, vault, limits=Limits(concurrency=_CONCURRENCY + _URGENT_EXTRA))
        self._recorder = Recorder(pool, self._stored)
        self._steerer = Steerer(settings, pool, vault)
        self._recording: asyncio.Task[None] | None = None
        self._checks: dict[asyncio.Task[None], Claim] = {}
        self._held: dict[str, Claim] = {}
        self._begun = 0
        self._asked: set[str] = set()
        self._alarm: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Begin to write results as they come."""
        self._recording = asyncio.create_task(self._recorder.run())

    async def work(self, woken: frozenset[str]) -> float:
        """Begin the checks that are due; results are recorded as they come, and nobody waits for stragglers here."""
        if self._recording is not None and self._recording.done():
            self._recording.result()  # nothing would be stored any more: end with what ended it
        self._asked |= woken & self._held.keys()
        if self._recorder.behind:
            # Looking again would only add to what is held in memory.
            raise ConnectionError("what was seen waits to be stored")
        self._still()
        batch = await claim(self.pool, self._room())
        for held in batch.claims:
            self._begin(held)
            self._begun += 1
        self.detail = {"checks_begun": self._begun, "checks_under_way": len(self._checks)}
        pause = _LONGEST_PAUSE_S if batch.next_in_s is None else batch.next_in_s
        return min(_LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, pause))

    async def close(self) -> None:
        """Let the checks under way end if they do so soon, store what is known, give the rest back to be claimed."""
        if self._checks:
            await asyncio.wait(self._checks, timeout=_LAST_CHECKS_S)
        unfinished = dict(self._checks)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        if self._recording is not None:
            self._recording.cancel()
            await asyncio.gather(self._recording, return_exceptions=True)
        with contextlib.suppress(*DATABASE_AWAY):
            await self._recorder.flush()
            await release(self.pool, list(unfinished.values()))
        self._still()
        await self._steerer.close()
        self._recorder.give_up()
        self._checker.close()

    def _room(self) -> Room:
        free = _CONCURRENCY - len(self._checks)
        slow = _SLOW - sum(held.slow for held in self._checks.values())
        return Room(urgent=free + _URGENT_EXTRA, regular=free, slow=min(slow, free))

    def _begin(self, held: Claim) -> None:
        if not held.urgent:
            _LATENESS.observe(held.lateness_s)
        self._held[str(held.bot.id)] = held
        task = asyncio.create_task(self._check(held))
        self._checks[task] = held
        task.add_done_callback(self._end)
        _UNDER_WAY.set(len(self._checks))

    def _end(self, task: asyncio.Task[None]) -> None:
        held = self._checks.pop(task)
        _UNDER_WAY.set(len(self._checks))
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # A fault of ours. It costs this bot one lease and nobody else anything; only the kind is told, because the
            # rest may hold what was opened.
            self.log.error("check_failed", bot=str(held.bot.id), engine=held.bot.engine, error=type(error).__name__)
            self._let_go(held)

    def _let_go(self, held: Claim) -> None:
        """This claim is no longer under way; one that was made since, after its lease had ended, still is."""
        if self._held.get(str(held.bot.id)) is held:
            del self._held[str(held.bot.id)]

    async def _check(self, held: Claim) -> None:
        bot = held.bot
        if not bot.hosted and bot.desired != "running":
            self._recorder.put(Result(held, settle(bot, held.now), None))
            return
        try:
            outcome = await self._checker.check(bot, held.now)
        except DATABASE_AWAY as error:
            # The database is away, so nothing was seen; the lease ends by itself.
            self.log.warning("check_not_made", bot=str(bot.id), error=type(error).__name__)
            self._let_go(held)
            return
        self._recorder.put(Result(held, decide(bot, held.previous, outcome, self._interval), outcome.reading))

    def _stored(self, results: Sequence[Result]) -> None:
        stored = {str(result.claim.bot.id): result for result in results}
        for result in results:
            self._let_go(result.claim)
            self._steerer.due(result.claim.bot, urgent=result.claim.urgent)
        if asked := self._asked & stored.keys():
            # Somebody asked for a bot while it was being checked: look again whether that check answers them.
            self._asked -= asked
            self.wake()
        self._wake_within(min(result.due_in_s for result in results))

    def _wake_within(self, seconds: float) -> None:
        """A bot just looked at may be due before the pass that was planned without it."""
        loop = asyncio.get_running_loop()
        if seconds < _LONGEST_PAUSE_S and (self._alarm is None or loop.time() + seconds < self._alarm.when()):
            self._still()
            self._alarm = loop.call_later(max(seconds, _SHORTEST_PAUSE_S), self.wake)

    def _still(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def make_poller(settings: Settings, pool: asyncpg.Pool, vault: Vault) -> Poller:
    """The poller, for ``run_agent``."""
    return Poller(settings, pool, vault)
