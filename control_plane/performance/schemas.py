"""Bodies of performance."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from control_plane.amounts import Figures

Interval = Literal["raw", "1m", "5m", "15m", "1h", "6h", "1d"]


class PointView(Figures, frozen=True):
    """The last reading of an interval. ``return`` is time-weighted since the bot's first figure, 0.01 = 1 %."""

    at: datetime
    equity: Decimal | None
    capital_base: Decimal | None
    realized_profit: Decimal | None
    open_profit: Decimal | None
    return_: Decimal | None = msgspec.field(name="return")


class PerformanceView(msgspec.Struct, frozen=True):
    """A series. ``points`` hold one currency only; a change of currency begins a new series."""

    currency: str | None
    simulated: bool | None
    interval: str
    points: list[PointView]
