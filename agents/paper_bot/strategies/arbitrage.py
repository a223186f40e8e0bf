"""Arbitrage between two venues: sell where the asset is dear, buy the same quantity where it is cheap.

Nothing is lent or sent between the venues: the bot keeps an inventory of the asset on both, so every sale is covered.
The pairs leave the total inventory unchanged and add their spread, less fees, to the cash; the inventory itself gains
and loses with the price.
"""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Self

from ..fields import Fields
from ..market import VENUES
from ..money import ONE, UNIT, ZERO, money, notional
from ..orders import Order, View

_TAG = "inventory"


@dataclass(frozen=True, slots=True)
class Arbitrage:
    """Trades a pair on every tick on which the relative difference of the two prices exceeds `min_spread`."""

    min_spread: Decimal
    order_fraction: Decimal
    inventory_fraction: Decimal
    inventory_band: Decimal
    venues: tuple[str, ...] = VENUES
    window: int = 1

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Parameters: `min_spread` 0.004; `order_fraction` 0.1 of the whole inventory per pair; `inventory_fraction`
        0.5 of the equity held as inventory, refilled when it is worth less than that by `inventory_band` 0.2.
        """
        return cls(
            min_spread=fields.decimal("min_spread", "0.004", least="0", most="1"),
            order_fraction=fields.decimal("order_fraction", "0.1", least="0.0001", most="1"),
            inventory_fraction=fields.decimal("inventory_fraction", "0.5", least="0.01", most="0.95"),
            inventory_band=fields.decimal("inventory_band", "0.2", least="0.01", most="1"),
        )

    def decide(self, view: View) -> list[Order]:
        """Build or refill the inventory; otherwise trade a pair if the spread pays."""
        missing = self._missing_inventory(view)
        if missing > ZERO:
            half = min(missing, view.cash) / len(self.venues)
            spend = half.quantize(UNIT, rounding=ROUND_DOWN)
            return [Order("buy", "entry", _TAG, "inventory", venue=venue, spend=spend) for venue in self.venues]
        cheap, dear = sorted(self.venues, key=lambda venue: view.candles[venue].close)
        buying, selling = view.candles[cheap].close, view.candles[dear].close
        quantity = self._pair_quantity(view, dear)
        if (
            selling < buying * (ONE + self.min_spread)
            or quantity <= ZERO
            or view.buying_cost(quantity, buying) > view.cash
        ):
            return []
        return [
            Order("sell", "entry", _TAG, "spread", venue=dear, quantity=quantity),
            Order("buy", "entry", _TAG, "spread", venue=cheap, quantity=quantity),
        ]

    def resting(self, view: View) -> list[Order]:  # noqa: ARG002 - both legs must trade at once
        """None."""
        return []

    def _missing_inventory(self, view: View) -> Decimal:
        """How much inventory to buy, in money; zero while the shortfall is within the band."""
        worth = sum((notional(held.quantity, view.candles[held.venue].close) for held in view.positions), ZERO)
        target = money(view.equity * self.inventory_fraction)
        return target - worth if worth < target * (ONE - self.inventory_band) else ZERO

    def _pair_quantity(self, view: View, dear: str) -> Decimal:
        total = sum((held.quantity for held in view.positions), ZERO)
        covered = view.position(_TAG, dear)
        wanted = (total * self.order_fraction).quantize(UNIT, rounding=ROUND_DOWN)
        return min(wanted, covered.quantity) if covered else ZERO
