"""When each bot is looked at, and the looks themselves: on a timer of its own, without a word to the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec
import structlog
from prometheus_client import Gauge

from agents.egress import MeansExhausted
from agents.poller.check import Checker, left_alone
from agents.poller.decide import decide, settle
from agents.poller.facts import Bot, Decision, Health, Outcome
from agents.poller.lanes import ACTIVE, IDLE, QUEUED, URGENT, Lanes
from agents.poller.opening import ChangedMeanwhileError
from agents.poller.record import Recorder
from agents.poller.rhythm import counted_from
from agents.poller.shards import Shards
from agents.poller.tally import Distribution, Tally
from agents.poller.waiting import Result
from agents.poller.watched import SHORTEST_GAP_S, Watched
from agents.poller.wheel import Wheel
from control_plane.database.away import DATABASE_AWAY

#: Looking on while the database is silent: longer than that, others may long be looking after our bots.
_BLIND_S: Final = 300.0
#: So many looks are begun in one turn of the loop.
_TOGETHER: Final = 16
#: Timers count in milliseconds: so much after a tick has begun none of them still believes that it is before it.
_PAST_S: Final = 0.002
#: Somebody waits: figures that are not told within it are not waited for before the state is.
_PATIENCE_S: Final = 0.4
#: After a fault of ours: it costs this bot some time and nobody else anything.
_FAULT_PAUSE_S: Final = 30.0

_LATENESS = Distribution(
    "tradewise_poller_lateness_seconds",
    "From when a bot was due until the look at it began.",
    (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 2.5, 5, 10, 30, 60),
)
_LAG = Gauge("tradewise_poller_lag_seconds", "How far the timer is behind, as last seen.")
_READINGS = Tally("tradewise_poller_readings", "Full looks that began.", ())


class Rounds:
    """Looks at bots as they fall due; hands on what was seen."""

    def __init__(self, shards: Shards, lanes: Lanes, checker: Checker, recorder: Recorder) -> None:
        self.begun = 0
        """How many looks have begun in all."""
        self.checker = checker
        self._shards = shards
        self._lanes = lanes
        self._recorder = recorder
        self._wheel: Wheel[Watched] = Wheel(time.monotonic())
        self._looks: dict[Watched, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tick_due = self._ticked_at = time.monotonic()
        self._woke_at = -float("inf")
        self._closing = False
        self._going_on = False
        self._log = structlog.get_logger("poller")

    def start(self) -> None:
        """Begin to look at what is due."""
        self._tick()

    async def end(self, patience_s: float) -> None:
        """Begin nothing more; let the looks under way end if they do so soon."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._looks:
            await asyncio.wait(self._looks.values(), timeout=patience_s)
        unfinished = list(self._looks.values())
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    def plan(self, watched: Watched, at: float) -> None:
        """Have a bot looked at, at a monotonic moment: just then where somebody waits for it, else at the next tick."""
        if watched.urgent:
            self._plan_exactly(watched, at)
        else:
            watched.due = at
            self._wheel.put(watched, at)

    def _plan_exactly(self, watched: Watched, at: float) -> None:
        watched.due = at
        self._wheel.take(watched)
        asyncio.get_running_loop().call_later(max(0.0, at - time.monotonic()), self._fall_due, watched, at)

    def _fall_due(self, watched: Watched, at: float) -> None:
        # Whoever was planned anew meanwhile is due at another moment.
        if watched.due == at and watched.state == IDLE and not watched.gone and not self._closing:
            now = time.monotonic()
            self._offer(watched, now)
            self._begin(now)

    def _offer(self, watched: Watched, now: float) -> None:
        """Have a bot that is due wait for its turn; while the database has been silent for long, for the next time."""
        if self._shards.silent_s > _BLIND_S:
            self.plan(watched, now + watched.pace.check_s)
        else:
            self._lanes.offer(watched)

    def hurry(self, bots: Iterable[Watched]) -> None:
        """Those that somebody waits for are looked at now, but for a breath after the last look."""
        now = time.monotonic()
        for watched in bots:
            if not watched.urgent or watched.state == ACTIVE or (watched.state == QUEUED and watched.lane == URGENT):
                continue
            seen = watched.health.observed_at
            at = now if seen is None else self._shards.monotonic(seen) + SHORTEST_GAP_S
            if at <= now:
                self._wheel.take(watched)
                watched.due = now
                self._lanes.offer(watched)
            else:
                watched.state = IDLE
                self.plan(watched, at)
        self._begin(now)

    def _tick(self) -> None:
        now = time.monotonic()
        _LAG.set(max(0.0, now - self._tick_due))
        self._tick_due = self._wheel.next_at(now)
        self._timer = asyncio.get_running_loop().call_later(self._tick_due - now + _PAST_S, self._tick)
        if now - self._ticked_at > self._shards.lease_s:
            self._woke_at = now
        self._ticked_at = now
        self._lanes.sweep(now)
        if now - self._woke_at < min(self._shards.silent_s, self._shards.lease_s):
            # This process stood still (a suspended machine): others may look after its bots, so it first hears whether
            # they are still its own.
            return
        for watched in self._wheel.advance(now):
            if not watched.gone:
                self._offer(watched, now)
        self._begin(now)

    def _begin(self, now: float) -> None:
        """Begin what may begin, a few at a time: what the first of them are answered is read before the last are asked,
        and what is told as their latency is not our own haste."""
        if self._closing or not any(self._lanes.queues):
            return
        loop, begun = asyncio.get_running_loop(), self.begun
        create_task = loop.create_task
        for watched, rest_s in self._lanes.begin(now, _TOGETHER):
            epoch = self._shards.epoch_of(watched.shard)
            if rest_s > 0:
                if epoch is not None and self._lanes.asked_for_rest(watched, now):
                    self._leave_alone(watched, epoch, now, rest_s)
                self._wheel.put(watched, now + rest_s)
                continue
            if epoch is None:
                self._lanes.end(watched)
                continue
            if watched.lane != URGENT:
                _LATENESS.observe(max(0.0, now - watched.due))
            self.begun += 1
            self._looks[watched] = create_task(self._look_at(watched, epoch))
        if self.begun - begun == _TOGETHER and not self._going_on:
            self._going_on = True
            loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        self._begin(time.monotonic())

    def _leave_alone(self, watched: Watched, epoch: int, now: float, rest_s: float) -> None:
        """Say of a bot why it is not looked at: else it would seem forgotten while its origin has its rest."""
        bot, previous = watched.bot, watched.health
        outcome = left_alone(self._shards.moment(now), rest_s)
        decision = _judged(watched, bot, previous, outcome)
        self._keep(Result(watched, epoch, bot, previous, decision, None))

    async def _look_at(self, watched: Watched, epoch: int) -> None:
        pause, bot = None, watched.bot
        try:
            pause = await self._look(watched, epoch)
        except ChangedMeanwhileError:
            # Nothing was seen. Who was told of the change meanwhile looks at once, and who was not will be told.
            pause = watched.pace.check_s if watched.bot is bot else 0.0
        except (*DATABASE_AWAY, MeansExhausted) as error:
            # What it takes to ask the bot could not be had, so nothing was seen.
            self._log.warning("check_not_made", bot=str(watched.bot.id), error=type(error).__name__)
            pause = min(watched.pace.check_s, _FAULT_PAUSE_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other bots are looked at
            # A fault of ours. Only the kind is told, because the rest may hold what was opened.
            self._log.error("check_failed", bot=str(bot.id), engine=bot.engine, error=type(error).__name__)
            pause = max(watched.pace.check_s, _FAULT_PAUSE_S)
        finally:
            del self._looks[watched]
            self._lanes.end(watched)
        now = time.monotonic()
        if pause is not None and not watched.gone:
            self.plan(watched, now + pause)
        if any(self._lanes.queues):
            self._begin(now)

    async def _look(self, watched: Watched, epoch: int) -> float | None:
        """One look, judged and handed on. Plans the next one; else tells in how many seconds that is."""
        bot, previous = watched.bot, watched.health
        began = time.monotonic()
        moment = self._shards.moment(began)
        urgent = watched.lane == URGENT
        if watched.settling:
            self._keep(Result(watched, epoch, bot, previous, settle(bot, moment), None, urgent))
            return watched.pace.check_s
        full = urgent or began + watched.pace.check_s / 2 >= watched.due_reading
        if full:
            _READINGS.count()
        if urgent:
            outcome = await self._check_urgently(watched, epoch, moment)
            previous = watched.health
        else:
            outcome = await self.checker.check(watched, moment, full=full)
        if watched.gone:
            return None
        if full and outcome.good:
            # Of figures that did not come this time, the next look would wait just as long.
            watched.due_reading = began + watched.pace.reading_s
        decision = _judged(watched, bot, previous, outcome)
        self._keep(Result(watched, epoch, bot, previous, decision, outcome.reading, urgent, full))
        at = counted_from(watched.due, began, watched.pace.check_s) + decision.pause_s
        self._plan_next(watched, at, outcome)
        return None

    async def _check_urgently(self, watched: Watched, epoch: int, moment: datetime) -> Outcome:
        """A full look; where its figures are slow to come, what a short one finds is told meanwhile."""
        bot, previous = watched.bot, watched.health
        whole = asyncio.create_task(self.checker.check(watched, moment, full=True))
        try:
            await asyncio.wait((whole,), timeout=_PATIENCE_S)
            if whole.done() or watched.bot is not bot:
                return await whole
            outcome = await self.checker.check(watched, moment, full=False)
            if outcome.good and not whole.done() and not watched.gone:
                decision = _judged(watched, bot, previous, outcome)
                self._keep(Result(watched, epoch, bot, previous, decision, outcome.reading, urgent=True))
                seen_at = self._shards.moment(time.monotonic())
                return msgspec.structs.replace(await whole, observed_at=seen_at)
            return await whole
        finally:
            whole.cancel()
            await asyncio.gather(whole, return_exceptions=True)

    def _keep(self, result: Result) -> None:
        result.watched.health = result.decision.health
        self._recorder.put(result)

    def _plan_next(self, watched: Watched, at: float, outcome: Outcome) -> None:
        rest_s = outcome.reading.retry_after_s
        if rest_s is not None:
            # It said how long; everybody at its origin gives it that rest.
            until = time.monotonic() + rest_s
            self._lanes.quiet(watched, until)
            self.plan(watched, max(at, until))
        elif watched.urgent:
            # Asked for again while it was looked at, or still coming up.
            self._plan_exactly(watched, min(at, self._shards.monotonic(outcome.observed_at) + SHORTEST_GAP_S))
        else:
            watched.due = at
            self._wheel.put(watched, at)


def _judged(watched: Watched, bot: Bot, previous: Health, outcome: Outcome) -> Decision:
    watched.repeats = watched.repeats + 1 if outcome.reason == previous.reason else 1
    return decide(bot, previous, outcome, watched.pace.check, repeats=watched.repeats)
