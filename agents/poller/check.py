"""One check of one bot: its address, its credential, its engine, within bounds of time.

What was opened for a bot is kept in memory for a while and nowhere else (see docs/decisions/0029-poller.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from agents.egress.deadlines import Deadlines, Spell
from agents.engines.base import Reading, Reason
from agents.poller.facts import Bot, Outcome
from agents.poller.opening import OPENED_S, CannotOpen, Opened, Opener
from agents.poller.tally import Tally
from agents.poller.watched import Watched
from control_plane.bots.kinds import LONGEST_LOOK_S
from control_plane.database.away import DATABASE_AWAY

#: All calls of one check together; several slow answers in a row must not outlive the lease.
BUDGET_S: Final = LONGEST_LOOK_S
#: A bot of ours that starts is asked again within its check for so long: that costs no claim, and its owner waits.
_FIRST_ANSWER_S: Final = 0.5
_SHORTEST_PAUSE_S: Final = 0.01

_CHECKS = Tally("tradewise_poller_checks", "Checks by bot family and outcome.", ["engine", "outcome"])
_NOTHING_READ: Final = Reading(reachable=False, credential_ok=None, full=False)


class Checker:
    """Looks at bots, and keeps what was opened for them. The opener is its own from then on."""

    def __init__(self, opener: Opener, *, budget_s: float = BUDGET_S) -> None:
        self._opener = opener
        # One timer for all looks: one for each would cost as much as judging what was seen.
        self._budgets = Deadlines(budget_s)

    def close(self) -> None:
        """Close every connection that is kept."""
        self._budgets.close()
        self._opener.close()

    async def check(self, watched: Watched, observed_at: datetime, *, full: bool) -> Outcome:
        """Look at a bot once. Whatever the bot does is an outcome: raises only for the database, and
        :class:`ChangedMeanwhileError` where the bot is another one by now, so that nothing was seen."""
        bot = watched.bot
        opened: Opened | None = watched.opened
        if opened is None or time.monotonic() >= opened.until:
            try:
                opened = await self._open(watched)
            except CannotOpen as cannot:
                return _outcome(bot, observed_at, _NOTHING_READ, cannot.reason, cannot.detail)
        try:
            with Spell(self._budgets):
                if bot.hosted and bot.status == "starting":
                    reading = await _first_answer(partial(_look, opened, full=full))
                else:
                    reading = await _look(opened, full=full)
        except TimeoutError:
            detail = "The bot answered too slowly to be read."
            return _outcome(bot, observed_at, _NOTHING_READ, Reason.TIMEOUT.value, detail)
        if reading.reason is None and reading.credential_ok is not True:
            return _outcome(bot, observed_at, reading, Reason.AUTH.value, "The bot did not confirm the credentials.")
        return _outcome(bot, observed_at, reading, reading.reason and reading.reason.value, reading.detail)

    async def _open(self, watched: Watched) -> Opened:
        """Open anew what is kept of the bot."""
        kept: Opened | None = watched.opened
        bot, began = watched.bot, time.monotonic()
        try:
            opened = await self._opener.open(bot)
        except DATABASE_AWAY:
            # The database, or the key provider: meanwhile what is kept may be used for twice as long.
            if kept is not None and began < kept.until + OPENED_S:
                return kept
            watched.opened = None
            raise
        if watched.bot is bot:
            # Otherwise what was opened is of the moment before a change, as a whole: good for this one look.
            watched.opened = opened
        return opened


def left_alone(observed_at: datetime, rest_s: float) -> Outcome:
    """What is known of a bot that is not called because its origin asked for fewer calls: the same as if it had."""
    reading = Reading(reachable=False, credential_ok=None, full=False, retry_after_s=rest_s)
    detail = "Its address asks for fewer calls."
    return Outcome(reading=reading, observed_at=observed_at, reason=Reason.RATE_LIMITED.value, detail=detail)


def _look(opened: Opened, *, full: bool) -> Awaitable[Reading]:
    """The one place that speaks to an engine: its full look, or its short one."""
    ask = opened.engine.read if full else opened.engine.check
    # Ages are told by the wall clock that bots share with us; what is stored is by the database's.
    now = datetime.now(UTC)
    return ask(opened.client, opened.url, opened.credential, opened.config, now=now)


async def _first_answer(ask: Callable[[], Awaitable[Reading]]) -> Reading:
    """While a hosted bot starts nothing listens yet: the first reading that finds somebody there, or the last."""
    began = time.monotonic()
    while True:
        reading = await ask()
        waited = time.monotonic() - began
        if reading.reason is not Reason.UNREACHABLE or waited >= _FIRST_ANSWER_S:
            return reading
        await asyncio.sleep(max(_SHORTEST_PAUSE_S, waited / 8))


def _outcome(bot: Bot, observed_at: datetime, reading: Reading, reason: str | None, detail: str | None) -> Outcome:
    _CHECKS.count(bot.engine, reason or "ok")
    return Outcome(reading=reading, observed_at=observed_at, reason=reason, detail=detail)
