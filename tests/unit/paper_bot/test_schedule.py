"""Ticks are due by the wall clock: no drift, a bound on catching up, no waiting for a clock that went back."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from agents.paper_bot.schedule import MAX_CATCH_UP, Schedule
from tests.unit.paper_bot.support import SECOND, START


def taken(schedule: Schedule, seconds: float) -> list[float]:
    """The due times, in seconds after START, that a look at the clock yields."""
    now, found = START + timedelta(seconds=seconds), []
    while (due := schedule.due(now)) is not None:
        found.append((due - START).total_seconds())
    return found


def test_the_first_tick_comes_one_interval_after_the_start() -> None:
    schedule = Schedule(SECOND, None, START)
    assert taken(schedule, 0.999) == []
    assert taken(schedule, 1.4) == [1]


def test_late_processing_does_not_shift_later_ticks() -> None:
    schedule = Schedule(SECOND, None, START)
    assert taken(schedule, 1.9) == [1]
    assert taken(schedule, 2.05) == [2]


def test_downtime_is_made_up_for() -> None:
    schedule = Schedule(SECOND, START - 5 * SECOND, START)
    assert taken(schedule, 0.5) == [-4, -3, -2, -1, 0]


def test_what_is_too_old_is_dropped_and_counted() -> None:
    schedule = Schedule(SECOND, START - (MAX_CATCH_UP + 100) * SECOND, START)
    due = taken(schedule, 0)
    assert len(due) == MAX_CATCH_UP
    assert (due[0], due[-1]) == (1 - MAX_CATCH_UP, 0)
    assert schedule.dropped == 100


def test_a_clock_that_went_back_is_not_waited_for() -> None:
    schedule = Schedule(SECOND, START + 3600 * SECOND, START)
    assert taken(schedule, 0) == []
    assert taken(schedule, 1) == [1]


@given(st.lists(st.integers(min_value=0, max_value=50_000), min_size=1, max_size=50))
def test_no_tick_is_made_twice_or_left_out(looks: list[int]) -> None:
    schedule = Schedule(SECOND, None, START)
    looks.sort()
    made = [moment for milliseconds in looks for moment in taken(schedule, milliseconds / 1000)]
    assert made == [float(number) for number in range(1, looks[-1] // 1000 + 1)]
