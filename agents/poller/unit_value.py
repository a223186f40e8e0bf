"""A bot's time-weighted index: what one unit put in at the first figure is worth now, whatever was paid in or out."""

from __future__ import annotations

from decimal import Decimal, localcontext

import msgspec

_KEPT = Decimal("1e-12")
_LIMIT = Decimal("1e12")
_ONE = Decimal(1)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the index needs of one reading. Amounts are in ``currency``; None is unknown."""

    currency: str | None
    equity: Decimal | None
    capital_base: Decimal | None
    closed_trades: int | None
    simulated: bool | None


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The newest earlier figures at which the index was known."""

    figures: Figures
    unit_value: Decimal


def unit_value(previous: Mark | None, now: Figures, *, anew: bool = False) -> Decimal | None:
    """The index at ``now``; None where it cannot be known.

    Chain-linked (true time-weighted) return: value = previous value x (equity - flow) / previous equity, where the
    flow is the change of the net deposits since then. It begins at 1. Where the two figures are not of one story
    (another currency, money made up before and real now or the other way, or a counter of closed trades that fell, so
    the bot began anew; or ``anew``, where something else told so) or nothing was left to grow from, the chain goes on
    from the last value: a reset is neither a loss nor a gain.
    """
    if now.equity is None or now.capital_base is None:
        return None
    if previous is None:
        return _ONE if now.equity > 0 else None
    before = previous.figures
    if anew or before.equity is None or before.capital_base is None or before.equity <= 0 or _began_anew(before, now):
        return previous.unit_value
    grown = now.equity - (now.capital_base - before.capital_base)
    if grown < 0:
        # Less than nothing cannot be a value: the bot owes, or told its equity and its deposits of different moments.
        return None
    with localcontext(prec=60):
        value = previous.unit_value * grown / before.equity
        return value.quantize(_KEPT) if value < _LIMIT else None


def _began_anew(before: Figures, now: Figures) -> bool:
    if before.currency != now.currency:
        return True
    if before.simulated is not None and now.simulated is not None and before.simulated != now.simulated:
        return True
    return (
        before.closed_trades is not None and now.closed_trades is not None and now.closed_trades < before.closed_trades
    )
