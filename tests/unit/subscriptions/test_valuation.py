"""What a subscription is worth: a deposit is never a profit, a pause never a loss, unknown never zero."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from control_plane.subscriptions.valuation import (
    Movement,
    chained_return,
    dedicated_worth,
    held_after,
    money,
    shared_worth,
    units_for,
    worth_over_time,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
CENT = Decimal("0.01")
amounts = st.decimals("0.01", "1000000", places=8)
#: An index as bots have them: from nearly nothing left to a thousandfold.
values = st.decimals("0.001", "1000", places=12)


class Fund(msgspec.Struct):
    """A shared subscription that is moved as the service moves it, and what must come out, kept by other means."""

    movements: list[Movement] = []
    units: Decimal = Decimal(0)
    cash: Decimal = Decimal(0)
    put_in: Decimal = Decimal(0)
    factor: Decimal = Decimal(1)
    value: Decimal = Decimal(1)
    paused: bool = False

    def enter(self, kind: str, amount: Decimal, units: Decimal | None, value: Decimal | None) -> None:
        at = START + timedelta(minutes=len(self.movements))
        movement = Movement(at, kind, amount, units, value)
        self.movements.append(movement)
        self.units, self.cash = held_after(self.units, self.cash, movement)

    def move(self, amount: Decimal) -> None:
        bought = None if self.paused else units_for(amount, self.value)
        self.put_in += amount
        self.enter("deposit" if amount > 0 else "withdrawal", amount, bought, None if self.paused else self.value)

    def pause(self) -> None:
        self.enter("pause", Decimal(0), -self.units, self.value)
        self.paused = True

    def resume(self) -> None:
        self.enter("resume", Decimal(0), units_for(self.cash, self.value), self.value)
        self.paused = False

    def index(self, value: Decimal) -> None:
        if not self.paused:
            self.factor *= value / self.value
        self.value = value

    @property
    def worth(self) -> Any:
        return shared_worth(self.units, self.cash, self.value, self.movements, START)


steps = st.lists(
    st.tuples(st.just("move"), amounts) | st.tuples(st.just("index"), values) | st.tuples(st.just("turn"), st.none()),
    max_size=12,
)


def run(first: Decimal, following: list[tuple[str, Any]]) -> Fund:
    fund = Fund(movements=[])
    fund.move(first)
    for kind, value in following:
        if kind == "move":
            fund.move(value)
        elif kind == "index":
            fund.index(value)
        elif fund.paused:
            fund.resume()
        else:
            fund.pause()
    return fund


@given(amounts, steps)
def test_the_return_follows_the_index_alone(first: Decimal, following: list[tuple[str, Any]]) -> None:
    fund = run(first, following)
    assert fund.worth.return_ == pytest.approx(fund.factor - 1, abs=Decimal("1e-9"), rel=Decimal("1e-9"))


@given(amounts, steps, amounts)
def test_a_deposit_is_no_profit(first: Decimal, following: list[tuple[str, Any]], more: Decimal) -> None:
    fund = run(first, following)
    before = fund.worth
    fund.move(more)
    after = fund.worth
    assert abs(after.profit - before.profit) < CENT
    assert abs(after.equity - before.equity - more) < CENT
    assert after.net_deposits == before.net_deposits + more
    assert after.return_ == before.return_


@given(amounts, steps, st.decimals("0.01", "0.99", places=4))
def test_a_withdrawal_is_no_loss(first: Decimal, following: list[tuple[str, Any]], part: Decimal) -> None:
    fund = run(first, following)
    before = fund.worth
    taken = money(before.equity * part)
    assume(0 < taken < before.equity)
    fund.move(-taken)
    after = fund.worth
    assert abs(after.profit - before.profit) < CENT
    assert after.return_ == before.return_
    assert after.equity >= 0


@given(amounts, steps, values)
def test_a_pause_holds_the_worth_whatever_the_index_does(
    first: Decimal, following: list[tuple[str, Any]], later: Decimal
) -> None:
    fund = run(first, following)
    assume(not fund.paused)
    before = fund.worth
    fund.pause()
    assert abs(fund.worth.equity - before.equity) < CENT
    fund.index(later)
    held = fund.worth
    assert abs(held.equity - before.equity) < CENT
    assert held.return_ == before.return_
    fund.resume()
    assert abs(fund.worth.equity - before.equity) < CENT
    assert fund.worth.return_ == before.return_


@given(amounts, steps)
def test_worth_over_time_ends_where_the_worth_is(first: Decimal, following: list[tuple[str, Any]]) -> None:
    fund = run(first, following)
    end = START + timedelta(days=1)
    assert worth_over_time(fund.movements, [(START - timedelta(days=1), Decimal(1)), (end, fund.value)]) == [
        (end, fund.worth.equity)
    ]


def test_a_cancelled_subscription_has_no_worth_afterwards() -> None:
    fund = run(Decimal(100), [])
    fund.enter("redemption", Decimal(-100), -fund.units, Decimal(1))
    times = [START, START + timedelta(days=1)]
    assert worth_over_time(fund.movements, [(at, Decimal(1)) for at in times]) == [(START, Decimal(100))]


def test_unknown_stays_unknown() -> None:
    fund = run(Decimal(100), [])
    worth = shared_worth(fund.units, fund.cash, None, fund.movements, START)
    assert (worth.equity, worth.profit, worth.return_, worth.as_of) == (None, None, None, None)
    assert worth.net_deposits == 100
    assert worth_over_time(fund.movements, [(START, None)]) == [(START, None)]
    assert chained_return(fund.movements, None) is None
    fund.pause()
    held = shared_worth(fund.units, fund.cash, None, fund.movements, None)
    assert (held.equity, held.profit) == (Decimal(100), Decimal(0))


@pytest.mark.parametrize(
    ("equity", "base", "value", "profit", "gain"),
    [
        (Decimal(110), Decimal(100), Decimal("1.1"), Decimal(10), Decimal("0.1")),
        (Decimal(90), Decimal(100), Decimal("0.9"), Decimal(-10), Decimal("-0.1")),
        (Decimal(110), None, None, None, None),
        (None, Decimal(100), None, None, None),
        (None, None, None, None, None),
        (Decimal(0), Decimal(100), Decimal(0), Decimal(-100), Decimal(-1)),
    ],
)
def test_a_dedicated_bot_is_worth_its_equity(
    equity: Decimal | None, base: Decimal | None, value: Decimal | None, profit: Decimal | None, gain: Decimal | None
) -> None:
    worth = dedicated_worth(equity, base, value, START)
    assert (worth.equity, worth.net_deposits, worth.profit, worth.return_) == (equity, base, profit, gain)


@given(st.decimals("1e-8", "1e15", places=8), st.decimals("1e-12", "999999999999", places=12))
def test_no_amount_that_the_api_takes_breaks_the_arithmetic(amount: Decimal, value: Decimal) -> None:
    units = units_for(amount, value)
    assert abs(units * value - amount) <= value
    assert money(units * value + amount) >= amount
