"""Drawdown of a bot's own index: how far it stands below its highest value so far, 0.1 = 10 %.

At each reading: drawdown = 1 - value / highest value up to it; the worst of a span is the largest of these (the usual
peak-to-trough definition of *maximum drawdown*; see Magdon-Ismail and Atiya, "Maximum Drawdown", Risk 17(10), 2004).
It is taken of the time-weighted index and not of the equity, so that a withdrawal is no drawdown and a deposit hides
none. A reading without an index counts for nothing: what happened where nobody looked is not guessed.

A span is summed up by four figures that compose: for two spans one after the other, the worst drawdown is that of the
first, that of the second, or the fall from the high of the first to the low of the second. So years of readings need
no more than the figures of their days.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import reduce

import msgspec

_PLACES = Decimal("1e-8")


class Stretch(msgspec.Struct, frozen=True):
    """What a stretch of readings with at least one known value comes to."""

    high: Decimal
    low: Decimal
    last: Decimal
    worst: Decimal

    @property
    def current(self) -> Decimal:
        """How far the last value stands below the highest."""
        return fall(self.high, self.last)


def fall(high: Decimal, low: Decimal) -> Decimal:
    """The drawdown at ``low`` after ``high``; nothing can be lost of nothing."""
    return max(Decimal(0), 1 - low / high) if high > 0 else Decimal(0)


def joined(earlier: Stretch | None, later: Stretch | None) -> Stretch | None:
    """Two stretches as one; None is a stretch in which nothing was known."""
    if earlier is None or later is None:
        return later if earlier is None else earlier
    return Stretch(
        high=max(earlier.high, later.high),
        low=min(earlier.low, later.low),
        last=later.last,
        worst=max(earlier.worst, later.worst, fall(earlier.high, later.low)),
    )


def single(value: Decimal | None) -> Stretch | None:
    """One reading."""
    return None if value is None else Stretch(value, value, value, Decimal(0))


def whole(stretches: Iterable[Stretch | None]) -> Stretch | None:
    """Stretches one after the other as one."""
    return reduce(joined, stretches, None)


def rounded(share: Decimal) -> Decimal:
    """A drawdown as it is told."""
    return share.quantize(_PLACES)
