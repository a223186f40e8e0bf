"""Rounding happens in one place and in the direction that is said."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.paper_bot.money import ZERO, fee_on, notional, quantity_covering, quantity_for, share, text

AMOUNTS = st.decimals(min_value="0.00000001", max_value="1000000000000", places=8)


@given(AMOUNTS, st.decimals(min_value=0, max_value="0.1", places=8))
def test_fees_are_rounded_up_by_less_than_one_unit(value: Decimal, rate: Decimal) -> None:
    assert ZERO <= fee_on(value, rate) - value * rate < Decimal("0.00000001")


@given(AMOUNTS, AMOUNTS)
def test_a_bought_quantity_never_costs_more_than_is_spent(spend: Decimal, price: Decimal) -> None:
    assert quantity_for(spend, price) * price <= spend
    assert quantity_covering(spend, price) * price >= spend


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_a_share_is_never_more_than_the_whole(amount: Decimal, part: Decimal, whole: Decimal) -> None:
    part, whole = sorted((part, whole))
    assert ZERO <= share(amount, part, whole) <= amount


def test_products_keep_all_their_digits_until_they_are_rounded() -> None:
    assert notional(Decimal("999999999999.99999999"), Decimal("999999999.99999999")) == Decimal("999999999999999989990")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("10000.00000000", "10000"),
        ("1E+4", "10000"),
        ("-0.00000000", "0"),
        ("0.00000001", "0.00000001"),
        ("-1.50", "-1.5"),
    ],
)
def test_written_plainly(value: str, written: str) -> None:
    assert text(Decimal(value)) == written
