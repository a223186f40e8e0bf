"""Drawdown composes: buckets tell of a series what its readings tell."""

from __future__ import annotations

from decimal import Decimal
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from control_plane.performance.drawdown import fall, rounded, single, whole

VALUES = st.one_of(st.none(), st.decimals(min_value=0, max_value=1000, places=6))
BUCKETS = st.lists(st.lists(VALUES, max_size=6), max_size=8)


@given(BUCKETS)
def test_buckets_compose_to_what_the_readings_say(buckets: list[list[Decimal | None]]) -> None:
    raw = [value for bucket in buckets for value in bucket if value is not None]
    found = whole(whole(map(single, bucket)) for bucket in buckets)
    if not raw:
        assert found is None
        return
    assert found is not None
    assert (found.high, found.low, found.last) == (max(raw), min(raw), raw[-1])
    # By the definition: every reading against the highest up to it.
    assert found.worst == max(fall(high, value) for high, value in zip(accumulate(raw, max), raw, strict=True))
    assert found.current == fall(max(raw), raw[-1])
    assert 0 <= found.current <= found.worst <= 1


@given(BUCKETS, st.integers(0, 8))
def test_it_does_not_matter_where_history_is_cut(buckets: list[list[Decimal | None]], cut: int) -> None:
    stretches = [whole(map(single, bucket)) for bucket in buckets]
    assert whole([whole(stretches[:cut]), whole(stretches[cut:])]) == whole(stretches)


def test_nothing_is_lost_of_nothing() -> None:
    found = whole(map(single, [Decimal(0), Decimal(0)]))
    assert found is not None
    assert [found.worst, found.current] == [0, 0]
    assert rounded(fall(Decimal(3), Decimal(2))) == Decimal("0.33333333")
