"""Equity curves: a stretch of which nothing is known is a gap, never a line."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from control_plane.dashboard.curve import RANGES, Curve, beginning, chosen_range, newest, with_gaps

START = datetime(2026, 11, 21, tzinfo=UTC)
SILENCE = timedelta(seconds=55)


class Reading(msgspec.Struct):
    """A point as the services give it."""

    at: datetime
    equity: Decimal | None


def readings(*seconds: float) -> list[Reading]:
    """Readings of 1, 2, 3, … at these seconds."""
    return [Reading(START + timedelta(seconds=at), Decimal(number)) for number, at in enumerate(seconds, start=1)]


@pytest.mark.parametrize(
    ("seconds", "step", "values"),
    [
        ((), 0, []),
        ((0,), 0, ["1"]),
        ((0, 15, 30, 45), 0, ["1", "2", "3", "4"]),
        ((0, 55), 0, ["1", "2"]),
        ((0, 56, 71), 0, ["1", None, "2", "3"]),
        ((0, 60, 120), 60, ["1", "2", "3"]),
        ((0, 60, 240), 60, ["1", "2", None, "3"]),
        ((0, 86400, 4 * 86400), 86400, ["1", "2", None, "3"]),
        ((0, 15, 600), 0, ["1", "2", None, "3"]),
        ((0, 1210, 2420), 1209.6, ["1", "2", "3"]),
        ((0, 1210, 3900), 1209.6, ["1", "2", None, "3"]),
        # A long span comes in hours or days, and then these are what is usual.
        (tuple(range(0, 7 * 86400, 3600)), 0, [str(number) for number in range(1, 169)]),
        ((*range(0, 7 * 86400, 3600), 8 * 86400), 0, [*map(str, range(1, 169)), None, "169"]),
    ],
)
def test_a_stretch_without_readings_is_a_gap(seconds: tuple[float, ...], step: float, values: list[str | None]) -> None:
    points = with_gaps(readings(*seconds), step, SILENCE)
    assert [value for _, value in points] == values
    assert [at for at, _ in points] == sorted({at for at, _ in points})


def test_a_reading_without_equity_stays_unknown() -> None:
    series = [Reading(START, None), Reading(START + SILENCE, Decimal("0E-8"))]
    assert [value for _, value in with_gaps(series, 0, SILENCE)] == [None, "0.00000000"]


def test_amounts_reach_the_chart_as_decimal_strings() -> None:
    curve = Curve("USDT", with_gaps([Reading(START, Decimal("1000000.10000000"))], 0, SILENCE))
    assert msgspec.json.decode(msgspec.json.encode(curve)) == {
        "currency": "USDT",
        "points": [["2026-11-21T00:00:00Z", "1000000.10000000"]],
    }


def test_ranges() -> None:
    made = START - timedelta(days=90)
    assert [chosen_range(asked) for asked in ("hour", "all", "", None, "year")] == ["hour", "all", "day", "day", "day"]
    assert beginning("week", made, START) == START - timedelta(days=7)
    assert beginning("all", made, START) == made
    # A bot that was made this moment, by another clock: a span must not be empty or run backwards.
    for chosen in RANGES:
        assert beginning(chosen, START + timedelta(seconds=1), START) < START


def test_the_table_shows_the_newest_first() -> None:
    rows = newest(readings(*range(50)))
    assert [row.equity for row in rows] == list(range(50, 30, -1))
