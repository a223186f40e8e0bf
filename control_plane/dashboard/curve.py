"""Equity curves as the chart takes them: which time they span, and where nothing was known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Protocol

import msgspec

from control_plane.performance.schemas import PerformanceView

RANGES: dict[str, timedelta | None] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "all": None,
}
DEFAULT_RANGE = "day"
_ROWS = 20


class Reading(Protocol):
    """A point of a series as the services give it."""

    @property
    def at(self) -> datetime:
        """When it was read."""

    @property
    def equity(self) -> Decimal | None:
        """None where it is not known."""


class Curve(msgspec.Struct, frozen=True):
    """What the chart fetches: amounts as decimal strings, null for a stretch of which nothing is known."""

    currency: str | None
    points: list[tuple[datetime, str | None]]


class BotCurve(msgspec.Struct, frozen=True):
    """The same of one bot, with how far below its highest value its index stood at each point: 0.1 = 10 %."""

    currency: str | None
    points: list[tuple[datetime, str | None]]
    drawdowns: list[str | None]


def bot_curve(series: PerformanceView) -> BotCurve:
    """The curve of a bot. Where nothing was read, the series has said so already."""
    return BotCurve(
        series.currency,
        [(point.at, _written(point.equity)) for point in series.points],
        [_written(point.drawdown) for point in series.points],
    )


def _written(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def chosen_range(asked: str | None) -> str:
    """``asked`` where it is one of ours, else the usual one."""
    return asked if asked in RANGES else DEFAULT_RANGE


def beginning(chosen: str, created_at: datetime, now: datetime | None = None) -> datetime:
    """Where a range begins. ``created_at`` is where everything begins."""
    moment = now or datetime.now(UTC)
    span = RANGES[chosen]
    return moment - span if span is not None else min(created_at, moment - timedelta(minutes=1))


def with_gaps(readings: Sequence[Reading], step_s: float, silence: timedelta) -> list[tuple[datetime, str | None]]:
    """The readings, oldest first, with an unknown point in each stretch that is too long to draw a line across.

    Too long is ``silence``; of points that are further apart anyway, two steps of the series, or three of what lies
    between two of them when all is well.
    """
    longest = max(silence, 2 * timedelta(seconds=step_s), 3 * _usual(readings))
    points: list[tuple[datetime, str | None]] = []
    for reading in readings:
        if points and reading.at - points[-1][0] > longest:
            points.append((points[-1][0] + (reading.at - points[-1][0]) / 2, None))
        points.append((reading.at, None if reading.equity is None else format(reading.equity, "f")))
    return points


def _usual(readings: Sequence[Reading]) -> timedelta:
    """What usually lies between two points. Never a large part of the whole: two points alone tell of no habit."""
    between = sorted(later.at - earlier.at for earlier, later in pairwise(readings))
    if not between:
        return timedelta(0)
    return min(between[len(between) // 4], (readings[-1].at - readings[0].at) / 100)


def newest(readings: Sequence[Any]) -> list[Any]:
    """The rows of the table below a curve, newest first."""
    return list(reversed(readings[-_ROWS:]))
