"""Dollar-cost averaging: buy a fixed sum at regular times, sell everything once it is worth enough more."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from ..fields import Fields
from ..market import PRIMARY
from ..money import ONE, money, notional
from ..orders import Order, View

_TAG = "dca"


@dataclass(frozen=True, slots=True)
class DollarCostAveraging:
    """Buys at ticks 1, 1 + every, 1 + 2 every, …, as long as the cash lasts."""

    every_ticks: int
    amount: Decimal | None
    order_fraction: Decimal
    take_profit: Decimal | None
    venues: tuple[str, ...] = (PRIMARY,)
    window: int = 1

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Parameters: `every_ticks` 10; `amount` per purchase, or else `order_fraction` 0.02 of the equity;
        `take_profit` 0.02 over the average cost including fees, 0 to hold for ever.
        """
        target = fields.decimal("take_profit", "0.02", least="0", most="100")
        return cls(
            every_ticks=fields.integer("every_ticks", 10, least=1, most=1_000_000),
            amount=fields.optional_decimal("amount", least="0.00000001", most="1000000000000"),
            order_fraction=fields.decimal("order_fraction", "0.02", least="0.0001", most="1"),
            take_profit=target or None,
        )

    def decide(self, view: View) -> list[Order]:
        """Sell all at the target; otherwise buy when it is time."""
        held = view.position(_TAG)
        if held and self.take_profit and notional(held.quantity, view.price) >= held.paid * (ONE + self.take_profit):
            return [Order("sell", "exit", _TAG, "take_profit", quantity=held.quantity)]
        if (view.step - 1) % self.every_ticks:
            return []
        spend = self.amount or money(view.equity * self.order_fraction)
        return [Order("buy", "entry", _TAG, "scheduled", spend=spend)] if spend <= view.cash else []

    def resting(self, view: View) -> list[Order]:  # noqa: ARG002 - trades at market only
        """None."""
        return []
