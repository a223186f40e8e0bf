"""Whatever is done to a bot, in whatever order, its figures add up, and a restart changes none of them."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from agents.paper_bot.trader import Trader
from tests.unit.paper_bot.support import (
    NO_FEES,
    SECOND,
    START,
    assert_adds_up,
    deposit,
    flow,
    given,
    handover,
    plain,
    restarted,
    run,
    seeded,
    trader_of,
)

STRATEGIES: dict[str, dict[str, object]] = {
    "dca": {"type": "dca", "every_ticks": 3, "order_fraction": "0.1", "take_profit": "0.01"},
    "grid": {"type": "grid", "span": "0.05", "levels": 20},
    "momentum": {"type": "momentum", "fast": 2, "slow": 5, "stop_loss": "0.02"},
    "arbitrage": {"type": "arbitrage"},
}
AMOUNTS = st.decimals(min_value="0.00000001", max_value="20000", places=8)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("tick"), st.integers(1, 25)),
        st.tuples(st.just("deposit"), AMOUNTS),
        st.tuples(st.just("withdraw"), AMOUNTS),
        st.tuples(st.just("state"), st.sampled_from(["running", "paused", "stopped"])),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    min_size=1,
    max_size=15,
)


def act(trader: Trader, number: int, kind: str, value: Any) -> None:
    at = START + (trader.tick_count + 1) * SECOND
    match kind:
        case "tick":
            run(trader, value)
        case "deposit":
            trader.apply_flow(flow(str(value), f"flow-{number}"), at)
        case "withdraw":
            trader.apply_flow(flow(str(-value), f"flow-{number}"), at)
        case "state":
            trader.set_state(value)


@pytest.mark.parametrize("strategy", STRATEGIES)
@for_all(actions=ACTIONS, seed=st.integers(0, 1000), fee=st.sampled_from(["0", "0.001", "0.02"]))
def test_adds_up_and_does_not_notice_restarts(
    strategy: str, actions: list[tuple[str, Any]], seed: int, fee: str
) -> None:
    document = handover(STRATEGIES[strategy], seeded(seed), fees={"maker": fee, "taker": fee})
    steady = trader_of(document)
    interrupted = trader_of(document)
    for number, (kind, value) in enumerate(actions):
        act(steady, number, kind, value)
        act(interrupted, number, kind, value)
        if kind == "restart":
            interrupted = restarted(document, interrupted)
        assert_adds_up(steady.figures())
        assert steady.figures() == interrupted.figures()
    assert steady.drain().snapshot == interrupted.drain().snapshot


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_trades_on_the_seeded_market(strategy: str) -> None:
    trader = trader_of(handover(STRATEGIES[strategy], seeded()))
    run(trader, 400)
    figures = trader.figures()
    assert figures.closed_trades > 3
    assert figures.fees_paid > 0
    assert figures.max_drawdown is not None
    assert 0 < figures.max_drawdown < 1
    assert_adds_up(figures)


def test_unknown_is_none_before_it_is_known() -> None:
    figures = trader_of(handover()).figures()
    assert (figures.win_rate, figures.max_drawdown) == (None, None)
    assert plain(figures.equity, figures.capital_base) == ("10000", "10000")


def invested(price: str = "100") -> Trader:
    """A bot whose thousand is wholly in the asset, bought without a fee; selling costs a tenth of a percent."""
    market = given("100", price, price)
    buy_all: dict[str, object] = {"type": "dca", "every_ticks": 9, "amount": "1000", "take_profit": "0"}
    trader = trader_of(handover(buy_all, market, fees=NO_FEES, flows=[deposit("1000")]))
    run(trader, 1)
    costly = handover(buy_all, market, fees={"maker": "0", "taker": "0.001"}, flows=[deposit("1000")])
    again = restarted(costly, trader)
    run(again, 1)
    return again


def test_a_withdrawal_sells_just_enough() -> None:
    trader = invested()
    trader.apply_flow(flow("-300", "out"), START)
    figures, changes = trader.figures(), trader.drain()
    assert_adds_up(figures)
    assert Decimal(0) <= figures.cash < Decimal("0.000002")
    assert figures.capital_base == 700
    # 300 after the fee means selling for 300 / 0.999.
    assert figures.fees_paid == Decimal("0.30030031")
    assert [entry.kind for entry in changes.entries] == ["sell", "fee", "withdrawal"]


def test_a_withdrawal_uses_free_cash_first() -> None:
    trader = trader_of(handover())
    trader.apply_flow(flow("-4000", "out"), START)
    assert [entry.kind for entry in trader.drain().entries] == ["deposit", "withdrawal"]
    assert trader.figures().equity == 6000


@pytest.mark.parametrize(
    ("amount", "reason"), [("-1000.00000001", "exceeds_equity"), ("-999.5", "exceeds_sale_proceeds")]
)
def test_a_withdrawal_of_too_much_is_rejected_whole(amount: str, reason: str) -> None:
    trader = invested()
    before = trader.figures()
    trader.apply_flow(flow(amount, "out"), START + 2 * SECOND)
    entry = trader.drain().entries[-1]
    told = plain(entry.kind, entry.amount, entry.requested, entry.reason)
    assert told == ("withdrawal_rejected", "0", amount, reason)
    assert trader.figures() == before


def test_everything_can_be_withdrawn_and_the_bot_goes_on() -> None:
    trader = invested()
    trader.apply_flow(flow("-999", "out"), START)
    assert trader.figures().equity == 0
    assert trader.figures().open_positions == 0
    run(trader, 1)
    assert trader.figures().max_drawdown == Decimal("0.001")  # the fee of the sale, not the withdrawal


def test_flows_are_neither_gain_nor_drawdown() -> None:
    trader = trader_of(handover(market=given(*["100"] * 9)))
    run(trader, 2)
    trader.apply_flow(flow("-9000", "out"), START)
    run(trader, 2)
    trader.apply_flow(flow("50000", "in"), START)
    run(trader, 2)
    figures = trader.figures()
    assert plain(figures.max_drawdown, figures.realized_profit, figures.open_profit) == ("0", "0", "0")
