"""Each strategy on candles that can be followed with pencil and paper."""

from decimal import Decimal
from typing import Any

import pytest

from agents.paper_bot.records import Trade
from agents.paper_bot.trader import Figures, Trader
from tests.unit.paper_bot.support import NO_FEES, deposit, flat, given, handover, plain, run, trader_of

THOUSAND = (deposit("1000"),)


def play(strategy: dict[str, object], market: dict[str, object], fees: dict[str, str] | None = None) -> Trader:
    document: dict[str, Any] = handover(strategy, market, fees=fees or NO_FEES, flows=THOUSAND)
    trader = trader_of(document)
    length = len(document["config"]["market"]["candles"])
    run(trader, length)
    return trader


def outcome(trader: Trader) -> tuple[Figures, list[Trade]]:
    return trader.figures(), trader.drain().trades


DCA: dict[str, object] = {"type": "dca", "every_ticks": 2, "amount": "100", "take_profit": "0.1"}


def test_dca_buys_in_time_and_sells_at_its_target() -> None:
    figures, trades = outcome(play(DCA, given("100", "100", "50", "50", "73", "80")))
    # Ticks 1, 3 and 5 buy 1, 2 and 100/73; 80 is 10 % over the average of 300 / 4.36986301 = 68.65.
    quantity = Decimal("3") + Decimal("1.36986301")
    assert [plain(trade.quantity, trade.exit_price, trade.reason) for trade in trades] == [
        ("4.36986301", "80", "take_profit")
    ]
    spent = Decimal("200") + Decimal("1.36986301") * 73
    assert figures.realized_profit == quantity * 80 - spent
    assert figures.cash == 1000 + figures.realized_profit
    assert plain(figures.win_rate, figures.open_positions) == ("1", 0)


def test_dca_spends_its_amount_including_the_fee() -> None:
    figures, _ = outcome(play({**DCA, "amount": "100.1"}, given("100"), {"taker": "0.001", "maker": "0"}))
    assert plain(figures.cash, figures.position_value, figures.fees_paid) == ("899.9", "100", "0.1")
    assert figures.open_profit == Decimal("-0.1")


def test_dca_holds_for_ever_without_a_target_and_stops_without_cash() -> None:
    figures, trades = outcome(
        play({**DCA, "amount": "400", "take_profit": "0"}, given("100", "100", "100", "900", "900"))
    )
    assert trades == []
    assert plain(figures.cash, figures.position_value) == ("200", "7200")
    assert figures.win_rate is None


def test_dca_by_default_spends_a_fiftieth_of_the_equity() -> None:
    figures, _ = outcome(play({"type": "dca"}, given("100")))
    assert plain(figures.cash, figures.position_value) == ("980", "20")


GRID: dict[str, object] = {"type": "grid", "lower": "90", "upper": "110", "levels": 2, "amount_per_level": "450"}


def test_grid_buys_at_lines_and_sells_one_line_higher() -> None:
    figures, trades = outcome(play(GRID, given("105", "99", "89", "101", "111")))
    # Bought 4.5 at 100 and 5 at 90; sold the 5 at 100 and the 4.5 at 110.
    assert [plain(trade.tag, trade.entry_price, trade.exit_price, trade.profit) for trade in trades] == [
        ("grid-0", "90", "100", "50"),
        ("grid-1", "100", "110", "45"),
    ]
    assert plain(figures.equity, figures.cash, figures.open_positions) == ("1095", "1095", 0)
    assert figures.max_drawdown == Decimal("0.0545")  # at 89: 100 in cash and 9.5 x 89


def test_grid_orders_are_makers_and_a_gap_fills_at_the_better_opening_price() -> None:
    gap = {"open": "95", "high": "96", "low": "94", "close": "96"}
    market: dict[str, object] = {"kind": "candles", "candles": [*flat("105"), gap]}
    figures, _ = outcome(play({**GRID, "amount_per_level": "95.19"}, market, {"maker": "0.002", "taker": "0.1"}))
    assert figures.fees_paid == Decimal("0.19")
    assert plain(figures.cash, figures.position_value) == ("904.81", "96")


def test_grid_buys_only_below_the_price_and_once_per_interval() -> None:
    figures, _ = outcome(play(GRID, given("95", "105", "101", "99", "101", "99")))
    # The interval at 100 opens after the price was above it, and is not bought twice.
    assert plain(figures.open_positions, figures.cash) == (1, "550")


def test_grid_lines_are_set_around_the_opening_price() -> None:
    figures, _ = outcome(play({"type": "grid", "levels": 2}, given("100", "89")))
    # From 90 to 110 with lines at 90, 100, 110; 100 is not below the opening price. Half of the equity buys at 90.
    assert figures.open_positions == 1
    assert figures.cash == 1000 - Decimal("5.55555555") * 90


