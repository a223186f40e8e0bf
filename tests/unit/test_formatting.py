"""How pages write figures and times."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.dashboard.formatting import ago, count, duration, iso, money, percent, tone, when

NOW = datetime(2026, 11, 21, 1, 47, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "currency", "expected"),
    [
        (None, "USDT", "–"),
        (Decimal("NaN"), "USDT", "–"),
        (Decimal("10250.4"), "USDT", "10,250.40 USDT"),
        ("10250.40000000", "USDT", "10,250.40 USDT"),
        (0, "USDT", "0.00 USDT"),
        (Decimal("-0.00000000"), "USDT", "0.00 USDT"),
        (Decimal("-1234567.891"), "EUR", "−1,234,567.89 EUR"),
        (Decimal("0.004"), "USDT", "0.004 USDT"),
        (Decimal("-0.00123456"), "USDT", "−0.0012 USDT"),
        (Decimal("0.00000001"), "USDT", "0.00000001 USDT"),
        (Decimal("0.125"), "USDT", "0.12 USDT"),
        (Decimal("0.12345678"), "BTC", "0.12345678 BTC"),
        (Decimal("2"), "BTC", "2.00 BTC"),
        (Decimal("2.5"), None, "2.50"),
    ],
)
def test_money(value: Decimal | str | int | None, currency: str | None, expected: str) -> None:
    assert money(value, currency) == expected


def test_signed_money_marks_gains_and_leaves_zero_alone() -> None:
    assert money(Decimal("3.5"), "USDT", signed=True) == "+3.50 USDT"
    assert money(Decimal("-3.5"), "USDT", signed=True) == "−3.50 USDT"
    assert money(Decimal(0), "USDT", signed=True) == "0.00 USDT"


@pytest.mark.parametrize("value", [1.5, True])
def test_money_refuses_what_is_no_exact_amount(value: Any) -> None:
    with pytest.raises(TypeError, match="decimal"):
        money(value, "USDT")


@given(st.decimals(min_value=-(10**15), max_value=10**15, places=8))
def test_a_written_amount_is_zero_only_when_the_amount_is(value: Decimal) -> None:
    digits = money(value, "USDT").removesuffix(" USDT").lstrip("−").replace(",", "")
    assert (Decimal(digits) == 0) is (value == 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (Decimal("0.0125"), "+1.25%"),
        (Decimal("-0.2"), "−20.00%"),
        (Decimal("0.0000001"), "0.00%"),
        (Decimal(0), "0.00%"),
        ("12.5", "+1,250.00%"),
    ],
)
def test_percent(value: Decimal | str | None, expected: str) -> None:
    assert percent(value, signed=True) == expected


def test_percent_with_fewer_places() -> None:
    assert percent(Decimal("0.625"), 0) == "62%"
    assert percent(Decimal("0.5"), 0) == "50%"


def test_counts_and_durations() -> None:
    assert (count(None), count(0), count(12345)) == ("–", "0", "12,345")
    assert [duration(value) for value in (None, 0.2, 12.4, 999.4, 1400)] == [
        "–",
        "under 1 ms",
        "12 ms",
        "999 ms",
        "1.4 s",
    ]


def test_tone_tells_gain_from_loss_from_unknown() -> None:
    assert [tone(value) for value in (Decimal(1), Decimal(-1), Decimal(0), None)] == ["gain", "loss", "even", "unknown"]


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        (timedelta(seconds=4), "just now"),
        (timedelta(seconds=-4), "just now"),
        (timedelta(seconds=5), "5 seconds ago"),
        (timedelta(seconds=61), "1 minute ago"),
        (timedelta(minutes=59, seconds=59), "59 minutes ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(days=29, hours=23), "29 days ago"),
        (timedelta(days=30), "22 Oct 2026"),
        (timedelta(days=-3), "in 3 days"),
        (timedelta(days=-400), "26 Dec 2027"),
    ],
)
def test_ago(distance: timedelta, expected: str) -> None:
    assert ago(NOW - distance, NOW) == expected


def test_an_unknown_time_is_said_to_be_unknown() -> None:
    assert (ago(None), when(None)) == ("–", "–")


def test_times_are_shown_in_utc() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert when(elsewhere) == "21 Nov 2026, 01:47:05 UTC"
    assert iso(elsewhere) == "2026-11-21T01:47:05.000Z"


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        when(NOW.replace(tzinfo=None))
