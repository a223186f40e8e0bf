"""The benchmarks of the poller and of reads, small: that they run and measure. Figures are for `make bench` to say."""

from __future__ import annotations

import pytest

from tests.bench.crowd import Crowd, measure_crowd, quantile
from tests.bench.harness import Row
from tests.bench.pace import Pace, measure_pace
from tests.bench.reads import Reads, measure_reads
from tests.bench.recording import Recording, measure_recording
from tests.bench.target import FIRST, address_of, conduct_of
from tests.factories import Urls


def _hot(rows: list[Row]) -> Row:
    return next(row for row in rows if "HOT" in row.name)


async def test_recording_is_measured_beside_a_copy_of_what_it_wrote(urls: Urls) -> None:
    rows = await measure_recording(urls, Recording(results=200, rounds=1, batches=1))
    assert _hot(rows).ours >= 200
    assert rows[0].bound == 5.0


async def test_the_pace_is_kept_and_every_bot_is_found_well(urls: Urls) -> None:
    rows = await measure_pace(urls, Pace(bots=20, rate=40, rounds=1, settle_s=0.5, window_s=2, baselines=False))
    made = next(row for row in rows if row.name.startswith("Checks a second"))
    assert made.ours == 40
    assert _hot(rows).ours > 0


async def test_a_crowd_is_looked_at_though_some_of_it_hang_and_fail(urls: Urls) -> None:
    rows = await measure_crowd(urls, Crowd(bots=100, interval_s=2, settle_s=2, window_s=2))
    late, memory, *_ = rows
    assert 0 < late.ours < 60_000
    assert 20 < memory.ours < 2000


async def test_reads_are_measured_over_a_large_and_a_small_history(urls: Urls) -> None:
    rows = await measure_reads(urls, Reads(snapshots=10_000, rounds=1, pieces=2))
    assert len(rows) == 5
    assert all("10,000 / 1,000 snapshots" in row.name and row.bound == 1.5 and row.ours > 0 for row in rows)


def test_addresses_are_distinct_and_tell_the_number_again() -> None:
    assert len({address_of(number) for number in range(0, 100_000, 7)}) == len(range(0, 100_000, 7))
    assert (FIRST, address_of(0), address_of(250)) == (0x7F010000, "127.1.0.1", "127.1.1.1")
    assert address_of(99_999).startswith("127.2.")
    failing = [conduct_of(number) for number in range(1000) if conduct_of(number) != "answer"]
    assert len(failing) == 50


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ({0.1: 100, 1.0: 100, float("inf"): 100}, 0.99, 0.099),
        ({0.1: 0, 1.0: 100, float("inf"): 100}, 0.5, 0.55),
        ({0.1: 90, 1.0: 95, float("inf"): 100}, 0.99, 1.0),
    ],
)
def test_a_quantile_lies_within_its_bucket(buckets: dict[float, float], share: float, expected: float) -> None:
    assert quantile(buckets, share) == pytest.approx(expected)
