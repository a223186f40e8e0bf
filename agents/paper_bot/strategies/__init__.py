"""The four strategy types. Each is one file: its parameters with their defaults, and its decisions."""

from ..fields import Fields
from ..orders import Strategy
from .arbitrage import Arbitrage
from .dca import DollarCostAveraging
from .grid import Grid
from .momentum import Momentum

TYPES = ("dca", "grid", "momentum", "arbitrage")


def read_strategy(kind: str, fields: Fields) -> Strategy:
    """Read the parameters of a strategy type from `config.strategy`; raises ConfigError."""
    match kind:
        case "dca":
            return DollarCostAveraging.read(fields)
        case "grid":
            return Grid.read(fields)
        case "momentum":
            return Momentum.read(fields)
        case _:
            return Arbitrage.read(fields)
