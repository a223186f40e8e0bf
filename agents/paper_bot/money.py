"""Exact decimal arithmetic: the one place that rounds.

Amounts of money and quantities of the traded asset have eight decimal places, like the control plane's `numeric(24,8)`.
Every product is rounded once, here; sums of rounded amounts are exact, which is what makes the ledger add up.
"""

from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_UP, Context, Decimal, localcontext
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

ZERO = Decimal(0)
ONE = Decimal(1)
PLACES = 8
UNIT = Decimal(1).scaleb(-PLACES)
"""The smallest amount of money and the smallest quantity."""

# Sixty digits hold any product of two bounded inputs before it is rounded; Python's default of 28 would not.
EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


def exact(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function with enough digits that only the roundings written in this module ever happen."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with localcontext(EXACT):
            return function(*args, **kwargs)

    return run


def money(value: Decimal) -> Decimal:
    """Round to the smallest amount, half to even."""
    return value.quantize(UNIT, rounding=ROUND_HALF_EVEN, context=EXACT)


def notional(quantity: Decimal, price: Decimal) -> Decimal:
    """What a quantity is worth at a price."""
    return money(EXACT.multiply(quantity, price))


def fee_on(value: Decimal, rate: Decimal) -> Decimal:
    """The fee on a traded value, rounded up: an exchange never rounds its fee in the customer's favour."""
    return EXACT.multiply(value, rate).quantize(UNIT, rounding=ROUND_UP, context=EXACT)


def share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """The share of an amount that belongs to `part` of `whole`; the rest is what remains after subtracting it."""
    return money(EXACT.divide(EXACT.multiply(amount, part), whole))


def ratio(part: Decimal, whole: Decimal) -> Decimal:
    """`part / whole` with eight decimal places; `whole` must not be zero."""
    return money(EXACT.divide(part, whole))


def quantity_for(spend: Decimal, price: Decimal) -> Decimal:
    """The largest quantity that costs at most `spend` at a price, fees apart."""
    return EXACT.divide(spend, price).quantize(UNIT, rounding=ROUND_DOWN, context=EXACT)


def quantity_covering(value: Decimal, price: Decimal) -> Decimal:
    """The smallest quantity worth at least `value` at a price, fees apart."""
    return EXACT.divide(value, price).quantize(UNIT, rounding=ROUND_UP, context=EXACT)


def text(value: Decimal) -> str:
    """Write a decimal for JSON: plain digits, no exponent, no trailing zeros, no negative zero."""
    if value == ZERO:
        return "0"
    plain = format(value, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
