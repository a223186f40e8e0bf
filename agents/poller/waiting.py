"""What one look leads to: the rows of history that it is worth, and what waits of its bot until they are written."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from typing import Final

import msgspec

from agents.engines.base import Reading
from agents.poller.facts import Bot, Decision, Health
from agents.poller.statements import FIGURES, SEEN_FIELDS
from agents.poller.unit_value import Figures, Mark, unit_value
from agents.poller.watched import UNREAD, Source, Watched
from control_plane.bots.kinds import LONGEST_LOOK_S

GAP_INTERVALS: Final = 3
#: The time of a look at a bot of which nothing changed is written this seldom: where looks come faster than that, rows
#: need not. It is half of what a look may be older than three intervals before it is called stale.
_FRESH_S: Final = 5.0
_FRESH_LOOKS: Final = 3
_GAP_BEGINS: Final = 2
_LONGEST_LOOK: Final = timedelta(seconds=LONGEST_LOOK_S)
_ENDED = "Its closed trades fell from {was} to {now}: it counts anew. The index goes on."
_FEWER = "What it counts fell from {was} to {now}: it counts anew. The index goes on."
_ANOTHER = "It tells of another database than before: it counts anew. The index goes on."
#: What of health is more than of the moment: a change of it is written whole, and others are told.
_lasting = attrgetter(*(name for name in Health.__struct_fields__ if name not in SEEN_FIELDS))
_figures = attrgetter(*FIGURES)


class Result(msgspec.Struct, frozen=True):
    """What one look led to. ``reading`` is None where the bot was not called."""

    watched: Watched
    epoch: int
    """That of its shard, when the look began."""
    bot: Bot
    """As it was judged."""
    previous: Health
    decision: Decision
    reading: Reading | None
    urgent: bool = False
    full: bool = False
    """Figures were asked for, whether or not all were told."""

    @property
    def repeats(self) -> bool:
        """Nobody waits for it, nothing but the time of the look is new, and a time is written that is not old yet."""
        before, now = self.watched.told_at, self.decision.health
        if self.urgent or before is None or now.observed_at is None or self.decision.change is not None:
            return False
        fresh_s = min(_FRESH_S, _FRESH_LOOKS * self.watched.pace.check_s)
        return (now.observed_at - before).total_seconds() < fresh_s and _lasting(self.previous) == _lasting(now)

    @property
    def worth_a_snapshot(self) -> bool:
        """All went well that tells of its figures, and one is known; or, of a bot that told some before, none is.
        Where it is not known yet whether it did, that is seen to once it is."""
        reading = self.reading
        if reading is None or not self.full or reading.reason is not None:
            return False
        return self.watched.tells is not False or _tells(reading)


def _tells(reading: Reading) -> bool:
    return any(figure is not None for figure in _figures(reading))


class Change(msgspec.Struct, frozen=True, gc=False):
    """A row of `bot_health_changes`."""

    at: datetime
    state: str
    reason: str | None
    trading_state: str | None


class Snapshot:
    """A row of `performance_snapshots` to be; its index is known once the bot's newest mark is."""

    __slots__ = ("anew", "at", "elsewhere", "reading", "reset", "told", "value", "valued")

    def __init__(self, at: datetime, reading: Reading, *, anew: bool, elsewhere: bool = False) -> None:
        self.at = at
        self.reading = reading
        self.anew = anew
        """It tells of another database than the one before."""
        self.elsewhere = elsewhere
        """So it does because its owner pointed it there: it is another bot's counters that are read, nobody wonders."""
        self.valued = False
        self.value: Decimal | None = None
        self.reset: str | None = None
        """In words, where its counters began anew."""
        self.told = False
        """Its figures differ from those before."""

    def settle(self, watched: Watched) -> bool:
        """Find the index, and let the bot's mark move on. False where there is nothing to keep: no figure, of a bot
        that never told one."""
        if self.valued:
            return True
        if not watched.tells:
            watched.tells = _tells(self.reading)
            if not watched.tells:
                return False
        if self.elsewhere:
            watched.point_elsewhere()
        now = figures_of(self.reading)
        mark = None if watched.mark is UNREAD else watched.mark
        if now.simulated is None and mark is not None and mark.figures.simulated is not None:
            # Not told this time: it is what it was.
            now = msgspec.structs.replace(now, simulated=mark.figures.simulated)
        if now.closed_trades is not None:
            if watched.trades is not None and now.closed_trades < watched.trades:
                self.reset = _ENDED.format(was=watched.trades, now=now.closed_trades)
            watched.trades = now.closed_trades
        tally = self.reading.tally
        if tally is not None:
            if self.reset is None and watched.tally is not None and tally < watched.tally:
                self.reset = _FEWER.format(was=watched.tally, now=tally)
            watched.tally = tally
        if self.anew and self.reset is None:
            self.reset = _ANOTHER
        # Until there is a mark of after the reset: what is unknown now would be told as a loss later.
        watched.anew = watched.anew or self.reset is not None
        self.value = unit_value(mark, now, anew=watched.anew)
        self.told = mark is None or mark.figures != now
        if self.value is not None:
            watched.mark = Mark(figures=now, unit_value=self.value)
            watched.anew = False
        self.valued = True
        return True


