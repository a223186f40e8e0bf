"""The time-weighted return of the equity and its largest fall.

A fund's unit price: it moves with the equity between cash flows and stands still across them, so a deposit is no gain
and a withdrawal no loss. (Time-weighted rate of return, the method of the Global Investment Performance Standards.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from .money import EXACT, ONE, ZERO, money, text

_INDEX_UNIT = Decimal(1).scaleb(-24)

SMALLEST_BASE = Decimal("0.0001")
"""Below this equity the rounding of amounts, not the market, would make the return; the index then stands still."""


@dataclass(slots=True)
class ReturnIndex:
    """The value of one unit (1 at the start), its highest value so far, and the deepest fall from a high (0..1)."""

    value: Decimal = ONE
    peak: Decimal = ONE
    deepest_fall: Decimal = ZERO
    equity: Decimal = ZERO
    """The equity that the next mark is compared with."""

    def mark(self, equity: Decimal) -> None:
        """Move the index by what the equity gained or lost since the last mark or flow."""
        if self.equity >= SMALLEST_BASE:
            moved = EXACT.divide(EXACT.multiply(self.value, equity), self.equity)
            self.value = moved.quantize(_INDEX_UNIT, context=EXACT)
        self.equity = equity

    def flow(self, equity_after: Decimal) -> None:
        """Take a new equity over without moving the index. Call `mark` with the equity before the flow first."""
        self.equity = equity_after

    def close_tick(self) -> None:
        """Take the index into account for the highest value and the deepest fall: one sample a tick."""
        self.peak = max(self.peak, self.value)
        self.deepest_fall = max(self.deepest_fall, money(ONE - EXACT.divide(self.value, self.peak)))

    def snapshot(self) -> dict[str, str]:
        """Everything that `restore` needs, as JSON."""
        return {
            "value": text(self.value),
            "peak": text(self.peak),
            "deepest_fall": text(self.deepest_fall),
            "equity": text(self.equity),
        }

    @classmethod
    def restore(cls, snapshot: Mapping[str, str]) -> "ReturnIndex":
        """The index that a snapshot was taken of."""
        return cls(**{name: Decimal(value) for name, value in snapshot.items()})
