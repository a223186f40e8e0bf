"""Latencies as a histogram that adds up, so that a median of a month needs no month of readings.

Bin *b* holds what took more than 2^((b-1)/4) and at most 2^(b/4) milliseconds, so a quantile is told to within 10 %:
as the middle of its bin, on the logarithmic scale. ``agents/scheduler/rollups.py`` counts by the same rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

STEPS = 4
HIGHEST = 64


def added(histograms: Iterable[tuple[Iterable[int], Iterable[int]]]) -> dict[int, int]:
    """One histogram of many, each given as its bins and how many each holds."""
    total: dict[int, int] = {}
    for bins, counts in histograms:
        for number, count in zip(bins, counts, strict=True):
            total[number] = total.get(number, 0) + count
    return total


def quantile(histogram: Mapping[int, int], share: float) -> float | None:
    """Milliseconds that ``share`` of the latencies do not exceed; None where there are none."""
    count = sum(histogram.values())
    if count == 0:
        return None
    left = share * count
    for number in sorted(histogram):
        left -= histogram[number]
        if left <= 0:
            break
    return round(float(2 ** ((number - 0.5) / STEPS)), 3)
