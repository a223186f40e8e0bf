"""Which interval shows a span, and where its readings are found: in rollups as far as they reach, else as they came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from control_plane.performance.schemas import CurveInterval

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
#: Intervals and their length; that of ``raw`` is what a reading is taken to be apart when nothing is known.
SECONDS: Final[dict[CurveInterval, int]] = {
    "raw": 15,
    "1m": 60,
    "5m": 300,
    "15m": 900,
    "1h": 3600,
    "6h": 21600,
    "1d": 86400,
    "7d": 604800,
    "30d": 2592000,
}
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


class Sources(msgspec.Struct, frozen=True):
    """From where to where (exclusive) days, hours and readings are taken."""

    days: tuple[datetime, datetime]
    hours: tuple[datetime, datetime]
    readings: tuple[datetime, datetime]


def chosen_interval(span: timedelta, points: int) -> CurveInterval:
    """The finest interval that shows ``span`` in about ``points`` points."""
    return next((name for name, length in SECONDS.items() if span.total_seconds() / length <= points), "30d")


def coarsened(interval: CurveInterval, span: timedelta, points: int) -> CurveInterval:
    """``interval``, or the next coarser one that shows ``span`` in at most so many points."""
    if interval == "raw":
        return interval  # nobody knows how many there are before they are counted
    fitting = chosen_interval(span, points)
    return max(interval, fitting, key=lambda name: SECONDS[name])


def floored(moment: datetime, step: timedelta) -> datetime:
    """The begin of the step that ``moment`` lies in."""
    return moment - (moment - EPOCH) % step


def ceiled(moment: datetime, step: timedelta) -> datetime:
    """The end of the step that ``moment`` lies in; where one begins, that moment."""
    return moment + (EPOCH - moment) % step


def sources(interval: CurveInterval, begin: datetime, end: datetime, ready: datetime) -> Sources:
    """Where the readings from ``begin`` to ``end`` are found, where rollups hold what arrived until ``ready``."""
    step = timedelta(seconds=SECONDS[interval])
    if step < _HOUR:
        return Sources((begin, begin), (begin, begin), (begin, end))
    first = floored(begin, step)
    hour = max(floored(min(ready, end), _HOUR), first)
    day = max(floored(hour, _DAY), first) if step >= _DAY else first
    return Sources((first, day), (day, hour), (max(hour, begin), end))
