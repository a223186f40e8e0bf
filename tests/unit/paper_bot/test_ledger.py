"""The ledger adds up after any sequence of operations, and refuses those that would break it."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.paper_bot.ledger import Ledger, LedgerError
from agents.paper_bot.money import ZERO, exact, fee_on, notional
from agents.paper_bot.records import Entry, Fill, Trade
from tests.unit.paper_bot.support import START, flow

AMOUNTS = st.decimals(min_value="0.00000001", max_value="1000000", places=8)
PRICES = st.decimals(min_value="0.0001", max_value="100000", places=4)
RATES = st.sampled_from([Decimal(0), Decimal("0.0001"), Decimal("0.001"), Decimal("0.0123")])
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["deposit", "withdraw", "buy", "sell"]),
        AMOUNTS,
        PRICES,
        RATES,
        st.sampled_from(["primary", "secondary"]),
        st.sampled_from(["a", "b", None]),
    ),
    max_size=40,
)


def fill(quantity: Decimal, price: Decimal, rate: Decimal, venue: str = "primary", tag: str | None = "a") -> Fill:
    return Fill(venue, tag, quantity, price, fee_on(notional(quantity, price), rate), START, "test")


@given(OPERATIONS)
@exact
def test_adds_up_after_any_sequence(operations: list[tuple[str, Decimal, Decimal, Decimal, str, str | None]]) -> None:
    ledger = Ledger()
    entries: list[Entry] = []
    trades: list[Trade] = []
    for number, (kind, amount, price, rate, venue, tag) in enumerate(operations):
        try:
            match kind:
                case "deposit":
                    ledger.deposit(flow(str(amount), f"flow-{number}"), START)
                case "withdraw":
                    ledger.withdraw(flow(str(-amount), f"flow-{number}"), START)
                case "buy":
                    ledger.buy(fill(amount, price, rate, venue, tag))
                case _:
                    ledger.sell(fill(min(amount, ledger.held(venue, tag)), price, rate, venue, tag))
        except LedgerError:
            continue
        new_entries, new_trades = ledger.drain()
        entries += new_entries
        trades += new_trades
        prices = {"primary": price, "secondary": price * 2}
        value = ledger.position_value(prices)
        totals = ledger.totals
        assert ledger.cash == sum((entry.amount for entry in entries), ZERO) >= ZERO
        assert ledger.cash + value == totals.capital_base + totals.realized_profit + (value - ledger.open_cost())
        assert totals.fees_paid == -sum((entry.amount for entry in entries if entry.kind == "fee"), ZERO)
        assert totals.realized_profit == sum((trade.profit for trade in trades), ZERO)
        assert [entry.id for entry in entries] == list(range(1, len(entries) + 1))
        assert all(held.quantity > ZERO and held.cost >= ZERO and held.fees >= ZERO for held in ledger.positions())
        again = Ledger.restore(ledger.snapshot())
        assert again.snapshot() == ledger.snapshot()


def test_profit_is_net_of_the_fees_of_both_sides() -> None:
    ledger = Ledger()
    ledger.deposit(flow("1000", "f"), START)
    ledger.buy(fill(Decimal(2), Decimal(100), Decimal("0.001")))
    trade = ledger.sell(fill(Decimal(1), Decimal(110), Decimal("0.002")))
    # Half of the purchase's fee of 0.2, and 0.22 for the sale.
    assert trade.fees == Decimal("0.32")
    assert trade.profit == Decimal("9.68")
    assert ledger.cash == Decimal("1000") - Decimal("200.2") + Decimal("109.78")
    assert ledger.open_cost() == Decimal("100.1")


def test_an_untagged_sale_closes_the_oldest_positions_first() -> None:
    ledger = Ledger()
    ledger.deposit(flow("1000", "f"), START)
    ledger.buy(fill(Decimal(1), Decimal(100), ZERO, tag="old"))
    ledger.buy(fill(Decimal(1), Decimal(200), ZERO, tag="new"))
    trade = ledger.sell(fill(Decimal("1.5"), Decimal(200), ZERO, tag=None))
    assert trade.profit == Decimal(100)
    assert [(held.tag, held.quantity) for held in ledger.positions()] == [("new", Decimal("0.5"))]


@pytest.mark.parametrize("amount", ["0", "-1"])
def test_refuses_a_deposit_that_is_none(amount: str) -> None:
    with pytest.raises(LedgerError):
        Ledger().deposit(flow(amount, "f"), START)


def test_refuses_what_is_not_covered_and_changes_nothing() -> None:
    ledger = Ledger()
    ledger.deposit(flow("100", "f"), START)
    before = ledger.snapshot()
    with pytest.raises(LedgerError):
        ledger.buy(fill(Decimal(1), Decimal(100), Decimal("0.001")))
    with pytest.raises(LedgerError):
        ledger.sell(fill(Decimal(1), Decimal(100), ZERO))
    with pytest.raises(LedgerError):
        ledger.withdraw(flow("-100.00000001", "g"), START)
    assert ledger.snapshot() == before
