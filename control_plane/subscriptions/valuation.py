"""What a subscription is worth: pure arithmetic on Decimals, unknown stays None.

Dedicated: the subscription's bot trades exactly its money, so its worth is the bot's equity, its profit that equity
less the bot's capital base (the deposits and withdrawals that the bot has taken up), its return the bot's
time-weighted index less one.

Shared: units of the followed bot's index, as with a fund (worth = units x unit value + cash); profit is the worth less
the net of deposits and withdrawals; the return chains the index over the spans in which units were held.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal

import msgspec

_MONEY = Decimal("1e-8")
_UNITS = Decimal("1e-12")
# Python's usual 28 digits do not hold the largest amount at the smallest index.
_WIDE = Context(prec=60, rounding=ROUND_HALF_EVEN)


class Worth(msgspec.Struct, frozen=True):
    """The worth of a subscription at ``as_of``."""

    equity: Decimal | None
    net_deposits: Decimal | None
    profit: Decimal | None
    return_: Decimal | None
    as_of: datetime | None


class Movement(msgspec.Struct, frozen=True):
    """A ledger row as the valuation needs it."""

    at: datetime
    kind: str
    amount: Decimal
    units: Decimal | None
    unit_value: Decimal | None


def money(value: Decimal) -> Decimal:
    """``value`` in eight decimals."""
    return value.quantize(_MONEY, context=_WIDE)


def units_for(amount: Decimal, unit_value: Decimal) -> Decimal:
    """How many units ``amount`` buys (or, negative, redeems) at ``unit_value``, which must not be zero."""
    return _WIDE.divide(amount, unit_value).quantize(_UNITS, context=_WIDE)


def worth_of_units(units: Decimal, unit_value: Decimal) -> Decimal:
    """What ``units`` are worth at ``unit_value``, in eight decimals."""
    return money(_WIDE.multiply(units, unit_value))


def dedicated_worth(
    equity: Decimal | None, capital_base: Decimal | None, unit_value: Decimal | None, as_of: datetime | None
) -> Worth:
    """See the module's text."""
    known = equity is not None and capital_base is not None
    return Worth(
        equity=equity,
        net_deposits=capital_base,
        profit=equity - capital_base if known and equity is not None and capital_base is not None else None,
        return_=unit_value - 1 if unit_value is not None else None,
        as_of=as_of,
    )


def shared_worth(
    units: Decimal, cash: Decimal, unit_value: Decimal | None, movements: Sequence[Movement], as_of: datetime | None
) -> Worth:
    """See the module's text."""
    net = sum((item.amount for item in movements if item.kind in {"deposit", "withdrawal"}), Decimal(0))
    if units and unit_value is None:
        return Worth(equity=None, net_deposits=net, profit=None, return_=None, as_of=None)
    equity = worth_of_units(units, unit_value) + cash if unit_value is not None else cash
    return Worth(
        equity=equity,
        net_deposits=net,
        profit=equity - net,
        return_=chained_return(movements, unit_value),
        as_of=as_of,
    )


def chained_return(movements: Sequence[Movement], unit_value: Decimal | None) -> Decimal | None:
    """Time-weighted return of the spans in which units were held, 0.01 = 1 %.

    Product of (unit value at the end / unit value at the begin) over spans between a first deposit or a resume and a
    pause or a redemption, less one. None where a value is not known.
    """
    factor, begin = Decimal(1), None
    for item in movements:
        if item.kind in {"deposit", "resume"} and begin is None:
            begin = item.unit_value
        elif item.kind in {"pause", "redemption"} and begin:
            if item.unit_value is None:
                return None
            factor, begin = _grown(factor, begin, item.unit_value), None
    if begin:
        if unit_value is None:
            return None
        factor = _grown(factor, begin, unit_value)
    return (factor - 1).quantize(_UNITS, context=_WIDE)


def _grown(factor: Decimal, begin: Decimal, end: Decimal) -> Decimal:
    return _WIDE.divide(_WIDE.multiply(factor, end), begin)


def worth_over_time(
    movements: Sequence[Movement], index: Sequence[tuple[datetime, Decimal | None]]
) -> list[tuple[datetime, Decimal | None]]:
    """The worth of a shared subscription at each point of ``index`` (oldest first), by what was held at that time.

    The series ends with a redemption: what was paid out is not a worth of nothing afterwards.
    """
    points: list[tuple[datetime, Decimal | None]] = []
    units, cash, position = Decimal(0), Decimal(0), 0
    for at, unit_value in index:
        while position < len(movements) and movements[position].at <= at:
            units, cash = held_after(units, cash, movements[position])
            position += 1
        if position == 0:
            continue
        if movements[position - 1].kind == "redemption":
            break
        if not units:
            points.append((at, cash))
        else:
            points.append((at, None if unit_value is None else worth_of_units(units, unit_value) + cash))
    return points


def held_after(units: Decimal, cash: Decimal, movement: Movement) -> tuple[Decimal, Decimal]:
    """Units and cash after a movement. While paused, everything is cash."""
    moved = movement.units or Decimal(0)
    if movement.kind in {"pause", "resume"} and movement.unit_value is not None:
        return units + moved, cash - worth_of_units(moved, movement.unit_value)
    if movement.kind == "redemption":
        return Decimal(0), Decimal(0)
    if movement.units is None:
        return units, cash + movement.amount
    return units + moved, cash
