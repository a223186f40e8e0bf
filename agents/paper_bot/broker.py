"""Executes orders on paper: fills at the given prices, with fees, and only what the ledger can carry."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from .ledger import Ledger
from .market import Candle
from .money import ONE, UNIT, ZERO, fee_on, notional, quantity_covering, quantity_for
from .orders import Fees, Order
from .records import CashFlow, Fill


class Broker:
    """The only writer of fills. An order that cannot be carried out is dropped whole, never half done."""

    def __init__(self, ledger: Ledger, fees: Fees) -> None:
        self._ledger = ledger
        self._fees = fees

    def at_market(self, order: Order, candle: Candle, at: datetime) -> bool:
        """Execute at the closing price as a taker; returns whether it was filled."""
        return self._execute(order, candle.close, self._fees.taker, at)

    def at_limit(self, order: Order, candle: Candle, at: datetime) -> bool:
        """Execute a resting order as a maker if the candle reached its limit; returns whether it was filled.

        A candle that opens beyond the limit fills at its opening price, which is the better one for the order.
        """
        if order.limit is None:
            return False
        if order.side == "buy":
            reached, price = candle.low <= order.limit, min(order.limit, candle.open)
        else:
            reached, price = candle.high >= order.limit, max(order.limit, candle.open)
        return reached and self._execute(order, price, self._fees.maker, at)

    def withdraw(self, flow: CashFlow, prices: Mapping[str, Decimal], at: datetime) -> bool:
        """Pay a withdrawal, selling the oldest positions at market as far as the cash does not cover it.

        Returns False, and changes nothing, when even selling everything would not raise the amount.
        """
        if -flow.amount > self._ledger.cash + self._sale_proceeds(prices):
            return False
        for venue, price in prices.items():
            needed = -flow.amount - self._ledger.cash
            if needed > ZERO:
                self._raise_cash(needed, venue, price, at)
        self._ledger.withdraw(flow, at)
        return True

    def close_all(self, prices: Mapping[str, Decimal], at: datetime) -> None:
        """Sell everything at market, as the bot winds down."""
        for venue, price in prices.items():
            held = self._ledger.held(venue)
            value = notional(held, price)
            if held > ZERO and value > ZERO:
                self._ledger.sell(Fill(venue, None, held, price, fee_on(value, self._fees.taker), at, "drain"))

    def _sale_proceeds(self, prices: Mapping[str, Decimal]) -> Decimal:
        """What selling everything at market would bring, after fees."""
        values = [notional(self._ledger.held(venue), price) for venue, price in prices.items()]
        return sum((value - fee_on(value, self._fees.taker) for value in values), ZERO)

    def _raise_cash(self, needed: Decimal, venue: str, price: Decimal, at: datetime) -> None:
        """Sell on one venue just enough to have `needed` after fees, or all of it."""
        held = self._ledger.held(venue)
        quantity = min(held, quantity_covering(needed, price * (ONE - self._fees.taker)))
        while quantity < held and self._net(quantity, price) < needed:
            # Value and fee are rounded, so the computed quantity can fall short by the last digit.
            quantity = min(held, quantity + max(UNIT, quantity_covering(UNIT, price)))
        if quantity > ZERO:
            fee = fee_on(notional(quantity, price), self._fees.taker)
            self._ledger.sell(Fill(venue, None, quantity, price, fee, at, "withdrawal"))

    def _net(self, quantity: Decimal, price: Decimal) -> Decimal:
        value = notional(quantity, price)
        return value - fee_on(value, self._fees.taker)

    def _execute(self, order: Order, price: Decimal, rate: Decimal, at: datetime) -> bool:
        quantity = self._quantity(order, price, rate)
        value = notional(quantity, price)
        if quantity <= ZERO or value <= ZERO:
            return False
        fill = Fill(order.venue, order.tag, quantity, price, fee_on(value, rate), at, order.reason)
        if order.side == "buy":
            self._ledger.buy(fill)
        else:
            self._ledger.sell(fill)
        return True

    def _quantity(self, order: Order, price: Decimal, rate: Decimal) -> Decimal:
        """What can be traded of an order: all that a sale's position still holds, a purchase wholly or not at all."""
        if order.side == "sell":
            return min(order.quantity, self._ledger.held(order.venue, order.tag))
        quantity = order.quantity or quantity_for(order.spend, price * (ONE + rate))
        budget = min(self._ledger.cash, order.spend) if order.spend else self._ledger.cash
        if order.spend > self._ledger.cash:
            return ZERO
        while quantity > ZERO and notional(quantity, price) + fee_on(notional(quantity, price), rate) > budget:
            if order.quantity:
                return ZERO
            # Value and fee are rounded, so the computed quantity can exceed the budget by the last digit.
            quantity -= max(UNIT, quantity_for(UNIT, price))
        return max(quantity, ZERO)
