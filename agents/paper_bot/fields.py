"""Reads one JSON object field by field; whatever is wrong is said with the field's full name and what to do about it.

Given values are never repeated in a message: the hand-over document carries secrets, and a misplaced one must not
end up in a log.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Self, TypeVar

from . import timestamps
from .money import EXACT, PLACES

T = TypeVar("T")

_DIGITS_LIMIT = 30


class ConfigError(Exception):
    """The hand-over document cannot be used; the message names the field and the remedy."""

    def __init__(self, field: str, remedy: str) -> None:
        super().__init__(f"{field}: {remedy}")
        self.field = field


class Fields:
    """One JSON object being read. Call `done()` at the end: a field that nobody asked for is a mistake worth naming."""

    def __init__(self, value: object, path: str = "") -> None:
        self.path = path
        if not isinstance(value, dict):
            raise ConfigError(path or "document", "must be a JSON object")
        self._values: dict[str, object] = value
        self._asked: set[str] = set()

    def name(self, field: str) -> str:
        """The full name of a field, as it is used in messages."""
        return f"{self.path}.{field}" if self.path else field

    def has(self, field: str) -> bool:
        """Whether the field is present and not null."""
        return self._values.get(field) is not None

    def child(self, field: str) -> Self:
        """A nested object."""
        return type(self)(self._default(field, self._take(field)), self.name(field))

    def optional_child(self, field: str, *, short: str | None = None) -> Self:
        """A nested object; an absent one reads as empty, and where `short` is given, a text as that one member."""
        value = self._take(field)
        if short is not None and isinstance(value, str):
            value = {short: value}
        return type(self)({} if value is None else value, self.name(field))

    def items(self, field: str) -> list[object]:
        """A list; an absent one is empty."""
        value = self._take(field)
        if value is None:
            return []
        if not isinstance(value, list):
            raise ConfigError(self.name(field), "must be a list")
        return value

    def text(self, field: str, default: str | None = None, *, longest: int = 200) -> str:
        """A non-empty text of printable characters."""
        value = self._take(field)
        if value is None:
            return self._default(field, default)
        if not isinstance(value, str) or not value or len(value) > longest or not value.isprintable():
            raise ConfigError(self.name(field), f"must be a text of 1 to {longest} printable characters")
        return value

    def choice(self, field: str, choices: Sequence[str], default: str | None = None) -> str:
        """One of the given words."""
        value = self._take(field)
        if value is None:
            return self._default(field, default)
        if not isinstance(value, str) or value not in choices:
            raise ConfigError(self.name(field), f"must be one of {', '.join(choices)}")
        return value

    def integer(self, field: str, default: int | None = None, *, least: int, most: int) -> int:
        """A whole number within bounds."""
        value = self._take(field)
        if value is None:
            return self._default(field, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ConfigError(self.name(field), f"must be a whole number from {least} to {most}")
        return value

    def decimal(self, field: str, default: str | None = None, *, least: str, most: str) -> Decimal:
        """A decimal number within bounds, as a text ("0.001") or a JSON number, with at most eight decimal places."""
        value = self._take(field)
        if value is None:
            return Decimal(self._default(field, default))
        number = _decimal(value)
        if number is None or not Decimal(least) <= number <= Decimal(most):
            raise ConfigError(
                self.name(field),
                f'must be a decimal such as "{default or least}", from {least} to {most}, 8 places at most',
            )
        return number

    def optional_decimal(self, field: str, *, least: str, most: str) -> Decimal | None:
        """As `decimal`, where null or absence means that the feature is off."""
        if not self.has(field):
            self._asked.add(field)
            return None
        return self.decimal(field, least=least, most=most)

    def moment(self, field: str) -> datetime:
        """A time with a zone."""
        value = self._take(field)
        try:
            return timestamps.from_text(value if isinstance(value, str) else "")
        except ValueError:
            raise ConfigError(self.name(field), 'must be an RFC 3339 time such as "2026-01-31T12:00:00Z"') from None

    def done(self) -> None:
        """Refuse fields that nothing asked for: they are misspelt or meant for something else."""
        unknown = sorted(set(self._values) - self._asked)
        if unknown:
            raise ConfigError(
                self.name(unknown[0]), f"is not known here; the known fields are {', '.join(sorted(self._asked))}"
            )

    def leftover(self) -> list[str]:
        """The full names of the fields that nothing asked for."""
        return [self.name(field) for field in sorted(set(self._values) - self._asked)]

    def _take(self, field: str) -> object:
        self._asked.add(field)
        return self._values.get(field)

    def _default(self, field: str, default: T | None) -> T:
        if default is None:
            raise ConfigError(self.name(field), "is missing; add it to the document")
        return default


def _decimal(value: object) -> Decimal | None:
    """Read a text or a JSON number as a finite decimal with few enough places; None when it is not one."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    exponent = number.normalize(EXACT).as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -PLACES or number.adjusted() > _DIGITS_LIMIT:
        return None
    return number
