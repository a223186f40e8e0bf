"""The bot without clock, network and disk: cash flows, ticks and controls go in, figures and records come out.

Tick k depends on the configuration, the cash flows and controls before it, and k; so a bot that is stopped between any
two ticks and restored from its snapshot goes on exactly as if nothing had happened.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from . import timestamps
from .broker import Broker
from .ledger import Ledger
from .market import PRIMARY, Candle, Market
from .money import exact, ratio
from .orders import Fees, Order, Strategy, View
from .records import CashFlow, Entry, Trade
from .returns import ReturnIndex

TradingState = Literal["running", "paused", "stopped"]
Positions = Literal["keep", "close"]


@dataclass(frozen=True, slots=True)
class Changes:
    """What must become durable together: the new records and the state that follows from them."""

    entries: list[Entry]
    trades: list[Trade]
    snapshot: dict[str, object]


@dataclass(frozen=True, slots=True)
class Figures:
    """The performance at the last mark; amounts in the bot's currency."""

    as_of: datetime
    equity: Decimal
    cash: Decimal
    position_value: Decimal
    capital_base: Decimal
    realized_profit: Decimal
    open_profit: Decimal
    fees_paid: Decimal
    win_rate: Decimal | None
    closed_trades: int
    open_positions: int
    max_drawdown: Decimal | None


