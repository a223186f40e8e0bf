"""Bringing what bots say to values that we keep: bounded, finite, printable, and unknown where they say nothing."""

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

from agents.engines.base import ReadFailure, Reason

_KEPT = Decimal("1e-8")
_DIGITS = 16
_MAX_COUNT = 2**31
_LONGEST_WORD = 32
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


def amount(value: Decimal | None) -> Decimal | None:
    """An amount of money or coins, rounded to the eight decimals that are kept; at most sixteen digits before them.

    A NaN or an infinity is what programs say of a number that they do not know: unknown. Raises `ReadFailure` for
    anything larger: such a number is a fault, not a fortune.
    """
    if value is None or not value.is_finite():
        return None
    # By exponent: with an absurd one even taking the absolute value overflows.
    if value and value.adjusted() >= _DIGITS:
        raise _impossible_amount()
    # Adding zero turns a rounded -0 into 0.
    kept = value.quantize(_KEPT) + 0
    if kept.adjusted() >= _DIGITS:
        raise _impossible_amount()
    return kept


def share(value: Decimal | None) -> Decimal | None:
    """A share from 0 to 1; what lies outside cannot be a share and counts as unknown."""
    if value is None or not value.is_finite() or not 0 <= value <= 1:
        return None
    return value.quantize(_KEPT)


def count(value: int | None) -> int | None:
    """A number of things. Raises `ReadFailure` where it is negative or absurd."""
    if value is not None and not 0 <= value < _MAX_COUNT:
        raise ReadFailure(Reason.BAD_PAYLOAD, "The bot reports a count that cannot be.", reachable=True)
    return value


def word(text: str | None) -> str | None:
    """A short lower-case word such as a state; anything else counts as unknown."""
    # Few words are told again and again; nothing long is kept.
    return None if text is None or len(text) > _LONGEST_WORD else _word(text)


@lru_cache(1024)
def _word(text: str) -> str | None:
    lowered = text.lower()
    return lowered if 0 < len(lowered) <= _LONGEST_WORD and _WORD.issuperset(lowered) else None


def label(text: str | None, longest: int = 64) -> str | None:
    """Printable text such as a version, cut to `longest` characters; unknown where nothing is left."""
    if text is None:
        return None
    kept = text if text.isprintable() else "".join(filter(str.isprintable, text))
    return kept.strip()[:longest] or None


def moment(epoch_seconds: Decimal | None) -> datetime | None:
    """A time told in seconds since 1970; unknown where it lies outside the years that can be told."""
    if epoch_seconds is None or not epoch_seconds.is_finite() or not 0 < epoch_seconds < 253_402_300_799:
        return None
    return datetime.fromtimestamp(float(epoch_seconds), UTC)


def age(then: datetime | None, now: datetime) -> float | None:
    """Seconds from `then` to `now`; zero where the bot's clock is ahead of ours."""
    return None if then is None else max(0.0, (now - then).total_seconds())


def _impossible_amount() -> ReadFailure:
    return ReadFailure(Reason.BAD_PAYLOAD, "The bot reports an amount that cannot be.", reachable=True)
