"""The ledger: every change of cash and of holdings goes through here, and it always adds up.

Two identities hold exactly after every operation, whatever happened before:

    cash   = the sum of the amounts of all entries
    equity = cash + position value = capital base + realised profit + open profit

The second follows from the way positions carry their average cost: a sale takes a share of it out, rounded once, and
what is left is the difference, not another rounding. Fees are inside the profits: a purchase's fee is part of what the
position has cost, a sale's fee lowers its proceeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from .money import ZERO, notional, ratio, share, text
from .records import CashFlow, Entry, EntryKind, Fill, Position, Trade, document, position_from


class LedgerError(Exception):
    """An operation would break the ledger (negative cash, or a sale of what is not held); nothing was changed."""


@dataclass(slots=True)
class Totals:
    """Running sums over the ledger's whole life."""

    capital_base: Decimal = ZERO
    realized_profit: Decimal = ZERO
    fees_paid: Decimal = ZERO
    closed_trades: int = 0
    winning_trades: int = 0
    entries: int = 0


class Ledger:
    """Cash, positions and totals, with the entries and trades that were added since the last `drain`."""

    def __init__(self) -> None:
        self.cash = ZERO
        self.totals = Totals()
        self._positions: dict[tuple[str, str], Position] = {}
        self._new_entries: list[Entry] = []
        self._new_trades: list[Trade] = []

    def deposit(self, flow: CashFlow, at: datetime) -> None:
        """Add capital; raises LedgerError unless the amount is positive."""
        if flow.amount <= ZERO:
            raise LedgerError("a deposit must be positive")
        self.totals.capital_base += flow.amount
        self._enter("deposit", flow.amount, at, flow=flow)

    def withdraw(self, flow: CashFlow, at: datetime) -> None:
        """Take capital out; raises LedgerError unless the amount is negative and the cash covers it."""
        if flow.amount >= ZERO or self.cash + flow.amount < ZERO:
            raise LedgerError("a withdrawal must be negative and covered by cash")
        self.totals.capital_base += flow.amount
        self._enter("withdrawal", flow.amount, at, flow=flow)

    def reject(self, flow: CashFlow, at: datetime, reason: str) -> None:
        """Record that a withdrawal was refused: no cash moves, and its id is used up."""
        self._enter("withdrawal_rejected", ZERO, at, flow=flow, reason=reason)

    def buy(self, fill: Fill) -> None:
        """Turn cash into a larger position; raises LedgerError when the cash does not cover value and fee."""
        if fill.tag is None or fill.quantity <= ZERO or fill.value + fill.fee > self.cash:
            raise LedgerError("a purchase needs a tag, a positive quantity and enough cash")
        key = (fill.venue, fill.tag)
        held = self._positions.get(key, Position(*key, ZERO, ZERO, ZERO, fill.at))
        self._positions[key] = replace(
            held, quantity=held.quantity + fill.quantity, cost=held.cost + fill.value, fees=held.fees + fill.fee
        )
        self._enter("buy", -fill.value, fill.at, fill=fill)
        self._charge(fill)

    def sell(self, fill: Fill) -> Trade:
        """Turn the oldest matching positions into cash and book the profit; raises LedgerError when less is held."""
        if not ZERO < fill.quantity <= self.held(fill.venue, fill.tag):
            raise LedgerError("a sale needs a positive quantity that is held")
        closed = self._take(fill)
        cost, fees = sum((part.cost for part in closed), ZERO), sum((part.fees for part in closed), ZERO)
        profit = fill.value - fill.fee - cost - fees
        self.totals.closed_trades += 1
        self.totals.winning_trades += profit > ZERO
        self.totals.realized_profit += profit
        self._enter("sell", fill.value, fill.at, fill=fill)
        self._charge(fill)
        trade = Trade(
            id=self.totals.closed_trades,
            venue=fill.venue,
            tag=fill.tag,
            quantity=fill.quantity,
            entry_price=ratio(cost, fill.quantity),
            exit_price=fill.price,
            fees=fees + fill.fee,
            profit=profit,
            opened_at=min(part.opened_at for part in closed),
            closed_at=fill.at,
            reason=fill.reason,
        )
        self._new_trades.append(trade)
        return trade

    def held(self, venue: str, tag: str | None = None) -> Decimal:
        """The quantity held on a venue, under one tag or under all."""
        return sum((held.quantity for held in self._matching(venue, tag)), ZERO)

    def positions(self) -> list[Position]:
        """Open positions, oldest first."""
        return list(self._positions.values())

    def open_cost(self) -> Decimal:
        """What everything held has cost, fees included."""
        return sum((held.paid for held in self._positions.values()), ZERO)

    def position_value(self, prices: Mapping[str, Decimal]) -> Decimal:
        """What everything held is worth at one price per venue, before the fees of selling it."""
        return sum((notional(self.held(venue), price) for venue, price in prices.items()), ZERO)

    def drain(self) -> tuple[list[Entry], list[Trade]]:
        """Hand over the records made since the last call, for storing."""
        entries, trades = self._new_entries, self._new_trades
        self._new_entries, self._new_trades = [], []
        return entries, trades

    def snapshot(self) -> dict[str, object]:
        """Everything that `restore` needs, as JSON."""
        totals = self.totals
        return {
            "cash": text(self.cash),
            "capital_base": text(totals.capital_base),
            "realized_profit": text(totals.realized_profit),
            "fees_paid": text(totals.fees_paid),
            "closed_trades": totals.closed_trades,
            "winning_trades": totals.winning_trades,
            "entries": totals.entries,
            "positions": [document(held) for held in self._positions.values()],
        }

    @classmethod
    def restore(cls, snapshot: Mapping[str, object]) -> "Ledger":
        """The ledger that a snapshot was taken of."""
        ledger = cls()
        ledger.cash = Decimal(str(snapshot["cash"]))
        ledger.totals = Totals(
            capital_base=Decimal(str(snapshot["capital_base"])),
            realized_profit=Decimal(str(snapshot["realized_profit"])),
            fees_paid=Decimal(str(snapshot["fees_paid"])),
            closed_trades=int(str(snapshot["closed_trades"])),
            winning_trades=int(str(snapshot["winning_trades"])),
            entries=int(str(snapshot["entries"])),
        )
        held = snapshot["positions"]
        positions = [position_from(item) for item in held] if isinstance(held, list) else []
        ledger._positions = {(position.venue, position.tag): position for position in positions}
        return ledger

    def _matching(self, venue: str, tag: str | None) -> list[Position]:
        return [held for held in self._positions.values() if held.venue == venue and tag in {None, held.tag}]

    def _take(self, fill: Fill) -> list[Position]:
        """Remove the sold quantity from the oldest matching positions; returns what was removed, with its cost."""
        wanted, taken = fill.quantity, list[Position]()
        for held in self._matching(fill.venue, fill.tag):
            quantity = min(wanted, held.quantity)
            if quantity == ZERO:
                break
            cost, fees = share(held.cost, quantity, held.quantity), share(held.fees, quantity, held.quantity)
            taken.append(replace(held, quantity=quantity, cost=cost, fees=fees))
            rest = replace(held, quantity=held.quantity - quantity, cost=held.cost - cost, fees=held.fees - fees)
            if rest.quantity:
                self._positions[held.venue, held.tag] = rest
            else:
                del self._positions[held.venue, held.tag]
            wanted -= quantity
        return taken

    def _charge(self, fill: Fill) -> None:
        if fill.fee > ZERO:
            self.totals.fees_paid += fill.fee
            self._enter("fee", -fill.fee, fill.at, fill=fill)

    def _enter(
        self,
        kind: EntryKind,
        amount: Decimal,
        at: datetime,
        *,
        flow: CashFlow | None = None,
        fill: Fill | None = None,
        reason: str | None = None,
    ) -> None:
        self.cash += amount
        self.totals.entries += 1
        entry = Entry(
            id=self.totals.entries,
            at=at,
            kind=kind,
            amount=amount,
            balance=self.cash,
            reason=fill.reason if fill else reason,
            flow_id=flow.id if flow else None,
            requested=flow.amount if flow and kind == "withdrawal_rejected" else None,
            flow_at=flow.at if flow else None,
            venue=fill.venue if fill else None,
            quantity=fill.quantity if fill else None,
            price=fill.price if fill else None,
        )
        self._new_entries.append(entry)
