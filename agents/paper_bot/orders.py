"""What a strategy sees and what it may ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol

from .market import PRIMARY, Candle
from .money import ZERO, fee_on, notional
from .records import Position


@dataclass(frozen=True, slots=True)
class Fees:
    """Fee rates as parts of the traded value: resting orders pay `maker`, market orders `taker`."""

    maker: Decimal
    taker: Decimal


@dataclass(frozen=True, slots=True)
class View:
    """The bot's world after one step: prices, what it holds, what it could spend."""

    step: int
    candles: Mapping[str, Candle]
    closes: Sequence[Decimal]
    """Closing prices of the primary venue, oldest first, this step's last: at most as many as the strategy's window."""
    opening_price: Decimal
    """The primary price before the first tick."""
    cash: Decimal
    equity: Decimal
    positions: Sequence[Position]
    fees: Fees

    @property
    def price(self) -> Decimal:
        """The current price on the primary venue."""
        return self.candles[PRIMARY].close

    def position(self, tag: str, venue: str = PRIMARY) -> Position | None:
        """The open position with this tag, or None."""
        return next((held for held in self.positions if held.tag == tag and held.venue == venue), None)

    def buying_cost(self, quantity: Decimal, price: Decimal) -> Decimal:
        """What a purchase at market takes out of the cash, fee included."""
        value = notional(quantity, price)
        return value + fee_on(value, self.fees.taker)


@dataclass(frozen=True, slots=True)
class Order:
    """A wish to trade. Without a `limit` it trades at once at the closing price, with one it rests for the next step.

    A purchase names either the cash to `spend`, fee included, or a `quantity`; a sale names a quantity.
    Entries are not made while the bot is paused; exits are.
    """

    side: Literal["buy", "sell"]
    intent: Literal["entry", "exit"]
    tag: str
    reason: str
    venue: str = PRIMARY
    quantity: Decimal = ZERO
    spend: Decimal = ZERO
    limit: Decimal | None = None


class Strategy(Protocol):
    """A pure decider. It keeps nothing between calls: what it did before shows in the positions."""

    @property
    def window(self) -> int:
        """How many closing prices it wants to see."""

    @property
    def venues(self) -> tuple[str, ...]:
        """The venues it trades on."""

    def decide(self, view: View) -> list[Order]:
        """Orders to execute at once, at this step's closing prices."""

    def resting(self, view: View) -> list[Order]:
        """Limit orders that wait for the next step's prices."""
