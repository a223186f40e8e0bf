"""Equity curves as the chart takes them: which time they span, and where nothing was known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

import msgspec

RANGES: dict[str, timedelta | None] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "all": None,
}
DEFAULT_RANGE = "day"
_ROWS = 20
_BIN_S = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "6h": 21600, "1d": 86400}


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


def chosen_range(asked: str | None) -> str:
    """``asked`` where it is one of ours, else the usual one."""
    return asked if asked in RANGES else DEFAULT_RANGE


def beginning(chosen: str, created_at: datetime, now: datetime | None = None) -> datetime:
    """Where a range begins. ``created_at`` is where everything begins."""
    moment = now or datetime.now(UTC)
    span = RANGES[chosen]
    return moment - span if span is not None else min(created_at, moment - timedelta(minutes=1))


def with_gaps(readings: Sequence[Reading], interval: str, usual: timedelta) -> list[tuple[datetime, str | None]]:
    """The readings, oldest first, with an unknown point in each stretch that is too long to draw a line across.

    Too long is twice what lies between two readings when all is well: the interval of the series, or ``usual`` where
    that is longer.
    """
    longest = 2 * max(usual, timedelta(seconds=_BIN_S.get(interval, 0)))
    points: list[tuple[datetime, str | None]] = []
    for reading in readings:
        if points and reading.at - points[-1][0] > longest:
            points.append((points[-1][0] + (reading.at - points[-1][0]) / 2, None))
        points.append((reading.at, None if reading.equity is None else format(reading.equity, "f")))
    return points


def newest(readings: Sequence[Any]) -> list[Any]:
    """The rows of the table below a curve, newest first."""
    return list(reversed(readings[-_ROWS:]))
