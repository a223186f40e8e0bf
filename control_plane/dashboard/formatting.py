"""How pages write amounts, shares, counts and times. What is not known is written as such, never as zero.

Amounts are decimals all the way: a float is refused, since it would show digits that nobody measured.
"""

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

UNKNOWN = "–"
MINUS = "−"

_MOST_PLACES = 8  # as many as the database keeps
_TWO_PLACES = frozenset({"USD", "EUR", "GBP", "CHF", "USDT", "USDC", "BUSD", "DAI", "FDUSD", "TUSD"})

Amount = Decimal | int | str


def money(value: Amount | None, currency: str | None = None, *, signed: bool = False) -> str:
    """Write an amount with grouped digits and its currency, such as `10,250.40 USDT`; `–` when it is not known.

    Dollar-like currencies get two places, others up to eight. A small amount keeps two significant digits instead of
    being rounded to zero. `signed` adds a plus to a gain.
    """
    number = _decimal(value)
    if number is None:
        return UNKNOWN
    least = 2
    rounded = number.quantize(Decimal(1).scaleb(-least), ROUND_HALF_EVEN)
    if currency not in _TWO_PLACES:
        text = _grouped(number, _MOST_PLACES, least)
    elif rounded == 0 and number != 0:
        text = _grouped(number, min(_MOST_PLACES, 1 - number.adjusted()), least)
    else:
        text = _grouped(rounded, least, least)
    return _signed(text, signed=signed) + (f" {currency}" if currency else "")


def percent(value: Amount | None, places: int = 2, *, signed: bool = False) -> str:
    """Write a share or a return, given as a ratio (0.0125), as a percentage (`1.25%`); `–` when it is not known."""
    number = _decimal(value)
    if number is None:
        return UNKNOWN
    return _signed(_grouped(number * 100, places, places), signed=signed) + "%"


def count(value: int | None) -> str:
    """Write a number of things with grouped digits; `–` when it is not known."""
    return UNKNOWN if value is None else f"{value:,}"


def duration(milliseconds: float | None) -> str:
    """Write a short duration, given in milliseconds, such as `12 ms` or `1.4 s`; `–` when it is not known."""
    if milliseconds is None:
        return UNKNOWN
    if milliseconds < 1:
        return "under 1 ms"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def tone(value: Amount | None) -> str:
    """Tell whether an amount is a `gain`, a `loss`, `even` or `unknown`: the word that styles it."""
    number = _decimal(value)
    if number is None:
        return "unknown"
    if number == 0:
        return "even"
    return "gain" if number > 0 else "loss"


def ago(value: datetime | None, now: datetime | None = None) -> str:
    """Write how long ago a moment was, or how far ahead it is, in words; from 30 days on, its date.

    The page's script goes on with the same words (`frontend/src/time.js`): change both together.
    """
    if value is None:
        return UNKNOWN
    distance = _aware(now or datetime.now(UTC)) - _aware(value)
    size = abs(distance)
    if size < timedelta(seconds=5):
        return "just now"
    for name, length, below in _STEPS:
        if size < below:
            number = size // length
            amount = f"{number} {name}{'' if number == 1 else 's'}"
            return f"{amount} ago" if distance > timedelta() else f"in {amount}"
    return _date(value)


_STEPS = (
    ("second", timedelta(seconds=1), timedelta(minutes=1)),
    ("minute", timedelta(minutes=1), timedelta(hours=1)),
    ("hour", timedelta(hours=1), timedelta(days=1)),
    ("day", timedelta(days=1), timedelta(days=30)),
)


def when(value: datetime | None) -> str:
    """Write a moment in full, such as `21 Nov 2026, 01:47:05 UTC`; `–` when it is not known."""
    return UNKNOWN if value is None else f"{_date(value)}, {_aware(value).astimezone(UTC):%H:%M:%S} UTC"


def iso(value: datetime) -> str:
    """Write a moment for machines (RFC 3339, UTC): the `datetime` attribute of a `<time>`."""
    return _aware(value).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _decimal(value: Amount | None) -> Decimal | None:
    if value is None:
        return None
    if isinstance(value, float | bool):
        raise TypeError(f"an amount is a decimal or a decimal string, not a {type(value).__name__}")
    number = Decimal(value)
    return number if number.is_finite() else None


def _grouped(number: Decimal, most: int, least: int) -> str:
    """Write a decimal with at most `most` places and without trailing zeros beyond `least`."""
    whole, _, fraction = f"{number.quantize(Decimal(1).scaleb(-most), ROUND_HALF_EVEN):,f}".partition(".")
    fraction = fraction.rstrip("0").ljust(least, "0")
    return f"{whole}.{fraction}" if fraction else whole


def _signed(text: str, *, signed: bool) -> str:
    """Give a written number a real minus sign, and on request a plus; one that was rounded to zero has neither."""
    digits = text.lstrip("-")
    if not digits.strip("0.,"):
        return digits
    if text.startswith("-"):
        return MINUS + digits
    return f"+{digits}" if signed else digits


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time without a zone cannot be shown: nobody knows when it is")
    return value


def _date(value: datetime) -> str:
    moment = _aware(value).astimezone(UTC)
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


# Not strftime's %b: it follows the process's locale, and a page has one language.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def size(value: float | None) -> str:
    """Write a number of bytes with three digits, such as `23.1 MiB`; `–` when it is not known."""
    if value is None:
        return UNKNOWN
    amount, unit = float(value), 0
    while amount >= 1024 and unit < len(_SIZES) - 1:
        amount, unit = amount / 1024, unit + 1
    places = 0 if unit == 0 or amount >= 100 else 1
    return f"{amount:.{places}f} {_SIZES[unit]}"


_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def cores(value: float | None) -> str:
    """Write a use of processors in whole cores, such as `0.25 cores`; `–` when it is not known."""
    return UNKNOWN if value is None else f"{value:.2f} cores"
