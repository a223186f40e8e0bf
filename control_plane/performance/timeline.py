"""Health over time: how long a bot was what, in spans and in buckets. Pure.

Uptime is healthy time over *observed* time, and observed is when health was known to be good or bad. ``unknown``
(nobody looked) and ``stale`` (the bot asked for fewer calls) tell neither, so they count on no side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

STATES = ("healthy", "unhealthy", "stale", "unknown")
_DAY = timedelta(days=1)
_ALMOST_ALL = 0.999999


class Change(msgspec.Struct, frozen=True):
    """From ``at`` on, health was this."""

    at: datetime
    state: str
    reason: str | None = None
    trading_state: str | None = None


class Day(msgspec.Struct, frozen=True):
    """A day in which health changed: seconds by state, and what it was at the end."""

    at: datetime
    healthy_s: float
    unhealthy_s: float
    stale_s: float
    last_state: str


class Span(msgspec.Struct, frozen=True):
    """The same health from ``begin`` to ``end``."""

    begin: datetime
    end: datetime
    change: Change


class Spent(msgspec.Struct):
    """Seconds by state."""

    healthy: float = 0.0
    unhealthy: float = 0.0
    stale: float = 0.0
    unknown: float = 0.0

    def add(self, state: str, seconds: float) -> None:
        """So much more of a state."""
        setattr(self, state, getattr(self, state) + seconds)

    def take(self, other: Spent) -> None:
        """All of another."""
        for state in STATES:
            self.add(state, getattr(other, state))

    @property
    def observed(self) -> float:
        """When health was known to be good or bad."""
        return self.healthy + self.unhealthy

    @property
    def ratio(self) -> float | None:
        """Uptime from 0 to 1, and 1 only where it was never down; None where nobody looked."""
        if not self.observed:
            return None
        return min(round(self.healthy / self.observed, 6), _ALMOST_ALL if self.unhealthy else 1.0)


def spans(before: Change | None, changes: Sequence[Change], begin: datetime, end: datetime) -> list[Span]:
    """Spans from ``begin`` to ``end``, without a hole: where nothing was told, health was unknown.

    ``before`` is what health was before ``changes``, which are oldest first; the last of them that is no later than
    ``begin`` says what it was when the time began. Two in a row that say the same are one span.
    """
    found: list[Span] = []
    earlier = [change for change in changes if change.at <= begin]
    first = earlier[-1] if earlier else before or Change(begin, "unknown")
    edges = [first, *(change for change in changes if begin < change.at < end)]
    for number, change in enumerate(edges):
        starts = max(change.at, begin)
        ends = edges[number + 1].at if number + 1 < len(edges) else end
        if ends <= starts:
            continue
        if found and _same(found[-1].change, change):
            found[-1] = Span(found[-1].begin, ends, found[-1].change)
        else:
            found.append(Span(starts, ends, change))
    return found


def _same(one: Change, other: Change) -> bool:
    return (one.state, one.reason, one.trading_state) == (other.state, other.reason, other.trading_state)


def last_seen(changes: Sequence[Change], before: Change | None, seen_until: datetime | None) -> Change | None:
    """A change to ``unknown`` at the end of what was seen, where health is said to have been something ever since.

    Nobody tells that nobody looks: while the poller is away the last change stands. ``seen_until`` is how long the last
    look is good for.
    """
    newest = changes[-1] if changes else before
    if newest is None or newest.state == "unknown" or seen_until is None:
        return None
    return Change(max(seen_until, newest.at), "unknown")


def by_step(found: Iterable[Span], starts: Sequence[datetime], step: timedelta) -> list[Spent]:
    """What was spent in each of the steps that begin at ``starts``, which follow on each other."""
    spent = [Spent() for _ in starts]
    if not starts:
        return spent
    for span in found:
        number = max(0, int((span.begin - starts[0]) / step))
        while number < len(starts) and starts[number] < span.end:
            seconds = (min(span.end, starts[number] + step) - max(span.begin, starts[number])).total_seconds()
            spent[number].add(span.change.state, max(0.0, seconds))
            number += 1
    return spent


def days_spent(
    before: str, days: Sequence[Day], begin: datetime, end: datetime, seen_until: datetime | None = None
) -> Iterator[tuple[datetime, Spent]]:
    """What was spent on each day from ``begin`` to ``end``: as told, or all day what the day before ended with.

    No row tells that nobody looks, so what a day ended with holds no longer than ``seen_until``, as in ``last_seen``.
    """
    told = {day.at: day for day in days}
    state, at = before, begin
    while at < end:
        day = told.get(at)
        spent = Spent()
        if day is None:
            spent.add(state, _DAY.total_seconds())
        else:
            known = day.healthy_s + day.unhealthy_s + day.stale_s
            spent = Spent(day.healthy_s, day.unhealthy_s, day.stale_s, max(0.0, _DAY.total_seconds() - known))
            state = day.last_state
        if seen_until is not None and seen_until < at + _DAY:
            silent = min((at + _DAY - max(seen_until, at)).total_seconds(), getattr(spent, state))
            spent.add(state, -silent)
            spent.add("unknown", silent)
        yield at, spent
        at += _DAY
