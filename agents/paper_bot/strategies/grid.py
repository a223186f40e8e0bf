"""Grid trading: buy each time the price falls to a line, sell what was bought there one line higher."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from ..fields import ConfigError, Fields
from ..market import HIGHEST_PRICE, LOWEST_PRICE, PRIMARY
from ..money import ONE, money
from ..orders import Order, View


@dataclass(frozen=True, slots=True)
class Grid:
    """Equal intervals between two prices. Each buys at its lower line and sells at its upper line, again and again."""

    lower: Decimal | None
    upper: Decimal | None
    span: Decimal
    levels: int
    amount_per_level: Decimal | None
    venues: tuple[str, ...] = (PRIMARY,)
    window: int = 1

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Parameters: `lower` and `upper`, or else `span` 0.1 below and above the opening price; `levels` 10 intervals;
        `amount_per_level`, or else the equity divided by the levels.
        """
        lower = fields.optional_decimal("lower", least=LOWEST_PRICE, most=HIGHEST_PRICE)
        upper = fields.optional_decimal("upper", least=LOWEST_PRICE, most=HIGHEST_PRICE)
        if (lower is None) != (upper is None):
            raise ConfigError(
                fields.name("upper" if upper is None else "lower"), "is missing; give lower and upper, or neither"
            )
        if lower is not None and upper is not None and lower >= upper:
            raise ConfigError(fields.name("upper"), "must be higher than lower")
        return cls(
            lower=lower,
            upper=upper,
            span=fields.decimal("span", "0.1", least="0.0001", most="0.9"),
            levels=fields.integer("levels", 10, least=1, most=200),
            amount_per_level=fields.optional_decimal("amount_per_level", least="0.00000001", most="1000000000000"),
        )

    def decide(self, view: View) -> list[Order]:  # noqa: ARG002 - trades with resting orders only
        """None."""
        return []

    def resting(self, view: View) -> list[Order]:
        """For each interval a sale at its upper line if it holds something, else a purchase at its lower line.

        A purchase rests only below the current price: at or above it, it would trade at once as a taker.
        """
        lines = self.lines(view.opening_price)
        spend = self.amount_per_level or money(view.equity / self.levels)
        orders = []
        for interval in range(self.levels):
            tag = f"grid-{interval}"
            held = view.position(tag)
            if held:
                orders.append(Order("sell", "exit", tag, "grid", quantity=held.quantity, limit=lines[interval + 1]))
            elif lines[interval] < view.price:
                orders.append(Order("buy", "entry", tag, "grid", spend=spend, limit=lines[interval]))
        return orders

    def lines(self, opening_price: Decimal) -> list[Decimal]:
        """The prices of the grid's lines, lowest first; one more than there are intervals."""
        lower = self.lower or money(opening_price * (ONE - self.span))
        upper = self.upper or money(opening_price * (ONE + self.span))
        return [money(lower + (upper - lower) * line / self.levels) for line in range(self.levels + 1)]
