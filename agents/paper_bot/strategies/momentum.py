"""Momentum: hold while a fast moving average is above a slow one."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from ..fields import ConfigError, Fields
from ..market import PRIMARY
from ..money import ONE, money, notional
from ..orders import Order, View

_TAG = "momentum"


@dataclass(frozen=True, slots=True)
class Momentum:
    """Enters when the fast simple moving average crosses above the slow one; leaves below it or at a loss."""

    fast: int
    slow: int
    fraction: Decimal
    stop_loss: Decimal | None
    venues: tuple[str, ...] = (PRIMARY,)

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Parameters: `fast` 5 and `slow` 20 ticks; `fraction` 0.95 of the equity per entry, as far as the cash goes;
        `stop_loss` 0.05 under the cost including fees, 0 for none.
        """
        fast = fields.integer("fast", 5, least=1, most=1000)
        slow = fields.integer("slow", 20, least=2, most=5000)
        if fast >= slow:
            raise ConfigError(fields.name("fast"), "must be smaller than slow")
        return cls(
            fast=fast,
            slow=slow,
            fraction=fields.decimal("fraction", "0.95", least="0.0001", most="1"),
            stop_loss=fields.decimal("stop_loss", "0.05", least="0", most="0.99") or None,
        )

    @property
    def window(self) -> int:
        """The slow average of this tick and of the one before."""
        return self.slow + 1

    def decide(self, view: View) -> list[Order]:
        """Leave on the reverse or the stop; enter on a fresh cross, so that a stopped bot does not return at once."""
        held = view.position(_TAG)
        if held:
            if self.stop_loss and notional(held.quantity, view.price) <= held.paid * (ONE - self.stop_loss):
                return [Order("sell", "exit", _TAG, "stop_loss", quantity=held.quantity)]
            if len(view.closes) >= self.slow and self._lead(view.closes) < 0:
                return [Order("sell", "exit", _TAG, "trend_ended", quantity=held.quantity)]
            return []
        if len(view.closes) > self.slow and self._lead(view.closes) > 0 and self._lead(view.closes[:-1]) <= 0:
            spend = min(view.cash, money(view.equity * self.fraction))
            return [Order("buy", "entry", _TAG, "trend_began", spend=spend)]
        return []

    def resting(self, view: View) -> list[Order]:  # noqa: ARG002 - trades at market only
        """None."""
        return []

    def _lead(self, closes: Sequence[Decimal]) -> Decimal:
        """A number with the sign of fast average minus slow average; cross-multiplied, so that nothing is rounded."""
        fast, slow = sum(closes[-self.fast :], Decimal(0)), sum(closes[-self.slow :], Decimal(0))
        return fast * self.slow - slow * self.fast
