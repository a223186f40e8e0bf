"""Where prices come from: a seeded random process or given candles. Step k is the same whenever it is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from math import exp, log
from typing import Protocol

from .fields import ConfigError, Fields
from .money import EXACT, UNIT
from .noise import brownian, mean_reverting

PRIMARY = "primary"
SECONDARY = "secondary"
VENUES = (PRIMARY, SECONDARY)

LOWEST_PRICE = "0.00000001"
HIGHEST_PRICE = "1000000000"
_DEFAULT_START_PRICE = "50000"
_MOST_CANDLES = 100_000


@dataclass(frozen=True, slots=True)
class Candle:
    """The prices of one step on one venue."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


class Market(Protocol):
    """Prices by step. Step 0 is the opening, before the first tick; step k belongs to tick k."""

    @property
    def length(self) -> int | None:
        """The last step, or None for a market that never ends."""

    def candle(self, step: int, venue: str) -> Candle:
        """The prices of a step; those after the last step hold its closing price."""


class SeededMarket:
    """Geometric Brownian motion on the primary venue; the secondary follows it with a mean-reverting spread.

    `drift` is the expected and `volatility` the standard deviation of the relative change in one tick:
    price(k) = start x exp((drift - volatility^2 / 2) k + volatility W(k)), rounded to the tick size.
    The secondary price is the primary's times exp(spread volatility x a mean-reverting path of variance 1).
    """

    length = None

    def __init__(
        self,
        *,
        seed: int,
        start_price: Decimal,
        drift: float,
        volatility: float,
        tick_size: Decimal,
        spread_volatility: float,
        spread_half_life: int,
    ) -> None:
        self._seed = seed
        self._start = start_price
        self._growth = drift - volatility * volatility / 2
        self._volatility = volatility
        self._tick_size = tick_size
        self._spread_volatility = spread_volatility
        self._half_life = spread_half_life
        self._price = lru_cache(maxsize=64)(self._compute)

    def candle(self, step: int, venue: str) -> Candle:
        """The step from the previous price to this one, as a candle without a range beyond the two."""
        before, after = self._price(max(step - 1, 0), venue), self._price(step, venue)
        return Candle(before, max(before, after), min(before, after), after)

    def _compute(self, step: int, venue: str) -> Decimal:
        level = log(float(self._start)) + self._growth * step
        level += self._volatility * brownian(self._seed, "price", step)
        if venue == SECONDARY:
            level += self._spread_volatility * mean_reverting(self._seed, "spread", step, self._half_life)
        level = min(max(level, log(float(LOWEST_PRICE))), log(float(HIGHEST_PRICE)))
        ticks = EXACT.divide(Decimal(exp(level)), self._tick_size).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
        return EXACT.multiply(max(ticks, Decimal(1)), self._tick_size)


class CandleMarket:
    """Given candles, one a tick; after the last one prices stand still."""

    def __init__(self, candles: Mapping[str, list[Candle]]) -> None:
        self._candles = candles
        self.length: int = len(candles[PRIMARY])

    def candle(self, step: int, venue: str) -> Candle:
        """The given candle of a step, or a flat one before the first and after the last."""
        series = self._candles[venue]
        if step < 1:
            return _flat(series[0].open)
        return series[step - 1] if step <= self.length else _flat(series[-1].close)


def read_market(fields: Fields, *, venues: tuple[str, ...], seed: int) -> Market:
    """Read `config.market` but for its interval, with `seed` where none is given; raises ConfigError."""
    if fields.choice("kind", ("seeded", "candles"), "seeded") == "seeded":
        return _read_seeded(fields, seed)
    names = {PRIMARY: "candles", SECONDARY: "secondary_candles"}
    series = {venue: _read_candles(fields, names[venue]) for venue in venues}
    if len({len(candles) for candles in series.values()}) > 1:
        raise ConfigError(fields.name("secondary_candles"), "must have as many candles as candles")
    return CandleMarket(series)


def _read_seeded(fields: Fields, seed: int) -> SeededMarket:
    start = fields.decimal("start_price", _DEFAULT_START_PRICE, least=LOWEST_PRICE, most=HIGHEST_PRICE)
    # Seven significant digits suit any price level: 0.01 at 50000, 0.0000001 at 0.5.
    fitting = max(Decimal(1).scaleb(start.adjusted() - 6), UNIT)
    return SeededMarket(
        seed=fields.integer("seed", seed, least=-(2**63), most=2**63 - 1),
        start_price=start,
        drift=float(fields.decimal("drift", "0", least="-0.1", most="0.1")),
        volatility=float(fields.decimal("volatility", "0.002", least="0", most="0.2")),
        tick_size=fields.decimal("tick_size", str(fitting), least=LOWEST_PRICE, most=str(start)),
        spread_volatility=float(fields.decimal("spread_volatility", "0.003", least="0", most="0.1")),
        spread_half_life=fields.integer("spread_half_life", 10, least=1, most=50),
    )


def _read_candles(fields: Fields, field: str) -> list[Candle]:
    items = fields.items(field)
    if not 1 <= len(items) <= _MOST_CANDLES:
        raise ConfigError(fields.name(field), f"must be a list of 1 to {_MOST_CANDLES} candles")
    return [_read_candle(Fields(item, f"{fields.name(field)}[{position}]")) for position, item in enumerate(items)]


def _read_candle(fields: Fields) -> Candle:
    prices = {
        name: fields.decimal(name, least=LOWEST_PRICE, most=HIGHEST_PRICE) for name in ("open", "high", "low", "close")
    }
    fields.done()
    candle = Candle(**prices)
    if not candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high:
        raise ConfigError(fields.path, "must have low <= open and close <= high")
    return candle


def _flat(price: Decimal) -> Candle:
    return Candle(price, price, price, price)
