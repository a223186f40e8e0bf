"""The bot's lasting records: what is held (positions), what moved cash (entries), what was closed (trades)."""

from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from . import timestamps
from .money import notional, text

EntryKind = Literal["deposit", "withdrawal", "withdrawal_rejected", "buy", "sell", "fee"]


@dataclass(frozen=True, slots=True)
class CashFlow:
    """Money that the owner puts in (amount > 0) or takes out (amount < 0); `id` makes it happen once only."""

    id: str
    amount: Decimal
    at: datetime


@dataclass(frozen=True, slots=True)
class Fill:
    """One executed order. `tag` names its position; a sale without one closes the oldest positions first."""

    venue: str
    tag: str | None
    quantity: Decimal
    price: Decimal
    fee: Decimal
    at: datetime
    reason: str

    @property
    def value(self) -> Decimal:
        """Quantity times price, fee apart."""
        return notional(self.quantity, self.price)


@dataclass(frozen=True, slots=True)
class Position:
    """What is held under one tag on one venue, at its average cost."""

    venue: str
    tag: str
    quantity: Decimal
    cost: Decimal
    fees: Decimal
    """The fees of the purchases, as far as what they bought is still held."""
    opened_at: datetime

    @property
    def paid(self) -> Decimal:
        """What the quantity has cost, fees included."""
        return self.cost + self.fees


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the cash ledger. `amount` changes the cash, `balance` is the cash after it."""

    id: int
    at: datetime
    kind: EntryKind
    amount: Decimal
    balance: Decimal
    reason: str | None
    flow_id: str | None = None
    requested: Decimal | None = None
    """What a rejected withdrawal asked for; its `amount` is zero because no cash moved."""
    flow_at: datetime | None = None
    venue: str | None = None
    quantity: Decimal | None = None
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Trade:
    """One closed trade: a sale with the part of the purchases that it closed. Profit is net of the fees of both."""

    id: int
    venue: str
    tag: str | None
    quantity: Decimal
    entry_price: Decimal
    exit_price: Decimal
    fees: Decimal
    profit: Decimal
    opened_at: datetime
    closed_at: datetime
    reason: str


def document(record: Entry | Trade | Position) -> dict[str, object]:
    """The JSON form of a record: decimals and times as texts."""
    return {name: _plain(value) for name, value in asdict(record).items()}


def position_from(document: dict[str, str]) -> Position:
    """Read back what `document` wrote for a position."""
    return Position(
        venue=document["venue"],
        tag=document["tag"],
        quantity=Decimal(document["quantity"]),
        cost=Decimal(document["cost"]),
        fees=Decimal(document["fees"]),
        opened_at=timestamps.from_text(document["opened_at"]),
    )


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return text(value)
    if isinstance(value, datetime):
        return timestamps.to_text(value)
    return value