MOMENTUM: dict[str, object] = {"type": "momentum", "fast": 1, "slow": 2, "fraction": "1", "stop_loss": "0"}


def test_momentum_enters_on_a_cross_and_leaves_on_the_reverse() -> None:
    figures, trades = outcome(play(MOMENTUM, given("100", "90", "100", "120", "115")))
    assert [plain(trade.entry_price, trade.exit_price, trade.profit, trade.reason) for trade in trades] == [
        ("100", "115", "150", "trend_ended")
    ]
    assert figures.equity == 1150
    assert figures.max_drawdown == ((Decimal(1200) - 1150) / 1200).quantize(Decimal("0.00000001"))


def test_momentum_stops_its_loss_and_waits_for_a_fresh_cross() -> None:
    figures, trades = outcome(
        play({**MOMENTUM, "fast": 2, "slow": 3, "stop_loss": "0.05"}, given("90", "80", "70", "100", "95"))
    )
    # At 100 the two-tick average of 85 passes the three-tick one; at 95 it still leads, but a twentieth is lost.
    assert [plain(trade.entry_price, trade.exit_price, trade.reason) for trade in trades] == [
        ("100", "95", "stop_loss")
    ]
    assert plain(figures.win_rate, figures.realized_profit) == ("0", "-50")


def test_momentum_needs_a_full_window() -> None:
    figures, _ = outcome(play({**MOMENTUM, "slow": 3}, given("90", "100", "110")))
    assert figures.cash == 1000


ARBITRAGE: dict[str, object] = {"type": "arbitrage", "min_spread": "0.05", "order_fraction": "0.5"}


def two_venues(primary: list[str], secondary: list[str]) -> dict[str, object]:
    return {"kind": "candles", "candles": flat(*primary), "secondary_candles": flat(*secondary)}


def test_arbitrage_sells_dear_and_buys_cheap_without_changing_its_inventory() -> None:
    figures, trades = outcome(play(ARBITRAGE, two_venues(["100", "100", "110"], ["100", "110", "100"])))
    # 2.5 on each venue at first; then 2.5 go from the secondary venue to the primary one, and back.
    assert [plain(trade.venue, trade.quantity, trade.profit) for trade in trades] == [
        ("secondary", "2.5", "25"),
        ("primary", "2.5", "25"),
    ]
    assert figures.cash == 500 + 25 + 25
    assert figures.position_value == Decimal("2.5") * 110 + Decimal("2.5") * 100


def test_arbitrage_leaves_a_small_spread_alone() -> None:
    _, trades = outcome(play(ARBITRAGE, two_venues(["100", "100"], ["100", "104.9"])))
    assert trades == []


def test_arbitrage_never_sells_what_it_does_not_hold() -> None:
    figures, trades = outcome(play(ARBITRAGE, two_venues(["100"] * 4, ["100", "110", "110", "110"])))
    # The secondary venue is empty after the first pair, however long the spread lasts.
    assert len(trades) == 1
    assert plain(figures.open_positions, figures.position_value) == (1, "500")


@pytest.mark.parametrize("state", ["paused", "stopped"])
@pytest.mark.parametrize("strategy", [DCA, GRID, MOMENTUM, ARBITRAGE])
def test_no_entries_unless_running(state: Any, strategy: dict[str, object]) -> None:
    prices = ["105", "99", "89", "101", "111"]
    trader = trader_of(handover(strategy, two_venues(prices, prices) if strategy is ARBITRAGE else given(*prices)))
    trader.set_state(state)
    run(trader, 5)
    assert trader.figures().cash == 10000


@pytest.mark.parametrize(("state", "sales"), [("running", 1), ("paused", 1), ("stopped", 0)])
@pytest.mark.parametrize("strategy", [{**DCA, "every_ticks": 9}, {**GRID, "levels": 1, "lower": "99"}])
def test_pausing_lets_exits_go_on_and_stopping_does_not(strategy: dict[str, object], state: Any, sales: int) -> None:
    trader = trader_of(handover(strategy, given("100", "98", "130", "130"), flows=THOUSAND))
    run(trader, 2)
    assert trader.figures().open_positions == 1
    trader.set_state(state)
    run(trader, 2)
    assert trader.figures().closed_trades == sales


def test_an_ended_market_holds_its_price_and_trades_no_more() -> None:
    trader = trader_of(handover({**DCA, "take_profit": "0"}, given("100", "110"), flows=THOUSAND))
    ended = []
    for _ in range(2):
        run(trader, 1)
        ended.append(trader.market_ended)
    assert ended == [False, True]
    at_the_end = trader.figures()
    run(trader, 5)
    assert trader.price == 110
    assert trader.figures().cash == at_the_end.cash
    assert trader.figures().equity == at_the_end.equity
    assert trader.tick_count == 7