class Trader:
    """One bot's whole trading state, changed by `tick`, `apply_flow`, `set_state` and `wind_down` only."""

    def __init__(self, strategy: Strategy, market: Market, fees: Fees, started_at: datetime) -> None:
        self.tick_count = 0
        self.last_tick_at: datetime | None = None
        self.marked_at = started_at
        self.created_at = started_at
        self.state: TradingState = "running"
        self.draining: Positions | None = None
        """What becomes of positions as the bot winds down; None while it does not. Not kept: a new process trades."""
        self._strategy = strategy
        self._market = market
        self._fees = fees
        self._ledger = Ledger()
        self._returns = ReturnIndex()
        self._broker = Broker(self._ledger, fees)
        self._set_closes()

    @property
    def market_ended(self) -> bool:
        """Whether the last price there is has been seen; prices then stand still and nothing is traded any more."""
        return self._market.length is not None and self.tick_count >= self._market.length

    @property
    def price(self) -> Decimal:
        """The current price on the primary venue."""
        return self._candle(PRIMARY).close

    @exact
    def apply_flow(self, flow: CashFlow, at: datetime) -> None:
        """Take a deposit in, or pay a withdrawal out of cash and, if need be, of sales at market.

        A withdrawal of more than everything is worth after fees is recorded as rejected and changes nothing else.
        """
        self._returns.mark(self._equity())
        if flow.amount > 0:
            self._ledger.deposit(flow, at)
        else:
            self._pay(flow, at)
        self._returns.flow(self._equity())
        self.marked_at = at

    @exact
    def tick(self, at: datetime) -> None:
        """Go one step further: match resting orders with the new prices, then let the strategy decide on them."""
        resting = [] if self.market_ended else self._allowed(self._strategy.resting(self._view()))
        trading = not self.market_ended
        self.tick_count += 1
        self._closes.append(self.price)
        for order in resting:
            self._broker.at_limit(order, self._candle(order.venue), at)
        if trading:
            for order in self._allowed(self._strategy.decide(self._view())):
                self._broker.at_market(order, self._candle(order.venue), at)
        self._returns.mark(self._equity())
        self._returns.close_tick()
        self.last_tick_at = self.marked_at = at

    def set_state(self, state: TradingState) -> None:
        """Run (all orders), pause (exits only) or stop (no orders). Takes effect with the next tick.

        Whoever says so wants no winding down any more.
        """
        self.state = state
        self.draining = None

    @exact
    def wind_down(self, positions: Positions, at: datetime) -> None:
        """Make no order any more, those that rest included; with `close`, sell everything at market now."""
        self.draining = positions
        if positions == "close" and self._ledger.positions():
            self._returns.mark(self._equity())
            self._broker.close_all(self._prices(), at)
            self._returns.mark(self._equity())
            self.marked_at = at

    @exact
    def resting_orders(self) -> int:
        """How many orders wait for the next prices."""
        return 0 if self.market_ended else len(self._allowed(self._strategy.resting(self._view())))

    @exact
    def figures(self) -> Figures:
        """The performance now. Unknown is None: no win rate before a closed trade, no drawdown before a tick."""
        totals, value = self._ledger.totals, self._ledger.position_value(self._prices())
        closed = totals.closed_trades
        return Figures(
            as_of=self.marked_at,
            equity=self._ledger.cash + value,
            cash=self._ledger.cash,
            position_value=value,
            capital_base=totals.capital_base,
            realized_profit=totals.realized_profit,
            open_profit=value - self._ledger.open_cost(),
            fees_paid=totals.fees_paid,
            win_rate=ratio(Decimal(totals.winning_trades), Decimal(closed)) if closed else None,
            closed_trades=closed,
            open_positions=len(self._ledger.positions()),
            max_drawdown=self._returns.deepest_fall if self.tick_count else None,
        )

    def drain(self) -> Changes:
        """What changed since the last call, to be stored in one transaction."""
        entries, trades = self._ledger.drain()
        return Changes(entries, trades, self._snapshot())

    @exact
    def restore(self, snapshot: Mapping[str, object]) -> None:
        """Become the trader that a snapshot was taken of."""
        ledger, returns = snapshot["ledger"], snapshot["returns"]
        state, ticked_at = str(snapshot["trading_state"]), snapshot["last_tick_at"]
        if not isinstance(ledger, dict) or not isinstance(returns, dict):
            raise TypeError("the snapshot has no ledger or no return index")
        self.tick_count = int(str(snapshot["tick_count"]))
        self.last_tick_at = timestamps.from_text(str(ticked_at)) if ticked_at else None
        self.marked_at = timestamps.from_text(str(snapshot["marked_at"]))
        self.created_at = timestamps.from_text(str(snapshot["created_at"]))
        self.state = "paused" if state == "paused" else "stopped" if state == "stopped" else "running"
        self._ledger = Ledger.restore(ledger)
        self._returns = ReturnIndex.restore(returns)
        self._broker = Broker(self._ledger, self._fees)
        self._set_closes()

    def _snapshot(self) -> dict[str, object]:
        return {
            "tick_count": self.tick_count,
            "last_tick_at": timestamps.to_text(self.last_tick_at) if self.last_tick_at else None,
            "marked_at": timestamps.to_text(self.marked_at),
            "created_at": timestamps.to_text(self.created_at),
            "trading_state": self.state,
            "ledger": self._ledger.snapshot(),
            "returns": self._returns.snapshot(),
        }

    def _pay(self, flow: CashFlow, at: datetime) -> None:
        if -flow.amount > self._equity():
            self._ledger.reject(flow, at, "exceeds_equity")
            return
        if not self._broker.withdraw(flow, self._prices(), at):
            self._ledger.reject(flow, at, "exceeds_sale_proceeds")
            return
        # The sales' fees are a loss of the bot's, so the index sees the equity as it was just before the amount left.
        self._returns.mark(self._equity() - flow.amount)

    def _allowed(self, orders: list[Order]) -> list[Order]:
        if self.state == "stopped" or self.draining is not None:
            return []
        return [order for order in orders if self.state == "running" or order.intent == "exit"]

    def _view(self) -> View:
        return View(
            step=self.tick_count,
            candles={venue: self._candle(venue) for venue in self._strategy.venues},
            closes=list(self._closes),
            opening_price=self._market.candle(0, PRIMARY).close,
            cash=self._ledger.cash,
            equity=self._equity(),
            positions=self._ledger.positions(),
            fees=self._fees,
        )

    def _candle(self, venue: str) -> Candle:
        return self._market.candle(self.tick_count, venue)

    def _prices(self) -> dict[str, Decimal]:
        return {venue: self._candle(venue).close for venue in self._strategy.venues}

    def _equity(self) -> Decimal:
        return self._ledger.cash + self._ledger.position_value(self._prices())

    def _set_closes(self) -> None:
        """The last closing prices, asked of the market again instead of stored."""
        window = self._strategy.window
        first = max(1, self.tick_count - window + 1)
        steps = range(first, self.tick_count + 1)
        self._closes = deque((self._market.candle(step, PRIMARY).close for step in steps), maxlen=window)