class Waiting:
    """What waits of one bot: its newest result, and every row that its history is to have."""

    __slots__ = ("changes", "lost", "previous", "result", "snapshots", "urgent")

    def __init__(self, result: Result) -> None:
        self.result = result
        self.previous = result.previous
        """The health that is recorded."""
        self.urgent = result.urgent
        self.changes: list[Change] = []
        """What its history is to tell of its health, oldest first."""
        self.snapshots: list[Snapshot] = []
        """And of its figures."""
        self.lost: datetime | None = None
        """When the oldest change was that could not be kept."""

    @property
    def rows(self) -> int:
        """How many rows wait."""
        return len(self.changes) + len(self.snapshots)

    @property
    def changed(self) -> bool:
        """Whether more than the time of the last look is new."""
        before, now = self.previous, self.result.decision.health
        return before.observed_at is None or bool(_lasting(before) != _lasting(now))

    @property
    def history(self) -> list[Change]:
        """Its changes as they are written. From one that was lost on it is unknown what its health was, until the next
        change or what is seen now: else it would seem to have been all that time what it was before."""
        lost, now = self.lost, self.result.decision.health
        if lost is None or now.observed_at is None:
            return self.changes
        told = list(self.changes)
        if all(change.at <= lost for change in told):
            told.append(Change(now.observed_at, now.state, now.reason, now.trading_state))
        if all(change.at != lost for change in told):
            told.append(Change(lost, "unknown", None, None))
        return told

    def lose(self, at: datetime) -> None:
        """Note a change that could not be kept."""
        self.lost = at if self.lost is None else min(self.lost, at)


def rows_of(result: Result) -> list[Change | Snapshot]:
    """The rows of history that a result leads to."""
    rows: list[Change | Snapshot] = [*changes_of(result.previous, result.decision.health, result.watched.pace.check)]
    if result.full and result.worth_a_snapshot and result.reading is not None:
        seen = result.decision.health.observed_at
        if seen is not None:
            anew, elsewhere = _another_story(result, result.reading.identity)
            rows.append(Snapshot(seen, result.reading, anew=anew, elsewhere=elsewhere))
    return rows


def _another_story(result: Result, identity: str | None) -> tuple[bool, bool]:
    """Whether figures are not of what they were of before: of another database, or because the bot's owner pointed it
    elsewhere. Where an identity is not known, another address or configuration is another bot."""
    bot, was = result.bot, result.watched.source
    if was is None:
        before = result.previous
        was = Source(identity=before.identity, generation=before.observed_generation, bot=None)
    elif was.bot is bot and was.identity == identity:
        return False, False
    generation = bot.generation
    if identity is not None and was.identity is not None:
        other, moved = identity != was.identity, generation != was.generation
    else:
        other = moved = was.bot is not None and _place(was.bot) != _place(bot)
    if identity is None and not other:
        # Not told this time: it is what it was.
        identity, generation = was.identity, was.generation
    result.watched.source = Source(identity=identity, generation=generation, bot=bot)
    return other and not moved, other and moved


def _place(bot: Bot) -> tuple[str | None, str | None]:
    return bot.api_url, bot.engine_config


def changes_of(before: Health, now: Health, interval: timedelta) -> list[Change]:
    """From ``before`` to ``now``: nothing where it goes on, a change, or a change after a time when nobody looked."""
    if now.observed_at is None:
        return []
    changes = []
    unlike = (before.state, before.reason, before.trading_state) != (now.state, now.reason, now.trading_state)
    if before.observed_at is None:
        unlike = True
    elif before.state != "unknown":
        apart = now.observed_at - before.observed_at
        # Of bots that hang, looks are further apart than a few short intervals, and somebody looks all the time.
        if apart > GAP_INTERVALS * interval and apart > interval + _LONGEST_LOOK:
            changes.append(Change(before.observed_at + _GAP_BEGINS * interval, "unknown", None, None))
            unlike = True
    if unlike:
        changes.append(Change(now.observed_at, now.state, now.reason, now.trading_state))
    return changes


def told(result: Result) -> Bot:
    """The bot as its row says now that its status was told."""
    bot, change = result.bot, result.decision.change
    if change is None:
        return bot
    return msgspec.structs.replace(bot, status=change.status, reason=change.reason, told_generation=bot.generation)


def figures_of(reading: Reading) -> Figures:
    """What the index needs of a reading."""
    return Figures(
        currency=reading.currency,
        equity=reading.equity,
        capital_base=reading.capital_base,
        closed_trades=reading.closed_trades,
        simulated=reading.simulated,
    )
