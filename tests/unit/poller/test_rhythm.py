"""When bots are due: those that were just taken over, and those that were looked at."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from agents.poller.facts import Health
from agents.poller.intervals import Pace
from agents.poller.rhythm import TakeOver, counted_from, phase
from agents.poller.watched import Watched
from tests.unit.poller.test_decide import BOT

MOMENT = datetime(2026, 5, 1, 12, tzinfo=UTC)
#: The same by the monotonic clock.
NOW = 5000.0
LEASE_S = 10.0
INTERVAL_S = 60.0


def _watched(bot: UUID, *, seen_s_ago: float | None, changed_s_ago: float = 86_400.0) -> Watched:
    watched = Watched()
    watched.bot = msgspec.structs.replace(BOT, id=bot)
    observed_at = None if seen_s_ago is None else MOMENT - timedelta(seconds=seen_s_ago)
    generation = -1 if observed_at is None else BOT.generation
    watched.health = Health(state="healthy", observed_at=observed_at, observed_generation=generation)
    watched.pace = Pace(INTERVAL_S, INTERVAL_S, timedelta(seconds=INTERVAL_S))
    watched.changed_at = MOMENT - timedelta(seconds=changed_s_ago)
    return watched


def _waits(seen_s_ago: list[float | None]) -> list[float]:
    take_over = TakeOver(LEASE_S)
    return [take_over.first_due(_watched(uuid7(), seen_s_ago=ago), NOW, MOMENT) - NOW for ago in seen_s_ago]


def test_a_rhythm_that_goes_on_is_kept() -> None:
    seen = [phase(uuid7(), "before") * INTERVAL_S for _ in range(100)]
    assert _waits(list(seen)) == pytest.approx([INTERVAL_S - ago for ago in seen], abs=1e-3)


@pytest.mark.parametrize("seen_s_ago", [None, 86_400.0])
def test_who_was_never_seen_or_long_ago_is_spread_over_the_interval(seen_s_ago: float | None) -> None:
    tenths = Counter(int(wait * 10 / INTERVAL_S) for wait in _waits([seen_s_ago] * 2000))
    assert sorted(tenths) == list(range(10))
    assert min(tenths.values()) > 120


def test_a_few_that_fell_due_while_nobody_held_them_are_looked_at_soon_and_not_in_one_moment() -> None:
    waits = _waits([INTERVAL_S + 6] * 100)
    assert max(waits) <= (LEASE_S - 6) / 2
    assert max(Counter(int(wait * 4) for wait in waits).values()) < 40
    # Those that an interval and a lease have gone by for are looked at at once.
    assert max(_waits([INTERVAL_S + LEASE_S] * 100)) <= 0.2


def test_who_may_just_be_late_waits_no_further_interval() -> None:
    # Of a poller that was killed the newest looks may not be written: its bots were seen later than their rows say.
    assert max(_waits([2 * INTERVAL_S + LEASE_S + 5] * 50)) <= 0.2


def test_many_that_fell_due_while_nobody_held_them_are_no_herd() -> None:
    seconds = Counter(int(wait) for wait in _waits([INTERVAL_S + 25] * 50_000))
    # Five hundred turns a second, and beside them the even spread for those whose turn would be later than that.
    assert max(seconds.values()) < 500 + 50_000 / INTERVAL_S * 1.2
    assert max(seconds) < INTERVAL_S


@given(st.lists(st.one_of(st.none(), st.floats(0, 200)), max_size=300))
def test_nobody_is_forgotten_and_nobody_is_due_before(seen_s_ago: list[float | None]) -> None:
    for ago, wait in zip(seen_s_ago, _waits(seen_s_ago), strict=True):
        assert -1e-3 <= wait <= INTERVAL_S + 1e-3
        if ago is not None and ago <= INTERVAL_S:
            assert wait == pytest.approx(INTERVAL_S - ago, abs=1e-3)


def test_who_waits_is_looked_at_first_unless_nobody_answered_for_long() -> None:
    take_over = TakeOver(LEASE_S)
    fresh = _watched(uuid7(), seen_s_ago=None, changed_s_ago=5)
    assert take_over.first_due(fresh, NOW, MOMENT) == NOW
    forgotten = [_watched(uuid7(), seen_s_ago=None) for _ in range(100)]
    assert len({round(take_over.first_due(one, NOW, MOMENT), 1) for one in forgotten}) > 50


def test_what_a_look_waits_for_its_tick_is_not_lost() -> None:
    assert counted_from(due=100.0, began=100.25, check_s=60.0) == 100.0
    # With a short interval a small wait is long, too.
    assert counted_from(due=100.0, began=100.25, check_s=2.0) == 100.25 - 0.2
    assert counted_from(due=100.0, began=100.25, check_s=0.4) == 100.25


@given(late=st.floats(0, 5), interval=st.floats(0.2, 900))
def test_a_look_that_came_late_brings_the_next_one_no_closer_than_nine_tenths_of_an_interval(
    late: float, interval: float
) -> None:
    assert counted_from(100.0, 100.0 + late, interval) + interval >= 100.0 + late + 0.9 * interval - 1e-9


def test_who_is_asked_for_before_its_time_begins_anew() -> None:
    assert counted_from(due=100.0, began=70.0, check_s=60.0) == 70.0


@given(per_s=st.integers(40, 200))
def test_a_herd_comes_but_once(per_s: int) -> None:
    """Two thousand bots that are due at one moment, of which so many a second can be looked at."""
    due = dict.fromkeys(range(2000), 0.0)
    free, worst = 0.0, []
    for _ in range(3):
        late = []
        for bot in sorted(due, key=due.__getitem__):
            began = max(free, due[bot])
            late.append(began - due[bot])
            free = began + 1 / per_s
            due[bot] = counted_from(due[bot], began, INTERVAL_S) + INTERVAL_S
        worst.append(max(late))
    assert worst[0] > 9
    assert worst[2] < 1.1
