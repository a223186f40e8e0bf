"""The time-weighted index: deposits do not move it, profit does, and its parts make the whole."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.poller.unit_value import Figures, Mark, unit_value

# One part in a thousand million of one unit: far above the rounding to twelve decimals, far below what anyone is told.
_NEAR = Decimal("1e-9")
_amounts = st.decimals(min_value=1, max_value=10**9, places=8)
_flows = st.decimals(min_value=-(10**6), max_value=10**9, places=8)
_growths = st.lists(st.decimals(min_value=Decimal("0.5"), max_value=2, places=4), min_size=1, max_size=8)


def _figures(
    equity: Decimal | int | None,
    capital: Decimal | int | None,
    *,
    currency: str | None = "USDT",
    closed_trades: int | None = 0,
    simulated: bool | None = None,
) -> Figures:
    return Figures(
        currency=currency,
        equity=None if equity is None else Decimal(equity),
        capital_base=None if capital is None else Decimal(capital),
        closed_trades=closed_trades,
        simulated=simulated,
    )


def _mark(value: str, figures: Figures) -> Mark:
    return Mark(figures=figures, unit_value=Decimal(value))


@pytest.mark.parametrize(
    ("previous", "now", "expected"),
    [
        pytest.param(None, _figures(900, 1000), "1", id="begins-at-one-whatever-was-before"),
        pytest.param(None, _figures(None, 1000), None, id="does-not-begin-without-equity"),
        pytest.param(None, _figures(900, None), None, id="does-not-begin-without-capital"),
        pytest.param(None, _figures(0, 0), None, id="does-not-begin-with-nothing"),
        pytest.param(_mark("1", _figures(1000, 1000)), _figures(1100, 1000), "1.1", id="profit"),
        pytest.param(_mark("1.1", _figures(1100, 1000)), _figures(550, 1000), "0.55", id="loss"),
        pytest.param(_mark("1.1", _figures(1100, 1000)), _figures(2200, 2100), "1.1", id="deposit"),
        pytest.param(_mark("1.1", _figures(1100, 1000)), _figures(600, 500), "1.1", id="withdrawal"),
        pytest.param(_mark("1.1", _figures(1100, 1000)), _figures(2310, 2100), "1.21", id="deposit-and-profit"),
        pytest.param(_mark("1.1", _figures(1100, 1000)), _figures(None, 1000), None, id="unknown-is-not-zero"),
        pytest.param(_mark("1.1", _figures(1100, 1000)), _figures(0, 1000), "0", id="all-lost"),
        pytest.param(_mark("0", _figures(0, 1000)), _figures(500, 1500), "0", id="what-is-lost-stays-lost"),
        pytest.param(_mark("1.1", _figures(0, -100)), _figures(900, 800), "1.1", id="paid-out-whole-and-in-again"),
        pytest.param(_mark("1.1", _figures(1100, 1000)), _figures(-5, 1000), None, id="below-nothing-is-no-value"),
        pytest.param(_mark("1.1", _figures(1100, 1000)), _figures(3, 3, currency="BTC"), "1.1", id="another-currency"),
        *(
            pytest.param(
                _mark("1.5", _figures(1500, 1000, simulated=before)),
                _figures(200, 200, simulated=now),
                "1.5" if None not in (before, now) and before != now else "1",
                id=f"simulated-{before}-then-{now}",
            )
            for before in (True, False, None)
            for now in (True, False, None)
        ),
        pytest.param(
            _mark("0.9", _figures(900, 1000, closed_trades=37)),
            _figures(1000, 1000, closed_trades=0),
            "0.9",
            id="bot-began-anew",
        ),
        pytest.param(
            _mark("1", _figures(1000, 1000, closed_trades=None)),
            _figures(900, 1000, closed_trades=0),
            "0.9",
            id="count-unknown",
        ),
        pytest.param(_mark("999999999999", _figures(1, 1)), _figures(10**9, 1), None, id="too-large-to-keep"),
    ],
)
def test_table(previous: Mark | None, now: Figures, expected: str | None) -> None:
    value = unit_value(previous, now)
    assert value == (None if expected is None else Decimal(expected))


@given(equity=_amounts, capital=_amounts, flow=_flows)
def test_money_paid_in_or_out_does_not_move_it(equity: Decimal, capital: Decimal, flow: Decimal) -> None:
    before = _mark("1.25", _figures(equity, capital))
    assert unit_value(before, _figures(equity + flow, capital + flow)) == Decimal("1.25")


@given(equity=_amounts, capital=_amounts, profit=st.decimals(min_value=Decimal("0.01"), max_value=10**6, places=8))
def test_profit_raises_it_and_loss_lowers_it(equity: Decimal, capital: Decimal, profit: Decimal) -> None:
    before = _mark("1", _figures(equity, capital))
    up, down = (
        unit_value(before, _figures(equity + profit, capital)),
        unit_value(before, _figures(equity - profit, capital)),
    )
    assert up is not None
    assert up > 1
    assert down is None if profit > equity else down is not None and down < 1


@given(growths=_growths, flows=st.lists(st.integers(0, 10**6), min_size=8, max_size=8))
def test_the_chain_of_the_parts_is_the_whole(growths: list[Decimal], flows: list[int]) -> None:
    equity = capital = Decimal(1000)
    figures = _figures(equity, capital)
    value, product = unit_value(None, figures), Decimal(1)
    for growth, flow in zip(growths, flows, strict=False):
        mark = Mark(figures=figures, unit_value=value or Decimal(0))
        equity, capital, product = equity * growth + flow, capital + flow, product * growth
        figures = _figures(equity, capital)
        value = unit_value(mark, figures)
    assert value is not None
    assert abs(value - product) <= _NEAR * max(product, Decimal(1))


@given(first=_amounts, second=_amounts, third=_amounts)
def test_looking_more_often_changes_nothing(first: Decimal, second: Decimal, third: Decimal) -> None:
    begin = _mark("1", _figures(first, first))
    direct = unit_value(begin, _figures(third, first))
    between = unit_value(begin, _figures(second, first))
    assert between is not None
    assert direct is not None
    if between > Decimal("0.001"):
        detour = unit_value(Mark(figures=_figures(second, first), unit_value=between), _figures(third, first))
        assert detour is not None
        assert abs(detour - direct) <= _NEAR * max(direct, Decimal(1))
