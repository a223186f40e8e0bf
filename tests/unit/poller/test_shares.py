"""Fair shares, and where bots fall due that were loaded together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from agents.poller.decide import Bot, Health
from agents.poller.intervals import Pace
from agents.poller.shards import SHARDS, fair_share, shard_of
from agents.poller.watched import Watched, first_due, phase

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@given(st.integers(1, 300))
def test_shares_cover_everything_and_differ_by_what_cannot_be_divided(living: int) -> None:
    share = fair_share(living)
    assert share * living >= SHARDS
    # One that takes its share leaves the others no less than theirs but for what cannot be divided.
    assert (share - 1) * living < SHARDS


@given(st.lists(st.integers(0, 5), max_size=30))
def test_whoever_comes_or_goes_all_shards_find_a_holder(steps: list[int]) -> None:
    """The rule of `Shards.beat`, by itself: give what is more than the share, take free ones up to it."""
    held: list[set[int]] = [set()]
    free = set(range(SHARDS))

    def settle() -> None:
        for _ in range(3):
            share = fair_share(len(held))
            for mine in held:
                while len(mine) > share:
                    free.add(mine.pop())
                while free and len(mine) < share:
                    mine.add(free.pop())

    settle()
    for step in steps:
        if step and len(held) < 20:
            held.append(set())
        elif len(held) > 1:
            free |= held.pop(0)
        settle()
        assert not free
        assert sum(map(len, held)) == SHARDS
        assert max(map(len, held)) <= fair_share(len(held))


def test_shards_are_spread_over_ids() -> None:
    counts = [0] * SHARDS
    for _ in range(25_600):
        counts[shard_of(uuid7())] += 1
    assert min(counts) > 40
    assert max(counts) < 180


def _watched(bot: UUID, *, observed_at: datetime | None, changed_at: datetime = NOW - timedelta(days=1)) -> Watched:
    watched = Watched()
    watched.bot = Bot(
        id=bot,
        tenant_id=uuid7(),
        hosted=False,
        engine="tradewise",
        desired="running",
        status="connected",
        reason=None,
        generation=1,
        told_generation=1,
    )
    generation = -1 if observed_at is None else 1
    watched.health = Health(state="healthy", observed_at=observed_at, observed_generation=generation)
    watched.pace = Pace(60.0, 60.0)
    watched.changed_at = changed_at
    return watched


@pytest.mark.parametrize("seen_s_ago", [None, 0.0, 30.0, 65.0, 86400.0])
def test_bots_loaded_together_do_not_fall_due_together(seen_s_ago: float | None) -> None:
    dues = []
    for _ in range(2000):
        bot = uuid7()
        # In their own rhythm they were seen at different times already.
        rhythm = phase(bot, "before") * 60 if seen_s_ago == 30.0 else 0.0
        seen = None if seen_s_ago is None else NOW - timedelta(seconds=seen_s_ago - 30 + rhythm)
        dues.append(first_due(_watched(bot, observed_at=seen), NOW, 10.0))
    assert min(dues) >= 0
    assert max(dues) <= 120
    if seen_s_ago in {None, 86400.0}:
        tenths = [sum(tenth * 6 <= due < tenth * 6 + 6 for due in dues) for tenth in range(10)]
        assert min(tenths) > 120
    if seen_s_ago == 65.0:
        # It fell due while nobody held it: soon.
        assert max(dues) <= 30


def test_who_waits_is_looked_at_first_unless_nobody_answered_for_long() -> None:
    fresh = _watched(uuid7(), observed_at=None, changed_at=NOW - timedelta(seconds=5))
    assert first_due(fresh, NOW, 10.0) == 0
    forgotten = [_watched(uuid7(), observed_at=None) for _ in range(100)]
    assert len({round(first_due(one, NOW, 10.0), 1) for one in forgotten}) > 50
