"""Fair shares, and the shards of bots."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from agents.poller.shards import SHARDS, fair_share, shard_of


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
