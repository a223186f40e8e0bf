"""Health over time: without a hole, and time in which nobody looked is on no side."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.performance.timeline import (
    STATES,
    Change,
    Day,
    Spent,
    by_step,
    days_spent,
    last_seen,
    spans,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
END = START + 4 * DAY
CHANGES = st.lists(st.tuples(st.integers(0, 95 * 60), st.sampled_from(STATES)), max_size=12, unique_by=lambda x: x[0])


def changes(*told: tuple[float, str]) -> list[Change]:
    return [Change(START + hours * HOUR, state) for hours, state in sorted(told)]


@given(CHANGES, st.sampled_from([None, *STATES]), st.sampled_from([900, 3600, 86400]))
def test_spans_and_steps_cover_all_of_the_time(told: list[tuple[int, str]], before: str | None, step: int) -> None:
    first = None if before is None else Change(START - HOUR, before)
    found = spans(first, changes(*((minutes / 60, state) for minutes, state in told)), START, END)
    assert (found[0].begin, found[-1].end) == (START, END)
    assert all(one.end == other.begin for one, other in pairwise(found))
    assert all(one.change.state != other.change.state for one, other in pairwise(found))
    starts = [START + n * timedelta(seconds=step) for n in range(int((END - START).total_seconds()) // step)]
    spent = by_step(found, starts, timedelta(seconds=step))
    assert all(sum(getattr(one, state) for state in STATES) == pytest.approx(step) for one in spent)
    for state in STATES:
        length = sum((span.end - span.begin).total_seconds() for span in found if span.change.state == state)
        assert sum(getattr(one, state) for one in spent) == pytest.approx(length)


@given(CHANGES, st.sampled_from(STATES), st.none() | st.integers(-50, 120))
def test_days_tell_what_changes_tell(told: list[tuple[int, str]], before: str, seen: int | None) -> None:
    """As they are rolled up: only days in which something changed have a row, and none tells that nobody looks."""
    every = changes(*((minutes / 60, state) for minutes, state in told))
    first = Change(START - HOUR, before)
    # Nothing is said of a time after the last look.
    looked = None if seen is None else max([START + seen * HOUR, *(change.at for change in every)])
    silent = last_seen(every, first, looked)
    found = spans(first, every if silent is None else [*every, silent], START, END)
    starts = [START + n * DAY for n in range(4)]
    expected = by_step(found, starts, DAY)
    rows = []
    for at, spent in zip(starts, by_step(spans(first, every, START, END), starts, DAY), strict=True):
        within = [change for change in every if at <= change.at < at + DAY]
        if within:
            rows.append(Day(at, spent.healthy, spent.unhealthy, spent.stale, within[-1].state))
    for (at, spent), wanted in zip(days_spent(before, rows, START, END, looked), expected, strict=True):
        assert at in starts
        for state in STATES:
            assert getattr(spent, state) == pytest.approx(getattr(wanted, state), abs=1e-6)


def test_uptime_is_of_the_time_in_which_somebody_looked() -> None:
    spent = Spent(healthy=90, unhealthy=10, stale=50, unknown=5000)
    assert (spent.ratio, spent.observed) == (0.9, 100)
    assert Spent(stale=1, unknown=5).ratio is None
    # However short it was down, it was: only what was never is up all of the time.
    year = 365 * 86400
    assert (Spent(healthy=year - 15, unhealthy=15).ratio, Spent(healthy=year).ratio) == (0.999999, 1)


def test_of_a_bot_of_which_nothing_was_told_nothing_is_known() -> None:
    [only] = spans(None, [], START, END)
    assert (only.begin, only.end, only.change.state) == (START, END, "unknown")


@pytest.mark.parametrize(("seen", "expected"), [(-50, ["unknown"]), (0, ["unknown"]), (1, ["healthy", "unknown"])])
def test_what_was_before_holds_no_longer_than_somebody_looked(seen: float, expected: list[str]) -> None:
    before = Change(START - 60 * HOUR, "healthy")
    silent = last_seen([], before, START + seen * HOUR)
    assert silent is not None
    assert [span.change.state for span in spans(before, [silent], START, END)] == expected


def test_the_same_said_twice_is_one_span() -> None:
    found = spans(None, changes((0, "healthy"), (5, "healthy"), (6, "unhealthy")), START, END)
    assert [(span.change.state, span.begin) for span in found] == [("healthy", START), ("unhealthy", START + 6 * HOUR)]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [(None, None), (2, 5), (9, 9)],
)
def test_what_was_last_said_holds_no_longer_than_somebody_looked(seen: float | None, expected: float | None) -> None:
    looked = None if seen is None else START + seen * HOUR
    found = last_seen(changes((5, "healthy")), None, looked)
    assert (None if found is None else found.at) == (None if expected is None else START + expected * HOUR)
    assert last_seen([], None, START) is None
    assert last_seen(changes((5, "unknown")), None, START) is None
