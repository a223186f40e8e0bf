"""Prices are functions of seed and step, with the statistics that their parameters promise."""

from decimal import Decimal
from itertools import pairwise
from math import log
from statistics import correlation, fmean, stdev

from hypothesis import given
from hypothesis import strategies as st

from agents.paper_bot.market import PRIMARY, SECONDARY, Market
from agents.paper_bot.noise import brownian, gaussian, mean_reverting
from tests.unit.paper_bot.support import config_of, flat, handover, seeded


def market_of(document: dict[str, object], strategy: str = "arbitrage") -> Market:
    return config_of(handover({"type": strategy}, document)).market


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**9))
def test_a_step_is_the_same_whoever_asks_and_when(seed: int, step: int) -> None:
    one, other = market_of(seeded(seed)), market_of(seeded(seed))
    one.candle(max(0, step - 3), PRIMARY)
    assert [one.candle(step, venue) for venue in (PRIMARY, SECONDARY)] == [
        other.candle(step, venue) for venue in (PRIMARY, SECONDARY)
    ]


def test_steps_join_without_gaps_on_the_tick_size() -> None:
    market = market_of(seeded(tick_size="0.5"))
    assert market.candle(0, PRIMARY).close == 50000
    for step in range(1, 200):
        candle = market.candle(step, PRIMARY)
        assert candle.open == market.candle(step - 1, PRIMARY).close
        assert candle.close % Decimal("0.5") == 0


def test_seeds_differ() -> None:
    assert market_of(seeded(1)).candle(5, PRIMARY) != market_of(seeded(2)).candle(5, PRIMARY)


def test_brownian_steps_are_independent_standard_normals() -> None:
    path = [brownian(3, "price", step) for step in range(4001)]
    steps = [after - before for before, after in pairwise(path)]
    assert abs(fmean(steps)) < 0.05
    assert abs(stdev(steps) - 1) < 0.05
    assert abs(correlation(steps[:-1], steps[1:])) < 0.05
    assert stdev(gaussian(3, "other", number) for number in range(4000)) - 1 < 0.05


def test_relative_changes_have_the_given_volatility_and_drift() -> None:
    market = market_of(seeded(volatility="0.004", drift="0.001"))
    closes = [float(market.candle(step, PRIMARY).close) for step in range(4001)]
    changes = [log(after / before) for before, after in pairwise(closes)]
    assert abs(stdev(changes) - 0.004) < 0.0002
    assert abs(fmean(changes) - (0.001 - 0.004**2 / 2)) < 0.0003


def test_the_spread_returns_to_zero_at_its_half_life() -> None:
    spread = [mean_reverting(3, "spread", step, 5) for step in range(4000)]
    assert abs(stdev(spread) - 1) < 0.1
    assert abs(correlation(spread[:-5], spread[5:]) - 0.5) < 0.1


def test_a_price_stays_within_its_bounds_for_ever() -> None:
    fallen = market_of(seeded(drift="-0.1")).candle(10**12, PRIMARY).close
    risen = market_of(seeded(drift="0.1")).candle(10**12, PRIMARY).close
    assert fallen == Decimal("0.01")
    assert risen == Decimal("1000000000")


def test_the_tick_size_fits_the_price_level() -> None:
    cheap = market_of(seeded(start_price="0.5")).candle(3, PRIMARY).close
    assert cheap % Decimal("0.0000001") == 0
    assert Decimal("0.4") < cheap < Decimal("0.6")


def test_candles_hold_after_the_last() -> None:
    market = market_of({"kind": "candles", "candles": flat("100", "101", "99")}, "dca")
    assert market.length == 3
    assert market.candle(3, PRIMARY).close == 99
    assert market.candle(4, PRIMARY) == market.candle(400, PRIMARY)
    assert market.candle(4, PRIMARY).high == market.candle(4, PRIMARY).low == 99
