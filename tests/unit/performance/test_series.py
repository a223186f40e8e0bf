"""Curves: a gap is a gap, an interval is wide enough, and every reading is taken from one place only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.performance import series
from control_plane.performance.drawdown import single
from control_plane.performance.reads import Ever, Part
from control_plane.performance.schemas import CurveInterval, PerformanceView
from control_plane.performance.steps import SECONDS, chosen_interval, coarsened, sources

START = datetime(2026, 3, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
NEVER = Ever(None, None)


def part(
    minutes: float,
    index: str | None,
    *,
    lasting: float = 0,
    readings: int = 1,
    currency: str = "USDT",
    simulated: bool | None = False,
) -> Part:
    value = None if index is None else Decimal(index)
    return Part(
        first_at=START + minutes * MINUTE,
        last_at=START + (minutes + lasting) * MINUTE,
        readings=readings,
        currency=currency,
        simulated=simulated,
        equity=value,
        capital_base=None,
        realized_profit=None,
        open_profit=None,
        index=value,
        index_at=None if value is None else START + (minutes + lasting) * MINUTE,
        stretch=single(value),
    )


def shown(
    found: list[Part],
    interval: CurveInterval,
    end: datetime,
    most: int = 100,
    silence: timedelta = 190 * SECOND,
    ever: Ever = NEVER,
) -> PerformanceView:
    return series.shown(found, interval, end, most, ever, silence)


@pytest.mark.parametrize(("silence_s", "gaps"), [(55, 1), (130, 0), (190, 0)])
def test_what_is_a_gap_is_told_by_how_often_the_bot_is_meant_to_be_read(silence_s: int, gaps: int) -> None:
    found = [part(n / 4, "1") for n in (*range(9), *range(16, 25))]
    view = shown(found, "raw", START + 6 * MINUTE, silence=silence_s * SECOND)
    assert (len(view.gaps), [point.equity for point in view.points].count(None)) == (gaps, gaps)


def test_a_stretch_without_readings_is_a_null_point_and_told() -> None:
    view = shown([part(0, "1"), part(1, "2"), part(31, "3")], "raw", START + 32 * MINUTE)
    assert [point.equity for point in view.points] == [1, 2, None, 3]
    assert [(gap.from_, gap.to) for gap in view.gaps] == [(START + MINUTE, START + 31 * MINUTE)]


def test_silence_up_to_now_is_a_gap_as_well() -> None:
    view = shown([part(0, "1"), part(1, "2")], "raw", START + 60 * MINUTE)
    assert [(point.at, point.equity) for point in view.points][-1] == (START + 60 * MINUTE, None)
    assert view.gaps[0].to == START + 60 * MINUTE


def test_a_bot_that_is_read_seldom_has_no_gaps() -> None:
    view = shown([part(n * 15, "1") for n in range(9)], "raw", START + 130 * MINUTE)
    assert (len(view.points), view.gaps) == (9, [])


def test_two_readings_days_apart_are_no_line() -> None:
    view = shown([part(0, "1"), part(9000, "1")], "raw", START + 9001 * MINUTE)
    assert [point.equity for point in view.points] == [1, None, 1]


def test_hours_next_to_each_other_are_no_gap_and_a_missing_one_is() -> None:
    found = [part(n * 60, "1", lasting=59, readings=60) for n in (0, 1, 3)]
    view = shown(found, "1h", START + 240 * MINUTE)
    assert [point.equity for point in view.points] == [1, 1, None, 1]


def test_drawdown_is_of_the_highest_so_far_and_unknown_where_the_index_is() -> None:
    found = [part(n, value) for n, value in enumerate(["1", "2", None, "1.5", "2.5"])]
    view = shown(found, "raw", START + 5 * MINUTE, ever=Ever(single(Decimal(5)), MINUTE))
    assert [point.drawdown for point in view.points] == [0, 0, None, Decimal("0.25"), 0]
    assert [view.drawdown.current, view.drawdown.maximum] == [0, Decimal("0.25")]
    assert [view.drawdown_since_start.current, view.drawdown_since_start.maximum] == [0, 0]


@pytest.mark.parametrize(
    ("values", "end", "current"),
    [
        (["1", "0.5"], 2, "0.5"),
        (["1", "0.5", None], 3, None),  # the newest reading tells no index
        (["1", "0.5"], 60, None),  # nothing has been read for an hour
        ([None, None], 2, None),
    ],
)
def test_drawdown_now_is_unknown_where_the_end_is(values: list[str | None], end: int, current: str | None) -> None:
    view = shown([part(n, value) for n, value in enumerate(values)], "raw", START + end * MINUTE)
    assert view.drawdown.current == (None if current is None else Decimal(current))
    assert view.drawdown.maximum == (None if values[0] is None else Decimal("0.5"))


@pytest.mark.parametrize(("told_ago", "current"), [(MINUTE, "0"), (5 * MINUTE, None), (None, None)])
def test_drawdown_since_start_is_of_now_whatever_the_span(told_ago: timedelta | None, current: str | None) -> None:
    view = shown([part(0, "1"), part(1, "2")], "raw", START + 2 * MINUTE, ever=Ever(single(Decimal(5)), told_ago))
    assert view.drawdown_since_start.current == (None if current is None else Decimal(current))
    assert view.drawdown_since_start.maximum == 0


def test_nothing_read_is_nothing_known() -> None:
    view = shown([], "raw", START)
    assert (view.points, view.gaps, view.drawdown.maximum, view.currency) == ([], [], None, None)


def test_only_the_newest_currency_is_shown() -> None:
    view = shown([part(0, "1", currency="BTC"), part(1, "2"), part(2, "3")], "raw", START + 2 * MINUTE)
    assert view.currency == "USDT"
    assert [point.equity for point in view.points] == [2, 3]


def test_simulated_and_real_money_are_never_one_curve() -> None:
    paper = [part(0, "1", simulated=True), part(1, "9", simulated=True)]
    unknown = [part(2, "4", simulated=None), part(3, "4", simulated=None)]
    live = [part(4, "4"), part(5, "3")]
    view = shown([*paper, *live], "raw", START + 5 * MINUTE)
    assert view.simulated is False
    assert [point.equity for point in view.points] == [4, 3]
    assert view.drawdown.maximum == Decimal("0.25")
    # What did not say is of what was said before and after it, as in its currency.
    assert [point.equity for point in shown([*unknown, *live], "raw", START + 5 * MINUTE).points] == [4, 4, 4, 3]
    assert shown(paper, "raw", START + MINUTE).simulated is True
    assert shown(unknown, "raw", START + 3 * MINUTE).simulated is None


@pytest.mark.parametrize("between", [part(1, "9", simulated=True), part(1, "9", currency="BTC")])
def test_a_bot_that_changed_its_money_and_back_begins_anew_and_has_no_gap_where_it_was_read(between: Part) -> None:
    view = shown([part(0, "1"), between, part(9, "2"), part(10, "3")], "raw", START + 10 * MINUTE)
    assert [point.equity for point in view.points] == [2, 3]
    assert view.gaps == []


def test_an_interval_in_which_a_bot_went_live_tells_of_its_real_money_alone() -> None:
    one = series._one([part(0, "9", simulated=True), msgspec.structs.replace(part(1, None), readings=2)])
    assert one.simulated is False
    assert one.equity is None


@pytest.mark.parametrize(
    ("days", "points", "interval"),
    [(0.05, 500, "raw"), (1, 500, "5m"), (30, 500, "6h"), (365, 500, "1d"), (3650, 500, "30d"), (30, 20, "7d")],
)
def test_the_finest_interval_that_fits(days: float, points: int, interval: CurveInterval) -> None:
    assert chosen_interval(timedelta(days=days), points) == interval


def test_an_interval_is_never_made_finer() -> None:
    assert coarsened("1d", DAY, 500) == "1d"
    assert coarsened("1m", 30 * DAY, 500) == "6h"
    assert coarsened("raw", 30 * DAY, 500) == "raw"


@given(
    st.sampled_from([name for name in SECONDS if SECONDS[name] >= 3600]),
    st.integers(0, 40 * 1440),
    st.integers(1, 40 * 1440),
    st.integers(0, 50 * 1440),
)
def test_every_moment_is_taken_from_one_place(interval: CurveInterval, begin: int, span: int, ready: int) -> None:
    since, until = START + begin * MINUTE, START + (begin + span) * MINUTE
    where = sources(interval, since, until, START + ready * MINUTE)
    rolled = [pair for pair in (where.days, where.hours) if pair[0] < pair[1]]
    covered = [*rolled, where.readings]
    assert all(earlier[1] == later[0] or later[0] == since for earlier, later in pairwise(covered))
    assert covered[0][0] <= since
    assert covered[-1][1] == until
    # Nothing is taken from a rollup that does not hold it yet, nor from a bucket that reaches past the end.
    assert all(pair[1] <= min(START + ready * MINUTE, until) for pair in rolled)
    assert all(pair[0].minute == pair[1].minute == 0 for pair in rolled)
