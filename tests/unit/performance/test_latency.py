"""Histograms of latencies: they add up, and their quantiles are near the true ones."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from control_plane.performance.latency import HIGHEST, STEPS, added, quantile


def bin_of(latency_ms: float) -> int:
    """As ``agents/scheduler/rollup_sql.py`` counts."""
    return max(0, min(HIGHEST, math.ceil(STEPS * math.log2(latency_ms))))


@given(st.lists(st.floats(1, 60_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_a_quantile_is_within_a_tenth(latencies: list[float], share: float) -> None:
    found = quantile(added([([bin_of(value)], [1]) for value in latencies]), share)
    true = sorted(latencies)[max(0, math.ceil(share * len(latencies)) - 1)]
    assert found is not None
    assert abs(found / true - 1) < 0.1 or (true <= 1 and found <= 1)


def test_of_nothing_nothing_is_known() -> None:
    assert quantile({}, 0.5) is None
    assert added([([1, 3], [2, 2]), ([3], [5])]) == {1: 2, 3: 7}
