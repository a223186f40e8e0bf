"""The figures above a list of bots."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from control_plane.dashboard.wording import bot_words, read


@dataclass(slots=True)
class Total:
    """Sums over bots of one currency and one kind of money: simulated and real money never meet in a sum."""

    currency: str
    simulated: bool
    equity: Decimal = Decimal(0)
    profit: Decimal | None = Decimal(0)
    """Realised and open profit together; `None` as soon as one bot's is not known."""
    bots: int = 0

    def add(self, latest: Any) -> None:
        """Add the latest figures of one bot."""
        self.bots += 1
        self.equity += Decimal(read(latest, "equity"))
        realised, still_open = read(latest, "realized_profit"), read(latest, "open_profit")
        if self.profit is None or realised is None or still_open is None:
            self.profit = None
        else:
            self.profit += Decimal(realised) + Decimal(still_open)


@dataclass(slots=True)
class FleetSummary:
    """How many bots there are, how many ask for attention, and what they hold as far as it is known."""

    bots: int = 0
    attention: int = 0
    unknown: int = 0
    """Bots whose equity is not known: they are in no total, and the page says so."""
    totals: list[Total] = field(default_factory=list)


def summarise(bots: Iterable[Any]) -> FleetSummary:
    """Sum up bots as the API reads them. Give it all of a tenant's bots: a sum over one page of them would mislead."""
    summary, totals = FleetSummary(), dict[tuple[str, bool], Total]()
    for bot in bots:
        summary.bots += 1
        summary.attention += bot_words(bot).tone in {"bad", "warn"}
        latest = read(bot, "latest")
        equity, currency, simulated = (read(latest, name) for name in ("equity", "currency", "simulated"))
        if equity is None or currency is None or simulated is None:
            summary.unknown += 1
            continue
        totals.setdefault((currency, simulated), Total(currency, simulated)).add(latest)
    summary.totals = sorted(totals.values(), key=lambda total: (total.simulated, total.currency))
    return summary
