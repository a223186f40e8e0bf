"""Bodies of performance."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from control_plane.amounts import Figures

Interval = Literal["raw", "1m", "5m", "15m", "1h", "6h", "1d"]
#: What a curve may come in: the last two are chosen for spans of years.
CurveInterval = Literal["raw", "1m", "5m", "15m", "1h", "6h", "1d", "7d", "30d"]


class PointView(Figures, frozen=True):
    """The last reading of an interval. ``return`` is time-weighted since the bot's first figure, 0.01 = 1 %.

    ``drawdown`` is how far that index stands below its highest value in the span so far. A point of which every figure
    is null marks a stretch without readings.
    """

    at: datetime
    equity: Decimal | None
    capital_base: Decimal | None
    realized_profit: Decimal | None
    open_profit: Decimal | None
    return_: Decimal | None = msgspec.field(name="return")
    drawdown: Decimal | None = None


class GapView(msgspec.Struct, frozen=True):
    """A stretch in which nothing was read."""

    from_: datetime = msgspec.field(name="from")
    to: datetime


class DrawdownView(Figures, frozen=True):
    """How far the bot's index stands below its highest value, and how far it ever stood: 0.1 = 10 %.

    ``current`` is null where the newest reading told no index, and where nothing has been read for too long.
    """

    current: Decimal | None = None
    maximum: Decimal | None = None


class PerformanceView(msgspec.Struct, frozen=True):
    """A series. ``points`` hold one currency only, and either simulated money or real one: where a bot changes from one
    to another, a new series begins. ``complete`` is false where the interval that was asked for made more
    points than there may be: these are the newest.

    ``drawdown`` is of the time shown, ``drawdown_since_start`` of all time up to now. Both are of our own readings.
    """

    currency: str | None
    simulated: bool | None
    interval: str
    points: list[PointView]
    gaps: list[GapView] = []
    drawdown: DrawdownView = DrawdownView()
    drawdown_since_start: DrawdownView = DrawdownView()
    complete: bool = True


class UptimeView(msgspec.Struct, frozen=True):
    """``ratio`` is the share of ``observed_s`` in which the bot was healthy; null where nobody looked.

    Observed is when its health was known to be good or bad. ``unobserved_s`` is the rest: nobody looked, or the bot
    asked for fewer calls.
    """

    ratio: float | None
    healthy_s: float
    observed_s: float
    unobserved_s: float


class SpanView(msgspec.Struct, frozen=True):
    """From when to when a bot's health was the same. ``unknown``: nobody looked."""

    from_: datetime = msgspec.field(name="from")
    to: datetime
    state: str
    reason: str | None
    text: str | None
    trading_state: str | None


class LatencyView(msgspec.Struct, frozen=True):
    """Milliseconds to the answer of the liveness call, to within 10 %; null where there was none."""

    readings: int
    median_ms: float | None
    p95_ms: float | None


class BucketView(msgspec.Struct, frozen=True):
    """Uptime and latency from ``at`` on, for the answer's ``interval``."""

    at: datetime
    uptime: UptimeView
    latency: LatencyView


class TimelineView(msgspec.Struct, frozen=True):
    """Health over time. ``spans`` are the newest, oldest first; ``complete`` is false where there were more."""

    from_: datetime = msgspec.field(name="from")
    to: datetime
    interval: str
    uptime: UptimeView
    latency: LatencyView
    spans: list[SpanView]
    complete: bool
    buckets: list[BucketView]
