"""Steering bots' trading: what people wished is asked of the bot, and counts when its own state shows it.

An answer with 200 is no evidence: programs take a command and go on as before. So every step looks at the bot first,
asks where its state is another one, and looks again; bounded in time, because a wish of this morning must not stop a
bot tonight. What is known is in the wish's row, so that another poller goes on where one was killed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from agents.egress import EgressError, Limits
from agents.egress.deadlines import Deadlines, Spell
from agents.engines.base import ControlRefused, ReadFailure, Reason
from agents.engines.shared import no_older_than
from agents.poller.check import BUDGET_S
from agents.poller.facts import Bot
from agents.poller.opening import CannotOpen, Opener, Stored
from agents.poller.wish import CONTROL_REFUSED, REST_S, SUPERSEDED, Seen, Step, Wish, judge, overtaken, reason_of, words
from agents.poller.wish_rows import MOST_PENDING, WishRows
from control_plane.bots.kinds import ACTION_OF
from control_plane.database.away import DATABASE_AWAY

#: Between two looks at a bot that was asked: quickly at first, for somebody waits.
_PAUSES_S: Final = (0.1, 0.2, 0.4, 0.8, 1.6)
_LATER_S: Final = 3.0
#: How often wishes are looked for that no loaded row has told of: those of a poller that was killed.
_REFRESH_S: Final = 10.0
#: Bots behind one API that are steered at once cost it one look so often, together.
_SHARED_S: Final = 0.5
_SLOW: Final = "The bot answered too slowly."
#: A quarter for one tenant: when all of its bots hang, those of others are asked at once.
LIMITS: Final = Limits(connect_timeout=3.0, total_timeout=8.0, per_host=8, per_tenant=16, concurrency=64)


class _Course:
    """How far this process has come with one wish."""

    def __init__(self, asked: int, since: float, rest_until: float) -> None:
        self.asked = asked
        self.since = since
        """The monotonic second of the wish, or of the last command for it: what was seen before is no evidence."""
        self.pauses = chain(_PAUSES_S, repeat(_LATER_S))
        self.took = False
        """The bot took our command."""
        self.problem: str | None = None
        """What was wrong with the last attempt, in words."""
        self.rest_until = rest_until
        """The monotonic second before which the bot is not called, because it asked for that."""

    def rest(self, told_s: float | None) -> float:
        """The bot asked for fewer calls. For how many seconds it gets none."""
        rest_s = told_s or REST_S
        self.rest_until = time.monotonic() + rest_s
        return rest_s


class Steerer:
    """Steers the bots that this poller looks after. Each on its own: whoever hangs delays nobody else.

    Nothing of a bot is kept from one call to the next: a wish is rare, and what is stored now counts, its address and
    its credential of one moment. The opener is its own from then on.
    ``look_again`` is called with a bot whose trading has just changed: its health was seen before that.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        opener: Opener,
        look_again: Callable[[UUID], None] = lambda _: None,
        *,
        budget_s: float = BUDGET_S,
        most_pending: int = MOST_PENDING,
    ) -> None:
        self._rows = WishRows(pool, most_pending=most_pending)
        self._opener = opener
        self._look_again = look_again
        self._budgets = Deadlines(budget_s)
        self._under_way: dict[UUID, asyncio.Task[None]] = {}
        self._pending: frozenset[UUID] = frozenset()
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed = float("-inf")
        self._log = structlog.get_logger("poller")

    def due(self, bot: Bot, *, wished: bool) -> bool:
        """Begin what there is to do for a bot, and return at once: to be called after each look at it was recorded.

        ``wished``: the bot's rows say that somebody wished something. Without that nothing is read: what an earlier
        poller left behind is found by looking for all of it now and then. False where it is being steered already, so
        that what came after its last look at the wish has to be told again.
        """
        if self._refreshing is None and time.monotonic() - self._refreshed >= _REFRESH_S:
            self._refreshing = asyncio.create_task(self._refresh())
        if bot.id in self._under_way:
            return False
        if wished or bot.id in self._pending:
            task = asyncio.create_task(self._steer(bot.tenant_id, bot.id))
            self._under_way[bot.id] = task
            task.add_done_callback(lambda ended: self._ended(bot, ended))
        return True

    async def close(self) -> None:
        """Leave the rest to the next poller: the rows say how far it came."""
        tasks = [*self._under_way.values(), *([self._refreshing] if self._refreshing else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._budgets.close()
        self._opener.close()

    async def _refresh(self) -> None:
        try:
            await self._rows.end_what_is_left()
            self._pending = await self._rows.pending()
        except DATABASE_AWAY as error:
            self._log.warning("wishes_not_read", error=type(error).__name__)
        finally:
            self._refreshed, self._refreshing = time.monotonic(), None

    def _ended(self, bot: Bot, task: asyncio.Task[None]) -> None:
        del self._under_way[bot.id]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, DATABASE_AWAY):
            self._pending |= {bot.id}
            self._log.warning("steering_waits", bot=str(bot.id), error=type(error).__name__)
        elif error is not None:
            # A fault of ours. Only the kind is told, because the rest may hold what was opened.
            self._log.error("steering_failed", bot=str(bot.id), engine=bot.engine, error=type(error).__name__)

    async def _steer(self, tenant: UUID, bot: UUID) -> None:
        """Ask and look until the wish is answered. Raises for the database alone."""
        course: _Course | None = None
        while True:
            found = await self._rows.read(tenant, bot)
            if found is None:
                self._pending -= {bot}
                return
            wish, moment, read_at = found
            if course is None or course.asked != wish.asked:
                since = read_at - (moment - wish.requested_at).total_seconds()
                course = _Course(wish.asked, since, course.rest_until if course else 0.0)
            stored = await self._meant(tenant, bot, wish)
            if stored is None:
                continue
            seen = await self._look(stored, course)
            step = judge(wish, seen, moment + timedelta(seconds=time.monotonic() - read_at))
            if step is Step.CONFIRM:
                if await self._rows.confirm(tenant, bot, wish):
                    self._look_again(bot)
            elif step is Step.GIVE_UP:
                await self._rows.give_up(tenant, bot, wish, reason_of(seen), words(wish, seen, course.problem))
            elif step is Step.ASK:
                course.problem = await self._ask(tenant, bot, wish, course)
            if step in {Step.ASK, Step.WAIT}:
                await asyncio.sleep(max(next(course.pauses), seen.rest_s or 0.0))

    async def _meant(self, tenant: UUID, bot: UUID, wish: Wish) -> Stored | None:
        """The bot as it is stored now, if it is still the one that was meant; else the wish is given up."""
        stored = await self._opener.stored(tenant, bot)
        generation, desired = (None, "") if stored is None else (stored.generation, stored.bot.desired)
        why = overtaken(wish, generation, desired)
        if why is not None:
            await self._rows.give_up(tenant, bot, wish, SUPERSEDED, why)
            return None
        return stored

    async def _ask(self, tenant: UUID, bot: UUID, wish: Wish, course: _Course) -> str | None:
        """One attempt; in words what was wrong with it."""
        if not await self._rows.count_attempt(tenant, bot, wish):
            return None
        # Read anew: it may have been changed while it was looked at.
        stored = await self._meant(tenant, bot, wish)
        if stored is None:
            return None
        try:
            to = await self._opener.open_stored(stored)
            try:
                with Spell(self._budgets):
                    await to.engine.control(to.client, to.url, to.credential, to.config, ACTION_OF[wish.wanted])
            except (ControlRefused, ReadFailure, EgressError):
                raise
            except TimeoutError:
                return _SLOW
            except Exception as error:  # noqa: BLE001 - whatever it is, the wish has an end
                self._failed("command_failed", stored, error)
                return "Asking it failed by a fault of ours."
            finally:
                course.since = time.monotonic()
            course.took = True
        except ControlRefused as refused:
            await self._rows.give_up(tenant, bot, wish, CONTROL_REFUSED, str(refused))
            return None
        except ReadFailure as failure:
            if failure.reason is Reason.RATE_LIMITED:
                course.rest(failure.retry_after_s)
            return failure.detail
        except EgressError as error:
            return error.message
        except CannotOpen as cannot:
            return cannot.detail
        return None

    async def _look(self, stored: Stored, course: _Course) -> Seen:
        """The bot's own word of its trading state, now."""
        if (rest_s := course.rest_until - time.monotonic()) > 0:
            return Seen(state=None, rest_s=rest_s)
        if stored.bot.hosted and stored.bot.host_port is None:
            # Nobody is there to ask until its next copy is.
            return Seen(state=None, problem="It does not run at the moment.", hangs=True)
        try:
            to = await self._opener.open_stored(stored)
        except CannotOpen as cannot:
            return Seen(state=None, problem=cannot.detail, hopeless=cannot.reason)
        try:
            with Spell(self._budgets), no_older_than(max(course.since, time.monotonic() - _SHARED_S)):
                reading = await to.engine.check(to.client, to.url, to.credential, to.config, now=datetime.now(UTC))
        except TimeoutError:
            return Seen(state=None, problem=_SLOW, hangs=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, the wish has an end
            self._failed("look_failed", stored, error)
            return Seen(state=None, problem="Looking at it failed by a fault of ours.", hangs=True)
        if reading.reason is Reason.RATE_LIMITED:
            return Seen(state=None, problem=reading.detail, rest_s=course.rest(reading.retry_after_s))
        final = reading.reason in {Reason.AUTH, Reason.EGRESS_REFUSED}
        return Seen(
            state=reading.trading_state if reading.reason is None else None,
            problem=reading.detail,
            after_asking=course.took,
            hopeless=reading.reason.value if final and reading.reason is not None else None,
            hangs=reading.reason is Reason.TIMEOUT,
        )

    def _failed(self, event: str, stored: Stored, error: Exception) -> None:
        """A fault of ours, a plug-in's or the machine's. Only the kind is told: the rest may hold what was opened."""
        self._log.error(event, bot=str(stored.bot.id), engine=stored.bot.engine, error=type(error).__name__)
